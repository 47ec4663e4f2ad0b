//! Multi-head scaled dot-product attention (Vaswani et al. 2017, section 3.2) within each of several
//! sequences whose tokens lie end to end.

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;
mod plain;
mod sequences;

use burn::tensor::Tensor;

pub use sequences::Sequences;

/// How attention is computed, beside what of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// The number of heads; each has its share of the width.
    pub heads: usize,
    /// The factor on the products of queries and keys: usually `1/√size` of a head.
    pub scale: f64,
    /// Whether a query sees only the keys up to its own place. The last query of a sequence is at
    /// the place of its last key.
    pub causal: bool,
    /// The probability with which an attention probability is dropped.
    pub dropout: f64,
}

/// What a backend is told beside the tensors.
#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) sequences: Sequences,
    pub(crate) heads: usize,
    pub(crate) scale: f32,
    pub(crate) causal: bool,
    pub(crate) mask: super::dropout::mask::Mask,
}

/// `dropout(softmax(scale · Q·Kᵀ)) · V` for each sequence and head.
///
/// On Burn's CPU backend nothing the size of the scores is kept for the backward pass: it computes
/// the probabilities again from the logarithm of each row's sum of exponentials (as FlashAttention
/// does, Dao et al. 2022), and draws the same numbers for dropout again.
///
/// # Shapes
///
/// - `query`, output: `[all queries, heads · size]`
/// - `key`, `value`: `[all keys, heads · size]`
///
/// # Panics
///
/// Panics if the shapes do not fit `sequences`, or if the width is no multiple of the heads.
pub fn attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    sequences: &Sequences,
    options: &AttentionOptions,
) -> Tensor<2> {
    let [_, width] = query.dims();
    assert_eq!(
        query.dims()[0],
        sequences.queries(),
        "the rows of the queries"
    );
    assert_eq!(key.dims(), [sequences.keys(), width], "the keys' shape");
    assert_eq!(value.dims(), [sequences.keys(), width], "the values' shape");
    require_heads(width, options);
    #[cfg(feature = "flex")]
    if sequences.padding().is_none() && [&query, &key, &value].into_iter().all(super::is_fast) {
        use super::backend::LoraBackend;
        let attention = options.on(sequences, &query);
        let output = burn::backend::Dispatch::fused_attention(
            query.into_dispatch(),
            key.into_dispatch(),
            value.into_dispatch(),
            attention,
        );
        return Tensor::from_dispatch(output);
    }
    plain::attention(query, key, value, sequences, options)
}

/// [`attention`] of queries, keys and values that one projection has put side by side.
///
/// # Shapes
///
/// - `projected`: `[all tokens, 3 · heads · size]`
/// - output: `[all tokens, heads · size]`
///
/// # Panics
///
/// As [`attention`].
pub fn self_attention(
    projected: Tensor<2>,
    sequences: &Sequences,
    options: &AttentionOptions,
) -> Tensor<2> {
    let [rows, width] = projected.dims();
    assert_eq!(rows, sequences.queries(), "the rows of the queries");
    assert_eq!(rows, sequences.keys(), "the rows of the keys");
    assert!(
        width.is_multiple_of(3),
        "query, key and value are of one width"
    );
    let width = width / 3;
    require_heads(width, options);
    #[cfg(feature = "flex")]
    if sequences.padding().is_none() && super::is_fast(&projected) {
        use super::backend::LoraBackend;
        let attention = options.on(sequences, &projected);
        let output =
            burn::backend::Dispatch::fused_self_attention(projected.into_dispatch(), attention);
        return Tensor::from_dispatch(output);
    }
    let part = |i: usize| {
        projected
            .clone()
            .slice([0..rows, i * width..(i + 1) * width])
    };
    plain::attention(part(0), part(1), part(2), sequences, options)
}

fn require_heads(width: usize, options: &AttentionOptions) {
    let fits = options.heads > 0 && width.is_multiple_of(options.heads);
    assert!(
        fits,
        "{} heads do not divide a width of {width}",
        options.heads
    );
}

#[cfg(feature = "flex")]
impl AttentionOptions {
    fn on<const D: usize>(&self, sequences: &Sequences, x: &Tensor<D>) -> Attention {
        Attention {
            sequences: sequences.clone(),
            heads: self.heads,
            scale: self.scale as f32,
            causal: self.causal,
            mask: super::dropout::mask::Mask::new(self.dropout, &x.device()),
        }
    }
}
