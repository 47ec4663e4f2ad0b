//! Token, position and segment embeddings.

use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::{Device, Int, Tensor};
use lora_core::LoraEmbedding;
use lora_core::ops::{dropout, dropout_probability, layer_norm as fused_layer_norm};

use super::config::{Architecture, BertConfig};
use super::{embedding, layer_norm};
use crate::named_module::named_module;
use crate::norm::affine;
use crate::rows::Rows;

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
    epsilon: f64,
}

named_module!(this: Embeddings {
    word_embeddings => "word_embeddings",
    position_embeddings => "position_embeddings",
    token_type_embeddings => "token_type_embeddings",
    norm => "LayerNorm",
    dropout => "dropout",
} skip { architecture, pad_token_id, epsilon });

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
            epsilon: config.layer_norm_eps,
        }
    }

    /// Embeds the tokens that are rows.
    ///
    /// # Shapes
    ///
    /// - `input_ids`, `token_type_ids`: `[batch, sequence]`
    /// - output: `[rows, hidden_size]`
    pub(super) fn forward(
        &self,
        input_ids: Tensor<2, Int>,
        token_type_ids: Option<Tensor<2, Int>>,
        rows: &Rows,
    ) -> Tensor<2> {
        let positions = rows.take(self.position_ids(&input_ids));
        let segments = token_type_ids.unwrap_or_else(|| input_ids.zeros_like());
        let (input_ids, segments) = (rows.take(input_ids), rows.take(segments));
        let sum = self.word_embeddings.forward(input_ids)
            + self.position_embeddings.forward(positions)
            + self.token_type_embeddings.forward(segments);
        let [batch, sequence, width] = sum.dims();
        let normed = fused_layer_norm(
            sum.reshape([batch * sequence, width]),
            affine(&self.norm, self.epsilon),
        );
        let probability = dropout_probability(&self.dropout, &normed);
        dropout(normed, probability)
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
