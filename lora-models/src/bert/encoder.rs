//! The encoder that BERT and RoBERTa share.

use burn::module::Module;
use burn::tensor::activation::tanh;
use burn::tensor::{Bool, Device, Int, Tensor};
use lora_core::LoraLinear;

use super::attention::{Attention, ResidualOutput};
use super::config::BertConfig;
use super::embeddings::Embeddings;
use super::linear;
use crate::Activation;

/// What a model reads: token ids, and what is padding.
#[derive(Debug, Clone)]
pub struct EncoderInput {
    /// `[batch, sequence]`, each below `vocab_size`.
    pub input_ids: Tensor<2, Int>,
    /// `[batch, sequence]`, 1 for tokens and 0 for padding; absent: no padding.
    pub attention_mask: Option<Tensor<2, Int>>,
    /// `[batch, sequence]`, the segment of each token; absent: segment 0.
    pub token_type_ids: Option<Tensor<2, Int>>,
}

impl EncoderInput {
    /// Tokens without padding, all in segment 0.
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Self {
            input_ids,
            attention_mask: None,
            token_type_ids: None,
        }
    }
}

/// The first feed-forward layer and its activation.
#[derive(Module, Debug)]
pub struct Intermediate {
    /// `[hidden_size, intermediate_size]`.
    pub dense: LoraLinear,
    #[module(skip)]
    activation: Activation,
}

impl Intermediate {
    /// # Shapes
    ///
    /// - `hidden`: `[batch, sequence, hidden_size]`
    /// - output: `[batch, sequence, intermediate_size]`
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.activation.apply(self.dense.forward(hidden))
    }
}

/// Attention and feed-forward, each with residual and norm after it.
#[derive(Module, Debug)]
pub struct Layer {
    /// Self-attention.
    pub attention: Attention,
    /// The first feed-forward layer.
    pub intermediate: Intermediate,
    /// The second feed-forward layer.
    pub output: ResidualOutput,
}

impl Layer {
    fn new(config: &BertConfig, device: &Device) -> Self {
        Self {
            attention: Attention::new(config, device),
            intermediate: Intermediate {
                dense: linear(config.hidden_size, config.intermediate_size, config, device),
                activation: config.hidden_act,
            },
            output: ResidualOutput::new(config.intermediate_size, config, device),
        }
    }

    /// # Shapes
    ///
    /// - `hidden`, output: `[batch, sequence, hidden_size]`
    /// - `padding`: `[batch, 1, 1, sequence]`
    pub fn forward(&self, hidden: Tensor<3>, padding: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let hidden = self.attention.forward(hidden, padding);
        self.output
            .forward(self.intermediate.forward(hidden.clone()), hidden)
    }
}

/// The stack of layers.
#[derive(Module, Debug)]
pub struct Layers {
    /// From the embeddings up.
    pub layer: Vec<Layer>,
}

/// BERT's pooler: the first token's state through a dense layer and tanh.
#[derive(Module, Debug)]
pub struct Pooler {
    /// `[hidden_size, hidden_size]`.
    pub dense: LoraLinear,
}

impl Pooler {
    /// # Shapes
    ///
    /// - `hidden`: `[batch, sequence, hidden_size]`
    /// - output: `[batch, hidden_size]`
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<2> {
        tanh(self.dense.forward(first_token(hidden)))
    }
}

/// The state of each sequence's first token, `[batch, hidden_size]`.
pub(super) fn first_token(hidden: Tensor<3>) -> Tensor<2> {
    let [batch, _, width] = hidden.dims();
    hidden.slice([0..batch, 0..1]).reshape([batch, width])
}

/// Embeddings, layers and (for BERT's classifier) the pooler.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Token, position and segment embeddings.
    pub embeddings: Embeddings,
    /// The layers.
    pub encoder: Layers,
    /// BERT's pooler, where the head uses it.
    pub pooler: Option<Pooler>,
}

impl Encoder {
    /// An encoder with fresh weights, with or without a pooler.
    pub fn new(config: &BertConfig, pooler: bool, device: &Device) -> Self {
        let dense = || linear(config.hidden_size, config.hidden_size, config, device);
        Self {
            embeddings: Embeddings::new(config, device),
            encoder: Layers {
                layer: (0..config.num_hidden_layers)
                    .map(|_| Layer::new(config, device))
                    .collect(),
            },
            pooler: pooler.then(|| Pooler { dense: dense() }),
        }
    }

    /// The last layer's hidden states.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, sequence, hidden_size]`
    ///
    /// # Panics
    ///
    /// Panics if a sequence is longer than [`BertConfig::max_tokens`] or an id is not below
    /// `vocab_size`, as every Burn lookup does; the tokenizer's `max_len` prevents both.
    pub fn forward(&self, input: EncoderInput) -> Tensor<3> {
        let padding = input.attention_mask.map(|mask| {
            let [batch, sequence] = mask.dims();
            mask.equal_elem(0).reshape([batch, 1, 1, sequence])
        });
        let mut hidden = self
            .embeddings
            .forward(input.input_ids, input.token_type_ids);
        for layer in &self.encoder.layer {
            hidden = layer.forward(hidden, padding.clone());
        }
        hidden
    }
}
