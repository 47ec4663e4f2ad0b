//! Token, position and segment embeddings.

use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::{Device, Int, Tensor};
use lora_core::LoraEmbedding;

use super::config::{Architecture, BertConfig};
use super::{embedding, layer_norm};
use crate::named_module::named_module;

/// The sum of token, position and segment embeddings, normalised.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// `[vocab_size, hidden_size]`.
    pub word_embeddings: LoraEmbedding,
    /// `[max_position_embeddings, hidden_size]`.
    pub position_embeddings: LoraEmbedding,
    /// `[type_vocab_size, hidden_size]`.
    pub token_type_embeddings: LoraEmbedding,
    /// Hugging Face's `LayerNorm`, over the last axis.
    pub norm: LayerNorm,
    /// After the norm.
    pub dropout: Dropout,
    architecture: Architecture,
    pad_token_id: usize,
}

named_module!(this: Embeddings {
    word_embeddings => "word_embeddings",
    position_embeddings => "position_embeddings",
    token_type_embeddings => "token_type_embeddings",
    norm => "LayerNorm",
    dropout => "dropout",
} skip { architecture, pad_token_id });

impl Embeddings {
    pub(super) fn new(config: &BertConfig, device: &Device) -> Self {
        let table = |rows| embedding(rows, config, device);
        Self {
            word_embeddings: table(config.vocab_size),
            position_embeddings: table(config.max_position_embeddings),
            token_type_embeddings: table(config.type_vocab_size),
            norm: layer_norm(config, device),
            dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
            architecture: config.model_type,
            pad_token_id: config.pad_token_id,
        }
    }

    /// Embeds tokens.
    ///
    /// # Shapes
    ///
    /// - `input_ids`, `token_type_ids`: `[batch, sequence]`
    /// - output: `[batch, sequence, hidden_size]`
    pub fn forward(
        &self,
        input_ids: Tensor<2, Int>,
        token_type_ids: Option<Tensor<2, Int>>,
    ) -> Tensor<3> {
        let positions = self.position_ids(&input_ids);
        let segments = token_type_ids.unwrap_or_else(|| input_ids.zeros_like());
        let sum = self.word_embeddings.forward(input_ids)
            + self.position_embeddings.forward(positions)
            + self.token_type_embeddings.forward(segments);
        self.dropout.forward(self.norm.forward(sum))
    }

    /// BERT counts from 0; RoBERTa counts the tokens that are not padding, from the padding id
    /// on, which padding itself keeps.
    fn position_ids(&self, input_ids: &Tensor<2, Int>) -> Tensor<2, Int> {
        match self.architecture {
            Architecture::Bert => {
                let [batch, sequence] = input_ids.dims();
                Tensor::<1, Int>::arange(0..sequence as i64, &input_ids.device())
                    .unsqueeze::<2>()
                    .expand([batch, sequence])
            }
            Architecture::Roberta => {
                let pad = self.pad_token_id as i64;
                let real = input_ids.clone().not_equal_elem(pad).int();
                (real.clone().cumsum(1) * real).add_scalar(pad)
            }
        }
    }
}
