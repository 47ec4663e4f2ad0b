//! Sequence classification, and regression, as a task.

use burn::tensor::{Int, Tensor};
use burn::train::metric::{AccuracyMetric, Adaptor, LossInput, LossMetric};
use burn::train::{ClassificationOutput, ItemLazy, RegressionOutput, SupervisedTraining};
use lora_core::state::parameters;
use lora_models::{SequenceClassifier, TextConfig, bert, gpt2};

use crate::data::{
    ClassificationBatch, ClassificationBatcher, Label, Targets, TokenizedDataset, TokenizedExample,
};
use crate::loss::{smoothed_cross_entropies, squared_errors};
use crate::metric::{
    Average, ClassMetric, ClassScore, ClassesInput, Correlation, CorrelationMetric, TokensInput,
    TokensPerSecondMetric, ValuesInput,
};
use crate::predict::evaluate_classifier;
use crate::{Evaluation, Task, TrainError, Trainee};

/// What a model says about the sequences of a batch.
///
/// It is adapted to every metric that Burn's [`ClassificationOutput`] is adapted to.
#[derive(Debug, Clone)]
pub struct SequenceOutput {
    /// The loss of each example, `[batch]`.
    pub losses: Tensor<1>,
    /// `[batch, labels]`.
    pub logits: Tensor<2>,
    /// What it should have said.
    pub targets: Targets,
    /// How many tokens it read, without padding.
    pub tokens: usize,
}

impl SequenceOutput {
    /// As Burn has it. Numbers that should have been said are cut to whole ones.
    fn classes(&self) -> ClassificationOutput {
        let targets: Tensor<1, Int> = match &self.targets {
            Targets::Classes(classes) => classes.clone(),
            Targets::Values(values) => values.clone().int(),
        };
        ClassificationOutput::new(self.losses.clone(), self.logits.clone(), targets)
    }

    /// As Burn has it, with the first logit as the number that is said.
    fn values(&self) -> RegressionOutput {
        let targets = match &self.targets {
            Targets::Classes(classes) => classes.clone().float(),
            Targets::Values(values) => values.clone(),
        };
        let [count, _] = self.logits.dims();
        let said = self.logits.clone().slice([0..count, 0..1]);
        RegressionOutput::new(self.losses.clone(), said, targets.reshape([count, 1]))
    }
}

impl ItemLazy for SequenceOutput {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        self.losses.device().flush()?;
        Ok(Self {
            losses: self.losses.without_autodiff(),
            logits: self.logits.without_autodiff(),
            targets: match self.targets {
                Targets::Classes(classes) => Targets::Classes(classes.without_autodiff()),
                Targets::Values(values) => Targets::Values(values.without_autodiff()),
            },
            tokens: self.tokens,
        })
    }
}

/// Adapts by way of one of Burn's own outputs.
macro_rules! adapt {
    ($($input:ty),*; $by:ident) => {$(
        impl Adaptor<$input> for SequenceOutput {
            fn adapt(&self) -> $input {
                self.$by().adapt()
            }
        }
    )*};
}

adapt!(
    burn::train::metric::AccuracyInput,
    burn::train::metric::TopKAccuracyInput,
    burn::train::metric::ConfusionStatsInput,
    burn::train::metric::PerplexityInput,
    ClassesInput,
    LossInput;
    classes
);
adapt!(ValuesInput; values);

impl Adaptor<TokensInput> for SequenceOutput {
    fn adapt(&self) -> TokensInput {
        TokensInput {
            tokens: self.tokens,
        }
    }
}

/// The architectures differ in nothing that matters here.
macro_rules! classification_task {
    ($model:ty) => {
        impl Task for $model {
            type Example = TokenizedExample;
            type Batch = ClassificationBatch;
            type Batcher = ClassificationBatcher;
            type Output = SequenceOutput;

            fn check(
                &self,
                data: &[TokenizedExample],
                batch_size: usize,
            ) -> Result<(), TrainError> {
                check(self.config(), data, batch_size)
            }

            fn head(&self) -> Vec<String> {
                head(self)
            }

            fn batcher(&self) -> ClassificationBatcher {
                ClassificationBatcher::new(self.config())
            }

            fn tokens(example: &TokenizedExample) -> usize {
                example.tokens.ids.len()
            }

            fn output(&self, batch: ClassificationBatch, label_smoothing: f64) -> SequenceOutput {
                output(self, batch, label_smoothing)
            }

            fn losses(output: &SequenceOutput) -> Tensor<1> {
                output.losses.clone()
            }

            fn metrics(
                &self,
                training: SupervisedTraining<Trainee<Self>>,
            ) -> SupervisedTraining<Trainee<Self>> {
                let score = ClassMetric::new;
                let weighted = score(ClassScore::F1(Average::Weighted));
                let training = match self.config().id2label().len() {
                    0 | 1 => training.metrics((
                        CorrelationMetric::new(Correlation::Pearson),
                        CorrelationMetric::new(Correlation::Spearman),
                        LossMetric::new(),
                    )),
                    2 => training.metrics((
                        AccuracyMetric::new(),
                        LossMetric::new(),
                        score(ClassScore::F1(Average::Binary)),
                        weighted,
                        score(ClassScore::Matthews),
                    )),
                    _ => training.metrics((
                        AccuracyMetric::new(),
                        LossMetric::new(),
                        score(ClassScore::F1(Average::Macro)),
                        weighted,
                        score(ClassScore::Matthews),
                    )),
                };
                training.metric_train_numeric(TokensPerSecondMetric::default())
            }

            fn evaluate(
                &self,
                data: &TokenizedDataset,
                batch_size: usize,
            ) -> Result<Evaluation, TrainError> {
                evaluate_classifier(self, data, batch_size)
            }
        }
    };
}

classification_task!(bert::SequenceClassification);
classification_task!(gpt2::SequenceClassification);

/// What still trains when the base does not.
fn head<M: SequenceClassifier>(model: &M) -> Vec<String> {
    let model = model.clone().set_require_grad(true);
    let all = parameters(&model.set_base_require_grad(false));
    all.into_iter()
        .filter(|info| info.trainable)
        .map(|info| info.path)
        .collect()
}

fn check<C: TextConfig>(
    config: &C,
    data: &[TokenizedExample],
    batch_size: usize,
) -> Result<(), TrainError> {
    let num_labels = config.id2label().len();
    let fits = |label: Label| match label {
        Label::Class(class) => num_labels > 1 && class < num_labels,
        Label::Value(_) => num_labels == 1,
    };
    if let Some(index) = data.iter().position(|example| !fits(example.label)) {
        return Err(TrainError::UnfitLabel {
            index,
            label: data[index].label,
            num_labels,
        });
    }
    match (config.pad_token_id(), batch_size) {
        (None, 2..) => Err(TrainError::NoPadToken),
        _ => Ok(()),
    }
}

/// The losses of the examples, logits and targets. Numbers are not smoothed.
fn output<M: SequenceClassifier>(
    model: &M,
    batch: ClassificationBatch,
    label_smoothing: f64,
) -> SequenceOutput {
    let logits = model.logits(batch.input);
    let losses = match batch.targets.clone() {
        Targets::Classes(classes) => {
            smoothed_cross_entropies(logits.clone(), classes, label_smoothing)
        }
        Targets::Values(values) => {
            let [count, _] = logits.dims();
            squared_errors(
                logits.clone().slice([0..count, 0..1]).reshape([count]),
                values,
            )
        }
    };
    SequenceOutput {
        losses,
        logits,
        targets: batch.targets,
        tokens: batch.tokens,
    }
}

#[cfg(test)]
mod tests;
