//! Causal multi-head self-attention.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor};
use lora_core::LoraConv1D;
use lora_core::ops::{AttentionOptions, Sequences, attention, dropout_probability, self_attention};

use super::cache::Cache;
use super::config::Gpt2Config;
use super::conv1d;

/// Scaled dot-product attention (Vaswani et al. 2017, section 3.2) over a token and those before it.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query, key and value side by side, `[n_embd, 3 · n_embd]`.
    pub c_attn: LoraConv1D,
    /// `[n_embd, n_embd]`.
    pub c_proj: LoraConv1D,
    /// On the attention probabilities.
    pub attn_dropout: Dropout,
    /// On the output.
    pub resid_dropout: Dropout,
    heads: usize,
    scale: f64,
    layer: usize,
}

impl Attention {
    pub(super) fn new(config: &Gpt2Config, layer: usize, device: &Device) -> Self {
        let std = config.initializer_range;
        let width = config.n_embd;
        let mut scale = 1.0;
        if config.scale_attn_weights {
            scale /= ((width / config.n_head) as f64).sqrt();
        }
        if config.scale_attn_by_inverse_layer_idx {
            scale /= (layer + 1) as f64;
        }
        Self {
            c_attn: conv1d(width, 3 * width, std, device),
            c_proj: conv1d(width, width, config.residual_std(), device),
            attn_dropout: DropoutConfig::new(config.attn_pdrop).init(),
            resid_dropout: DropoutConfig::new(config.resid_pdrop).init(),
            heads: config.n_head,
            scale,
            layer,
        }
    }

    /// Attends within each sequence, and puts the result through the output projection, without the
    /// dropout that follows.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `[rows, n_embd]`
    /// - `last`: `[batch]`, the last row of each sequence if only these are computed
    /// - output: `[rows, n_embd]`, or `[batch, n_embd]`
    pub fn forward(
        &self,
        hidden: Tensor<2>,
        sequences: &Sequences,
        last: Option<Tensor<1, Int>>,
    ) -> Tensor<2> {
        let [_, width] = hidden.dims();
        let projected = self.c_attn.forward(hidden);
        let options = AttentionOptions {
            heads: self.heads,
            scale: self.scale,
            causal: true,
            dropout: dropout_probability(&self.attn_dropout, &projected),
        };
        let attended = match last {
            None => self_attention(projected, sequences, &options),
            Some(last) => {
                let [batch] = last.dims();
                let queries = sequences.with_queries(std::iter::repeat_n(1, batch));
                let part = |x: Tensor<2>, i: usize| {
                    let [rows, _] = x.dims();
                    x.slice([0..rows, i * width..(i + 1) * width])
                };
                let query = part(projected.clone().select(0, last), 0);
                let (key, value) = (part(projected.clone(), 1), part(projected, 2));
                attention(query, key, value, &queries, &options)
            }
        };
        self.c_proj.forward(attended)
    }

    /// Attends to the tokens in `cache` too, which has the new ones afterwards.
    ///
    /// # Shapes
    ///
    /// - `hidden`, output: `[batch · new, n_embd]`
    /// - `hidden_keys`: `[batch, 1, new, all]`, true where a key must not be seen
    pub(super) fn forward_cached(
        &self,
        hidden: Tensor<2>,
        hidden_keys: &Tensor<4, Bool>,
        cache: &mut Cache,
    ) -> Tensor<2> {
        let [rows, width] = hidden.dims();
        let [batch, _, new, _] = hidden_keys.dims();
        let size = width / self.heads;
        let projected = self.c_attn.forward(hidden);
        let part = |i: usize| {
            projected
                .clone()
                .slice([0..rows, i * width..(i + 1) * width])
                .reshape([batch, new, self.heads, size])
                .swap_dims(1, 2)
        };
        let (keys, values) = cache.extend(self.layer, part(1), part(2));
        let scores = part(0).mul_scalar(self.scale).matmul(keys.swap_dims(2, 3));
        let shape = scores.dims();
        let scores = scores.mask_fill(hidden_keys.clone().expand(shape), f32::MIN);
        let probabilities = self.attn_dropout.forward(softmax(scores, 3));
        let attended = probabilities
            .matmul(values)
            .swap_dims(1, 2)
            .reshape([rows, width]);
        self.c_proj.forward(attended)
    }
}
