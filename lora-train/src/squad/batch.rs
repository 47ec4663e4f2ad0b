//! Features side by side.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_models::TextConfig;
use lora_models::bert::EncoderInput;

use super::SquadFeature;
use crate::data::{ClassificationBatcher, Tokens};

/// A batch of features as tensors.
#[derive(Debug, Clone)]
pub struct SpanBatch {
    /// What the model reads, `[batch, sequence]`.
    pub input: EncoderInput,
    /// The first token of each answer, `[batch]`.
    pub starts: Tensor<1, Int>,
    /// The last token of each answer, `[batch]`.
    pub ends: Tensor<1, Int>,
}

/// Makes batches that are as long as their longest feature.
#[derive(Debug, Clone)]
pub struct SpanBatcher(ClassificationBatcher);

impl SpanBatcher {
    /// A batcher for the model with the configuration `config`, whose padding id it uses.
    pub fn new(config: &impl TextConfig) -> Self {
        Self(ClassificationBatcher::new(config))
    }

    /// The batch of these features.
    pub(super) fn make(&self, features: &[&SquadFeature], device: &Device) -> SpanBatch {
        let rows: Vec<&Tokens> = features.iter().map(|feature| feature.tokens()).collect();
        let places = |of: fn(&SquadFeature) -> usize| {
            let places: Vec<i32> = features.iter().map(|feature| of(feature) as i32).collect();
            Tensor::from_data(TensorData::new(places, [features.len()]), device)
        };
        SpanBatch {
            input: self.0.input(&rows, device),
            starts: places(SquadFeature::start),
            ends: places(SquadFeature::end),
        }
    }
}

impl Batcher<SquadFeature, SpanBatch> for SpanBatcher {
    fn batch(&self, items: Vec<SquadFeature>, device: &Device) -> SpanBatch {
        let features: Vec<&SquadFeature> = items.iter().collect();
        self.make(&features, device)
    }
}
