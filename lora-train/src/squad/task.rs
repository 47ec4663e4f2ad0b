//! Extractive question answering as a task.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Int, Tensor};
use burn::train::metric::{AccuracyInput, AccuracyMetric, Adaptor, LossInput, LossMetric};
use burn::train::{ItemLazy, SupervisedTraining};
use lora_core::state::parameters;
use lora_models::bert::QuestionAnswering;

use super::spans::span_logits;
use super::{SpanBatch, SpanBatcher, SquadFeature};
use crate::data::TokenizedDataset;
use crate::{Evaluation, Task, TrainError, Trainee};

/// What the logits of padding become: e to the power of it is 0.
const NEVER: f32 = -1e9;

/// What a model says about the features of a batch.
#[derive(Debug, Clone)]
pub struct SpanOutput {
    /// The loss of each feature, `[batch]`: the mean of that of its start and that of its end.
    pub losses: Tensor<1>,
    /// The logits of an answer's first token, `[batch, sequence]`, very low where padding is.
    pub start_logits: Tensor<2>,
    /// The logits of its last token, `[batch, sequence]`, very low where padding is.
    pub end_logits: Tensor<2>,
    /// The right first tokens, `[batch]`.
    pub starts: Tensor<1, Int>,
    /// The right last tokens, `[batch]`.
    pub ends: Tensor<1, Int>,
}

impl ItemLazy for SpanOutput {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        self.losses.device().flush()?;
        Ok(Self {
            losses: self.losses.without_autodiff(),
            start_logits: self.start_logits.without_autodiff(),
            end_logits: self.end_logits.without_autodiff(),
            starts: self.starts.without_autodiff(),
            ends: self.ends.without_autodiff(),
        })
    }
}

impl Adaptor<LossInput> for SpanOutput {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.losses.clone())
    }
}

/// As two classes, of which the second is right: that start and end both have the highest logit.
impl Adaptor<AccuracyInput> for SpanOutput {
    fn adapt(&self) -> AccuracyInput {
        let [count, _] = self.start_logits.dims();
        let right = |logits: &Tensor<2>, places: &Tensor<1, Int>| {
            let best = logits.clone().argmax(1).reshape([count]);
            best.equal(places.clone())
        };
        let both = right(&self.start_logits, &self.starts)
            .bool_and(right(&self.end_logits, &self.ends))
            .float()
            .reshape([count, 1]);
        let classes = Tensor::cat(vec![both.clone().neg().add_scalar(1.0), both], 1);
        AccuracyInput::new(classes, self.starts.ones_like())
    }
}

/// The loss of a feature is the mean of the cross-entropies of its answer's first and last token, as
/// Hugging Face's `BertForQuestionAnswering` has it, over the tokens of the feature: padding takes no
/// part, where there it takes part in a batch with longer features. Smoothed targets are spread over
/// the tokens of the feature, where Hugging Face's Trainer leaves this task's as they are.
///
/// "Accuracy" is the part of the features of which both tokens have the highest logits. It says little
/// about answers to long texts; those [`SquadReport`](super::SquadReport) measures.
impl Task for QuestionAnswering {
    type Example = SquadFeature;
    type Batch = SpanBatch;
    type Batcher = SpanBatcher;
    type Output = SpanOutput;

    fn check(&self, data: &[SquadFeature], _batch_size: usize) -> Result<(), TrainError> {
        let longest = data.iter().map(Self::tokens).max().unwrap_or_default();
        let max_tokens = self.config().max_tokens();
        match longest > max_tokens {
            true => Err(TrainError::MaxLen {
                max_len: longest,
                max_tokens,
            }),
            false => Ok(()),
        }
    }

    fn head(&self) -> Vec<String> {
        let paths = parameters(self).into_iter().map(|info| info.path);
        paths
            .filter(|path| path.starts_with("qa_outputs."))
            .collect()
    }

    fn batcher(&self) -> SpanBatcher {
        SpanBatcher::new(self.config())
    }

    fn tokens(example: &SquadFeature) -> usize {
        example.tokens().ids.len()
    }

    fn output(&self, batch: SpanBatch, label_smoothing: f64) -> SpanOutput {
        let mask = batch.input.attention_mask.clone();
        let padding = mask.map(|mask| mask.equal_elem(0));
        let (starts, ends) = self.forward_tokens(batch.input);
        let hide = |logits: Tensor<2>| match &padding {
            Some(padding) => logits.mask_fill(padding.clone(), NEVER),
            None => logits,
        };
        let (start_logits, end_logits) = (hide(starts), hide(ends));
        let losses = |logits: &Tensor<2>, places: &Tensor<1, Int>| {
            losses(logits.clone(), places.clone(), &padding, label_smoothing)
        };
        let both = losses(&start_logits, &batch.starts) + losses(&end_logits, &batch.ends);
        SpanOutput {
            losses: both.div_scalar(2.0),
            start_logits,
            end_logits,
            starts: batch.starts,
            ends: batch.ends,
        }
    }

    fn losses(output: &SpanOutput) -> Tensor<1> {
        output.losses.clone()
    }

    fn metrics(
        &self,
        training: SupervisedTraining<Trainee<Self>>,
    ) -> SupervisedTraining<Trainee<Self>> {
        training.metrics((AccuracyMetric::new(), LossMetric::new()))
    }

    fn evaluate(
        &self,
        data: &TokenizedDataset<SquadFeature>,
        batch_size: usize,
    ) -> Result<Evaluation, TrainError> {
        let features = data.examples();
        let logits = span_logits(self, features, batch_size)?;
        let (mut loss, mut right) = (0.0, 0);
        for (feature, logits) in features.iter().zip(&logits) {
            loss += logits.loss(feature);
            right += usize::from(logits.best() == (feature.start(), feature.end()));
        }
        let count = features.len();
        let measures = [
            ("accuracy", right as f64 / count as f64),
            ("loss", loss / count as f64),
        ];
        Ok(Evaluation::new(measures.into(), count, "features"))
    }
}

/// The cross-entropy of each row, `[batch]`, with targets smoothed over what is not padding.
fn losses(
    logits: Tensor<2>,
    places: Tensor<1, Int>,
    padding: &Option<Tensor<2, Bool>>,
    smoothing: f64,
) -> Tensor<1> {
    let [count, sequence] = logits.dims();
    let probabilities = log_softmax(logits, 1);
    let right = probabilities.clone().gather(1, places.reshape([count, 1]));
    let right = right.reshape([count]).neg();
    if smoothing == 0.0 {
        return right;
    }
    let all = match padding {
        Some(padding) => {
            let tokens = padding.clone().bool_not().float().sum_dim(1);
            probabilities.mask_fill(padding.clone(), 0.0).sum_dim(1) / tokens
        }
        None => probabilities.sum_dim(1).div_scalar(sequence as f64),
    };
    let all = all.reshape([count]).neg();
    right.mul_scalar(1.0 - smoothing) + all.mul_scalar(smoothing)
}
