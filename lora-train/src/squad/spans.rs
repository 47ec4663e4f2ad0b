//! What a model says about features, without dropout.

use burn::module::Module;
use lora_core::device_of;
use lora_models::bert::QuestionAnswering;

use super::{AnswerOptions, Question, SpanBatcher, SquadFeature, SquadPrediction, predictions};
use crate::{Task, TrainError};

/// The logits of the tokens of a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanLogits {
    /// That an answer begins with a token.
    pub start: Vec<f32>,
    /// That it ends with one.
    pub end: Vec<f32>,
}

impl SpanLogits {
    /// The mean cross-entropy of the feature's first and last token.
    pub(super) fn loss(&self, feature: &SquadFeature) -> f64 {
        (loss(&self.start, feature.start()) + loss(&self.end, feature.end())) / 2.0
    }

    /// The tokens with the highest logits; of several, the first.
    pub(super) fn best(&self) -> (usize, usize) {
        (best(&self.start), best(&self.end))
    }
}

/// The logits of each feature, in order, computed `batch_size` at once, those of like lengths together.
///
/// Dropout is off, whatever mode the model is in. The logits of padding are left out.
///
/// # Errors
///
/// [`TrainError::MaxLen`] if a feature is longer than the model's positions; [`TrainError::Device`].
pub fn span_logits(
    model: &QuestionAnswering,
    features: &[SquadFeature],
    batch_size: usize,
) -> Result<Vec<SpanLogits>, TrainError> {
    model.check(features, batch_size)?;
    let model = model.valid();
    let device = device_of(&model);
    let batcher = SpanBatcher::new(model.config());
    let mut order: Vec<usize> = (0..features.len()).collect();
    order.sort_by_key(|&index| QuestionAnswering::tokens(&features[index]));
    let mut all = vec![None; features.len()];
    for chunk in order.chunks(batch_size.max(1)) {
        let chosen: Vec<_> = chunk.iter().map(|&index| &features[index]).collect();
        let (starts, ends) = model.forward_tokens(batcher.make(&chosen, &device).input);
        let [_, sequence] = starts.dims();
        let values = |logits: burn::tensor::Tensor<2>| {
            let values = logits.try_into_vec_as::<f32>();
            values.map_err(|e| TrainError::Device(e.to_string()))
        };
        let (starts, ends) = (values(starts)?, values(ends)?);
        let rows = starts.chunks(sequence).zip(ends.chunks(sequence));
        for (&index, (start, end)) in chunk.iter().zip(rows) {
            let tokens = QuestionAnswering::tokens(&features[index]);
            all[index] = Some(SpanLogits {
                start: start[..tokens].to_vec(),
                end: end[..tokens].to_vec(),
            });
        }
    }
    Ok(all.into_iter().flatten().collect())
}

/// Answers `questions`, whose features these are.
///
/// # Errors
///
/// As [`span_logits`] and [`predictions`].
pub fn answer_questions(
    model: &QuestionAnswering,
    questions: &[Question],
    features: &[SquadFeature],
    options: &AnswerOptions,
    batch_size: usize,
) -> Result<Vec<SquadPrediction>, TrainError> {
    let logits = span_logits(model, features, batch_size)?;
    predictions(questions, features, &logits, options)
}

fn best(logits: &[f32]) -> usize {
    let above = |best: usize, (index, value): (usize, &f32)| match *value > logits[best] {
        true => index,
        false => best,
    };
    logits.iter().enumerate().fold(0, above)
}

/// The cross-entropy, `log Σ exp(logits) - logits[place]`.
fn loss(logits: &[f32], place: usize) -> f64 {
    let highest = f64::from(logits[best(logits)]);
    let sum: f64 = logits
        .iter()
        .map(|logit| (f64::from(*logit) - highest).exp())
        .sum();
    highest + sum.ln() - f64::from(logits[place])
}
