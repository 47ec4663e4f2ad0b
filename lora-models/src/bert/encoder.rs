//! The encoder that BERT and RoBERTa share.

use burn::module::Module;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Int, Tensor};
use lora_core::ops::{Sequences, is_fast};
use lora_core::{LoraLinear, needs_all_rows};

use super::attention::{Attention, ResidualOutput};
use super::config::BertConfig;
use super::embeddings::Embeddings;
use super::linear;
use crate::Activation;
use crate::rows::Rows;

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
    /// - `hidden`: `[rows, hidden_size]`
    /// - output: `[rows, intermediate_size]`
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
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
    /// As [`Attention::forward`].
    pub fn forward(
        &self,
        hidden: Tensor<2>,
        sequences: &Sequences,
        at: Option<Tensor<1, Int>>,
    ) -> Tensor<2> {
        let hidden = self.attention.forward(hidden, sequences, at);
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
    /// - `first`: `[batch, hidden_size]`, the state of each sequence's first token
    /// - output: `[batch, hidden_size]`
    pub fn forward(&self, first: Tensor<2>) -> Tensor<2> {
        tanh(self.dense.forward(first))
    }
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
        let [batch, sequence] = input.input_ids.dims();
        let rows = self.rows(&input, |_| false);
        let mut hidden = self.embed(input, &rows);
        for layer in &self.encoder.layer {
            hidden = layer.forward(hidden, &rows.sequences, None);
        }
        let [_, width] = hidden.dims();
        hidden.reshape([batch, sequence, width])
    }

    /// The last layer's states of all tokens, sequence after sequence, and which these are: padding costs
    /// nothing where the backend computes sequences of different lengths as fast.
    ///
    /// # Shapes
    ///
    /// - output: `[rows, hidden_size]`
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub(crate) fn forward_rows(&self, input: EncoderInput) -> (Tensor<2>, Rows) {
        let all = needs_all_rows(self);
        let rows = self.rows(&input, |_| !all);
        let mut hidden = self.embed(input, &rows);
        for layer in &self.encoder.layer {
            hidden = layer.forward(hidden, &rows.sequences, None);
        }
        (hidden, rows)
    }

    /// The last layer's state of each sequence's first token. Nothing is computed that it does not
    /// depend on: the last layer has one query for each sequence, and padding costs nothing where
    /// the backend computes sequences of different lengths as fast.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, hidden_size]`
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_first(&self, input: EncoderInput) -> Tensor<2> {
        let device = input.input_ids.device();
        let all = needs_all_rows(self);
        let rows = self.rows(&input, |row| !all && row[0]);
        let first = rows.first(&device);
        let mut hidden = self.embed(input, &rows);
        let Some((last, layers)) = self.encoder.layer.split_last() else {
            return hidden.select(0, first);
        };
        for layer in layers {
            hidden = layer.forward(hidden, &rows.sequences, None);
        }
        if all {
            return last.forward(hidden, &rows.sequences, None).select(0, first);
        }
        let [batch] = first.dims();
        let sequences = rows.sequences.with_queries(std::iter::repeat_n(1, batch));
        last.forward(hidden, &sequences, Some(first))
    }

    /// Without padding, unless a sequence does not `fit`. Either way, a mask that hides nothing is none
    /// where the backend gains by it.
    fn rows(&self, input: &EncoderInput, fits: impl Fn(&[bool]) -> bool) -> Rows {
        let shape = input.input_ids.dims();
        let mask = input.attention_mask.clone();
        match is_fast(&self.embeddings.norm.gamma.val()) {
            true => Rows::without_padding(shape, mask, fits),
            false => Rows::all(shape, mask),
        }
    }

    fn embed(&self, input: EncoderInput, rows: &Rows) -> Tensor<2> {
        self.embeddings
            .forward(input.input_ids, input.token_type_ids, rows)
    }
}
