//! Embeddings and blocks.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm};
use burn::tensor::{Bool, Device, Int, Tensor};
use lora_core::ops::{
    Sequences, dropout, dropout_add, dropout_probability, is_fast, layer_norm as fused_layer_norm,
};
use lora_core::{LoraConv1D, LoraEmbedding, needs_all_rows};

use super::attention::Attention;
use super::cache::Cache;
use super::config::Gpt2Config;
use super::{conv1d, embedding, layer_norm};
use crate::Activation;
use crate::norm::affine;
use crate::rows::Rows;

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

    /// Without the dropout that follows.
    ///
    /// # Shapes
    ///
    /// - `hidden`, output: `[rows, n_embd]`
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        let inner = self.activation.apply(self.c_fc.forward(hidden));
        self.c_proj.forward(inner)
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
    epsilon: f64,
}

impl Block {
    fn new(config: &Gpt2Config, layer: usize, device: &Device) -> Self {
        Self {
            ln_1: layer_norm(config, device),
            attn: Attention::new(config, layer, device),
            ln_2: layer_norm(config, device),
            mlp: Mlp::new(config, device),
            epsilon: config.layer_norm_epsilon,
        }
    }

    /// # Shapes
    ///
    /// As [`Attention::forward`].
    pub fn forward(
        &self,
        hidden: Tensor<2>,
        sequences: &Sequences,
        last: Option<Tensor<1, Int>>,
    ) -> Tensor<2> {
        let normed = fused_layer_norm(hidden.clone(), affine(&self.ln_1, self.epsilon));
        let attended = self.attn.forward(normed, sequences, last.clone());
        let hidden = match last {
            Some(last) => hidden.select(0, last),
            None => hidden,
        };
        self.feed_forward(attended, hidden)
    }

    fn forward_cached(
        &self,
        hidden: Tensor<2>,
        hidden_keys: &Tensor<4, Bool>,
        cache: &mut Cache,
    ) -> Tensor<2> {
        let normed = fused_layer_norm(hidden.clone(), affine(&self.ln_1, self.epsilon));
        let attended = self.attn.forward_cached(normed, hidden_keys, cache);
        self.feed_forward(attended, hidden)
    }

    fn feed_forward(&self, attended: Tensor<2>, hidden: Tensor<2>) -> Tensor<2> {
        let probability = dropout_probability(&self.attn.resid_dropout, &attended);
        let hidden = dropout_add(attended, hidden, probability);
        let normed = fused_layer_norm(hidden.clone(), affine(&self.ln_2, self.epsilon));
        let inner = self.mlp.forward(normed);
        let probability = dropout_probability(&self.mlp.dropout, &inner);
        dropout_add(inner, hidden, probability)
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
    epsilon: f64,
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
            epsilon: config.layer_norm_epsilon,
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
    pub fn forward(&self, input: Gpt2Input, cache: Option<&mut Cache>) -> Tensor<3> {
        let [batch, new] = input.input_ids.dims();
        let hidden = match cache {
            Some(cache) => self.forward_cached(input, cache),
            None => {
                let rows = self.rows_without_padding_if(false, &input);
                self.forward_rows(input, &rows, None)
            }
        };
        let [_, width] = hidden.dims();
        hidden.reshape([batch, new, width])
    }

    /// The rows to compute: without padding, where the backend gains by it.
    pub(super) fn rows(&self, input: &Gpt2Input) -> Rows {
        self.rows_without_padding_if(!needs_all_rows(self), input)
    }

    /// A mask that hides nothing is none where the backend gains by it, either way.
    fn rows_without_padding_if(&self, packed: bool, input: &Gpt2Input) -> Rows {
        let shape = input.input_ids.dims();
        let mask = input.attention_mask.clone();
        match is_fast(&self.ln_f.gamma.val()) {
            true => Rows::without_padding(shape, mask, |_| packed),
            false => Rows::all(shape, mask),
        }
    }

    /// The hidden states after the last norm, `[rows, n_embd]`; the last block is computed for the
    /// rows `last` only, if these are given.
    pub(super) fn forward_rows(
        &self,
        input: Gpt2Input,
        rows: &Rows,
        last: Option<Tensor<1, Int>>,
    ) -> Tensor<2> {
        let mut hidden = self.embed(input.input_ids, input.position_ids, 0, rows);
        for (index, block) in self.h.iter().enumerate() {
            let last = last.clone().filter(|_| index + 1 == self.h.len());
            hidden = block.forward(hidden, &rows.sequences, last);
        }
        fused_layer_norm(hidden, affine(&self.ln_f, self.epsilon))
    }

    fn forward_cached(&self, input: Gpt2Input, cache: &mut Cache) -> Tensor<2> {
        let [batch, new] = input.input_ids.dims();
        let before = cache.len();
        let device = input.input_ids.device();
        let hidden_keys = hidden_keys(batch, before, new, input.attention_mask, &device);
        let rows = Rows::all([batch, new], None);
        let mut hidden = self.embed(input.input_ids, input.position_ids, before, &rows);
        for block in &self.h {
            hidden = block.forward_cached(hidden, &hidden_keys, cache);
        }
        cache.advance(new);
        fused_layer_norm(hidden, affine(&self.ln_f, self.epsilon))
    }

    fn embed(
        &self,
        input_ids: Tensor<2, Int>,
        position_ids: Option<Tensor<2, Int>>,
        before: usize,
        rows: &Rows,
    ) -> Tensor<2> {
        let [batch, new] = input_ids.dims();
        let positions = position_ids.unwrap_or_else(|| {
            let device = input_ids.device();
            Tensor::<1, Int>::arange(before as i64..(before + new) as i64, &device)
                .unsqueeze::<2>()
                .expand([batch, new])
        });
        let (input_ids, positions) = (rows.take(input_ids), rows.take(positions));
        let embedded = self.wte.forward(input_ids) + self.wpe.forward(positions);
        let [batch, new, width] = embedded.dims();
        let embedded = embedded.reshape([batch * new, width]);
        let probability = dropout_probability(&self.drop, &embedded);
        dropout(embedded, probability)
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
