//! Embeddings and blocks.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::{Bool, Device, Int, Tensor};
use lora_core::{LoraConv1D, LoraEmbedding};

use super::attention::Attention;
use super::cache::Cache;
use super::config::Gpt2Config;
use super::{conv1d, embedding, layer_norm};
use crate::Activation;

/// What the model reads: token ids, and what is padding.
#[derive(Debug, Clone)]
pub struct Gpt2Input {
    /// `[batch, new]`, each below `vocab_size`.
    pub input_ids: Tensor<2, Int>,
    /// `[batch, all]`, 1 for tokens and 0 for padding, the cached tokens included; absent: no
    /// padding.
    pub attention_mask: Option<Tensor<2, Int>>,
    /// `[batch, new]`; absent: counted from the cache's length on, as Hugging Face does whatever
    /// the mask says.
    pub position_ids: Option<Tensor<2, Int>>,
}

impl Gpt2Input {
    /// Tokens without padding.
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Self {
            input_ids,
            attention_mask: None,
            position_ids: None,
        }
    }
}

/// The feed-forward layers.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[n_embd, n_inner]`.
    pub c_fc: LoraConv1D,
    /// `[n_inner, n_embd]`.
    pub c_proj: LoraConv1D,
    /// On the output.
    pub dropout: Dropout,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    fn new(config: &Gpt2Config, device: &Device) -> Self {
        let (width, inner) = (config.n_embd, config.inner());
        Self {
            c_fc: conv1d(width, inner, config.initializer_range, device),
            c_proj: conv1d(inner, width, config.residual_std(), device),
            dropout: DropoutConfig::new(config.resid_pdrop).init(),
            activation: config.activation_function,
        }
    }

    /// # Shapes
    ///
    /// - `hidden`, output: `[batch, sequence, n_embd]`
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let inner = self.activation.apply(self.c_fc.forward(hidden));
        self.dropout.forward(self.c_proj.forward(inner))
    }
}

/// Attention and feed-forward, each with a norm before it and a residual around it.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub ln_1: LayerNorm,
    /// Causal self-attention.
    pub attn: Attention,
    /// Before the feed-forward layers.
    pub ln_2: LayerNorm,
    /// The feed-forward layers.
    pub mlp: Mlp,
}

impl Block {
    fn new(config: &Gpt2Config, layer: usize, device: &Device) -> Self {
        Self {
            ln_1: layer_norm(config, device),
            attn: Attention::new(config, layer, device),
            ln_2: layer_norm(config, device),
            mlp: Mlp::new(config, device),
        }
    }

    /// Shapes as in [`Attention::forward`].
    pub fn forward(
        &self,
        hidden: Tensor<3>,
        hidden_keys: &Tensor<4, Bool>,
        cache: Option<&mut Cache>,
    ) -> Tensor<3> {
        let normed = self.ln_1.forward(hidden.clone());
        let hidden = hidden + self.attn.forward(normed, hidden_keys, cache);
        let normed = self.ln_2.forward(hidden.clone());
        hidden + self.mlp.forward(normed)
    }
}

/// Token and position embeddings, the blocks and the last norm.
#[derive(Module, Debug)]
pub struct Transformer {
    /// Token embeddings, `[vocab_size, n_embd]`.
    pub wte: LoraEmbedding,
    /// Position embeddings, `[n_positions, n_embd]`.
    pub wpe: LoraEmbedding,
    /// On the embeddings.
    pub drop: Dropout,
    /// The blocks, from the embeddings up.
    pub h: Vec<Block>,
    /// After the last block.
    pub ln_f: LayerNorm,
}

impl Transformer {
    /// A transformer with fresh weights.
    pub fn new(config: &Gpt2Config, device: &Device) -> Self {
        Self {
            wte: embedding(config.vocab_size, config, device),
            wpe: embedding(config.n_positions, config, device),
            drop: DropoutConfig::new(config.embd_pdrop).init(),
            h: (0..config.n_layer)
                .map(|layer| Block::new(config, layer, device))
                .collect(),
            ln_f: layer_norm(config, device),
        }
    }

    /// The hidden states after the last norm. With a cache, `input` has only the tokens that
    /// follow those in it, and the cache has them afterwards.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, new, n_embd]`
    ///
    /// # Panics
    ///
    /// Panics if a sequence is longer than `n_positions` or an id is not below `vocab_size`, as
    /// every Burn lookup does.
    pub fn forward(&self, input: Gpt2Input, mut cache: Option<&mut Cache>) -> Tensor<3> {
        let [batch, new] = input.input_ids.dims();
        let device = input.input_ids.device();
        let before = cache.as_ref().map_or(0, |cache| cache.len());
        let positions = input.position_ids.unwrap_or_else(|| {
            Tensor::<1, Int>::arange(before as i64..(before + new) as i64, &device)
                .unsqueeze::<2>()
                .expand([batch, new])
        });
        let hidden_keys = hidden_keys(batch, before, new, input.attention_mask, &device);
        let embedded = self.wte.forward(input.input_ids) + self.wpe.forward(positions);
        let mut hidden = self.drop.forward(embedded);
        for block in &self.h {
            hidden = block.forward(hidden, &hidden_keys, cache.as_deref_mut());
        }
        if let Some(cache) = cache {
            cache.advance(new);
        }
        self.ln_f.forward(hidden)
    }
}

/// The keys that a query must not see: those after it, and padding. `[batch, 1, new, all]`.
fn hidden_keys(
    batch: usize,
    before: usize,
    new: usize,
    mask: Option<Tensor<2, Int>>,
    device: &Device,
) -> Tensor<4, Bool> {
    let all = before + new;
    let later = Tensor::<2, Bool>::tril_mask([new, all], before as i64, device);
    let later = later.reshape([1, 1, new, all]).expand([batch, 1, new, all]);
    match mask {
        None => later,
        Some(mask) => {
            let padding = mask.equal_elem(0).reshape([batch, 1, 1, all]);
            later.bool_or(padding.expand([batch, 1, new, all]))
        }
    }
}
