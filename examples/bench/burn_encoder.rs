//! What a Burn user has without this crate: Burn's own transformer encoder, in the shape of
//! RoBERTa-base.

use burn::module::Module;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use lora_models::bert::BertConfig;

/// Embeddings, Burn's encoder and a classifier with two classes.
#[derive(Module, Debug)]
pub(super) struct BurnEncoder {
    words: Embedding,
    positions: Embedding,
    encoder: TransformerEncoder,
    classifier: Linear,
}

impl BurnEncoder {
    pub(super) fn new(config: &BertConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        let heads = config.num_attention_heads;
        let layers = config.num_hidden_layers;
        let encoder = TransformerEncoderConfig::new(width, config.intermediate_size, heads, layers);
        Self {
            words: EmbeddingConfig::new(config.vocab_size, width).init(device),
            positions: EmbeddingConfig::new(config.max_position_embeddings, width).init(device),
            encoder: encoder.init(device),
            classifier: LinearConfig::new(width, 2).init(device),
        }
    }

    /// Classifies by the first token.
    ///
    /// # Shapes
    ///
    /// - `ids`: `[batch, sequence]`
    /// - output: `[batch, 2]`
    pub(super) fn logits(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let [batch, sequence] = ids.dims();
        let places = Tensor::<1, Int>::arange(0..sequence as i64, &ids.device());
        let places = places.unsqueeze::<2>();
        let embedded = self.words.forward(ids) + self.positions.forward(places);
        let hidden = self.encoder.forward(TransformerEncoderInput::new(embedded));
        let [_, _, width] = hidden.dims();
        let first = hidden
            .slice([0..batch, 0..1, 0..width])
            .reshape([batch, width]);
        self.classifier.forward(first)
    }
}
