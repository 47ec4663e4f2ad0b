//! Multi-head self-attention and its output.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor};
use lora_core::LoraLinear;

use super::config::BertConfig;
use super::{layer_norm, linear};
use crate::named_module::named_module;

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

    /// Attends.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[batch, sequence, hidden_size]`
    /// - `padding`: `[batch, 1, 1, sequence]`, true where a key is padding
    /// - output: `[batch, sequence, hidden_size]`
    pub fn forward(&self, hidden: Tensor<3>, padding: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let [batch, sequence, width] = hidden.dims();
        let size = width / self.heads;
        let split = |x: Tensor<3>| {
            x.reshape([batch, sequence, self.heads, size])
                .swap_dims(1, 2)
        };
        // Scaling the queries costs less than scaling the scores.
        let query = split(
            self.query
                .forward(hidden.clone())
                .div_scalar((size as f64).sqrt()),
        );
        let key = split(self.key.forward(hidden.clone()));
        let value = split(self.value.forward(hidden));
        let scores = query.matmul(key.swap_dims(2, 3));
        let scores = match padding {
            Some(padding) => {
                let padding = padding.expand([batch, self.heads, sequence, sequence]);
                scores.mask_fill(padding, f32::MIN)
            }
            None => scores,
        };
        let probabilities = self.dropout.forward(softmax(scores, 3));
        probabilities
            .matmul(value)
            .swap_dims(1, 2)
            .reshape([batch, sequence, width])
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
}

named_module!(this: ResidualOutput {
    dense => "dense",
    norm => "LayerNorm",
    dropout => "dropout",
} skip {});

impl ResidualOutput {
    pub(super) fn new(d_input: usize, config: &BertConfig, device: &Device) -> Self {
        Self {
            dense: linear(d_input, config.hidden_size, config, device),
            norm: layer_norm(config, device),
            dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
        }
    }

    /// Projects `inner` and adds `residual`.
    ///
    /// # Shapes
    ///
    /// - `inner`: `[batch, sequence, width inside]`
    /// - `residual`, output: `[batch, sequence, hidden_size]`
    pub fn forward(&self, inner: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        let output = self.dropout.forward(self.dense.forward(inner));
        self.norm.forward(output + residual)
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

    /// Attends, with the residual around it; shapes as in [`SelfAttention::forward`].
    pub fn forward(&self, hidden: Tensor<3>, padding: Option<Tensor<4, Bool>>) -> Tensor<3> {
        let attended = self.self_attention.forward(hidden.clone(), padding);
        self.output.forward(attended, hidden)
    }
}
