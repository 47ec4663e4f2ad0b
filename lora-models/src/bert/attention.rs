//! Multi-head self-attention and its output.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::{Device, Int, Tensor};
use lora_core::LoraLinear;
use lora_core::ops::{AttentionOptions, Sequences, attention, dropout_probability, residual_norm};

use super::config::BertConfig;
use super::{layer_norm, linear};
use crate::named_module::named_module;
use crate::norm::affine;

/// Scaled dot-product attention (Vaswani et al. 2017, section 3.2).
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// `[hidden_size, hidden_size]`.
    pub query: LoraLinear,
    /// `[hidden_size, hidden_size]`.
    pub key: LoraLinear,
    /// `[hidden_size, hidden_size]`.
    pub value: LoraLinear,
    /// On the attention probabilities.
    pub dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    fn new(config: &BertConfig, device: &Device) -> Self {
        let square = || linear(config.hidden_size, config.hidden_size, config, device);
        Self {
            query: square(),
            key: square(),
            value: square(),
            dropout: DropoutConfig::new(config.attention_probs_dropout_prob).init(),
            heads: config.num_attention_heads,
        }
    }

    /// Attends within each sequence.
    ///
    /// # Shapes
    ///
    /// - `queries`, output: `[rows of queries, hidden_size]`
    /// - `keys`: `[rows of keys, hidden_size]`
    pub fn forward(&self, queries: Tensor<2>, keys: Tensor<2>, sequences: &Sequences) -> Tensor<2> {
        let [_, width] = queries.dims();
        let size = width / self.heads;
        let options = AttentionOptions {
            heads: self.heads,
            scale: 1.0 / (size as f64).sqrt(),
            causal: false,
            dropout: dropout_probability(&self.dropout, &queries),
        };
        let query = self.query.forward(queries);
        let key = self.key.forward(keys.clone());
        let value = self.value.forward(keys);
        attention(query, key, value, sequences, &options)
    }
}

/// A projection back to the hidden width with dropout, residual and norm: what follows attention
/// and the feed-forward layer.
#[derive(Clone, Debug)]
pub struct ResidualOutput {
    /// `[width inside, hidden_size]`.
    pub dense: LoraLinear,
    /// Hugging Face's `LayerNorm`, after the residual sum.
    pub norm: LayerNorm,
    /// Before the residual sum.
    pub dropout: Dropout,
    epsilon: f64,
}

named_module!(this: ResidualOutput {
    dense => "dense",
    norm => "LayerNorm",
    dropout => "dropout",
} skip { epsilon });

impl ResidualOutput {
    pub(super) fn new(d_input: usize, config: &BertConfig, device: &Device) -> Self {
        Self {
            dense: linear(d_input, config.hidden_size, config, device),
            norm: layer_norm(config, device),
            dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
            epsilon: config.layer_norm_eps,
        }
    }

    /// Projects `inner` and adds `residual`.
    ///
    /// # Shapes
    ///
    /// - `inner`: `[rows, width inside]`
    /// - `residual`, output: `[rows, hidden_size]`
    pub fn forward(&self, inner: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        let output = self.dense.forward(inner);
        let probability = dropout_probability(&self.dropout, &output);
        residual_norm(
            output,
            residual,
            probability,
            affine(&self.norm, self.epsilon),
        )
    }
}

/// Self-attention with its output projection.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Hugging Face's `self`.
    pub self_attention: SelfAttention,
    /// Hugging Face's `output`.
    pub output: ResidualOutput,
}

named_module!(this: Attention {
    self_attention => "self",
    output => "output",
} skip {});

impl Attention {
    pub(super) fn new(config: &BertConfig, device: &Device) -> Self {
        Self {
            self_attention: SelfAttention::new(config, device),
            output: ResidualOutput::new(config.hidden_size, config, device),
        }
    }

    /// Attends, with the residual around it.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[rows, hidden_size]`
    /// - `at`: `[chosen]`, the rows to compute; absent: all
    /// - output: `[rows, hidden_size]`, or `[chosen, hidden_size]`
    pub fn forward(
        &self,
        hidden: Tensor<2>,
        sequences: &Sequences,
        at: Option<Tensor<1, Int>>,
    ) -> Tensor<2> {
        let queries = match at {
            Some(at) => hidden.clone().select(0, at),
            None => hidden.clone(),
        };
        let attended = self
            .self_attention
            .forward(queries.clone(), hidden, sequences);
        self.output.forward(attended, queries)
    }
}
