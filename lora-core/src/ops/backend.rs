//! The operations that a backend may have a faster implementation of.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use super::attention::Attention;
use super::cross_entropy::Targets;
use super::dropout::mask::Mask;
use super::gelu::Gelu;
use super::layer_norm::ResidualNorm;
use super::linear::{Packed, Update};
use crate::quantization::PackedWeight;

/// The operations, as Burn's runtime dispatch sees them. They are differentiable: with autodiff, each
/// is one node whose backward pass is written by hand.
///
/// Their arguments are of 32 bits; what is not, and what lives on another backend, goes through the
/// plain tensor operations beside each of them.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait LoraBackend: Backend {
    /// The activation of each value.
    fn fused_gelu(x: FloatTensor<Self>, form: Gelu) -> FloatTensor<Self>;

    /// `x`, without what the mask drops.
    fn fused_dropout(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self>;

    /// `residual` and `x` without what the mask drops.
    fn fused_dropout_add(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        mask: Mask,
    ) -> FloatTensor<Self>;

    /// Normalises the last axis of `x`.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// Normalises the last axis of the sum of `residual` and `x` without what is dropped.
    fn fused_residual_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: ResidualNorm,
    ) -> FloatTensor<Self>;

    /// A linear layer; a bias of length 0 is none.
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// A linear layer with a low-rank update; a bias of length 0 is none.
    fn fused_low_rank_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        update: Update,
    ) -> FloatTensor<Self>;

    /// A linear layer of a weight in few bits; a bias of length 0 is none, and `a` and `b` are
    /// empty without a low-rank update.
    fn fused_packed_linear(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        packed: Packed,
    ) -> FloatTensor<Self>;

    /// Attention of queries to keys and values that are matrices of their own.
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self>;

    /// Attention of queries to keys and values that lie side by side in one matrix.
    fn fused_self_attention(
        projected: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self>;

    /// The cross-entropy of each row of logits.
    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self>;

    /// The product with the transpose of a table.
    fn fused_tied_linear(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The forward and backward passes that a backend has to have, so that [`LoraBackend`] is there for
/// it and for its autodiff.
pub(crate) trait LoraKernels: Backend {
    /// As [`LoraBackend::fused_gelu`].
    fn fused_gelu_forward(x: FloatTensor<Self>, form: Gelu) -> FloatTensor<Self>;

    /// The gradient of `x`, where `gradient` is that of the output.
    fn fused_gelu_backward(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        form: Gelu,
    ) -> FloatTensor<Self>;

    /// As [`LoraBackend::fused_dropout`]; its own gradient is the same function.
    fn dropout_forward(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self>;

    /// As [`LoraBackend::fused_dropout_add`].
    fn dropout_add_forward(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        mask: Mask,
    ) -> FloatTensor<Self>;

    /// As [`LoraBackend::fused_residual_norm`], or [`LoraBackend::fused_layer_norm`] without a
    /// residual.
    fn layer_norm_forward(
        x: FloatTensor<Self>,
        residual: Option<(FloatTensor<Self>, Mask)>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, NormState<Self>);

    /// The gradients of a layer norm; those of its parameters only if `affine`.
    fn layer_norm_backward(
        state: NormState<Self>,
        gradient: FloatTensor<Self>,
        affine: bool,
    ) -> NormGradients<Self>;

    /// The output of a linear layer, and the input of the update's second factor if there is an
    /// update.
    fn linear_forward(
        x: FloatTensor<Self>,
        weight: LinearWeight<Self>,
        bias: FloatTensor<Self>,
        update: Option<([FloatTensor<Self>; 2], Update)>,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>);

    /// The gradients of the input, the weight, the bias and the update's factors, of those that are
    /// `wanted`.
    fn linear_backward(
        state: LinearState<Self>,
        gradient: FloatTensor<Self>,
        wanted: [bool; 5],
    ) -> [Option<FloatTensor<Self>>; 5];

    /// The output of attention, and the logarithm of each row's sum of exponentials.
    fn attention_forward(
        inputs: AttentionInputs<Self>,
        attention: &Attention,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradients of the inputs of attention, of those that are `wanted`: of the one matrix, or
    /// of query, key and value.
    fn attention_backward(
        inputs: AttentionInputs<Self>,
        normalisers: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        attention: &Attention,
        wanted: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];

    /// As [`LoraBackend::fused_cross_entropy`].
    fn cross_entropy_forward(
        logits: FloatTensor<Self>,
        targets: &Targets,
    ) -> (FloatTensor<Self>, CrossEntropyState<Self>);

    /// The gradient of the logits.
    fn cross_entropy_backward(
        state: CrossEntropyState<Self>,
        gradient: FloatTensor<Self>,
        targets: &Targets,
    ) -> FloatTensor<Self>;

    /// As [`LoraBackend::fused_tied_linear`].
    fn tied_linear_forward(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradients of `x` and of the table, each if the other one is given.
    fn tied_linear_backward(
        others: [Option<FloatTensor<Self>>; 2],
        gradient: FloatTensor<Self>,
    ) -> [Option<FloatTensor<Self>>; 2];
}

/// What cross-entropy keeps for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct CrossEntropyState<B: Backend> {
    pub(crate) logits: FloatTensor<B>,
    /// The logarithm of each row's sum of exponentials, `[rows]`.
    pub(crate) normalisers: FloatTensor<B>,
}

/// What a layer norm keeps for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct NormState<B: Backend> {
    /// The output if `beta` is here, otherwise what was normalised.
    pub(crate) values: FloatTensor<B>,
    /// The mean and the inverse standard deviation of each row, `[rows, 2]`.
    pub(crate) statistics: FloatTensor<B>,
    pub(crate) gamma: FloatTensor<B>,
    pub(crate) beta: Option<FloatTensor<B>>,
}

/// The gradients of a layer norm.
#[derive(Debug)]
pub(crate) struct NormGradients<B: Backend> {
    /// Of what was normalised.
    pub(crate) sum: FloatTensor<B>,
    /// Of `γ` and `β`.
    pub(crate) affine: [Option<FloatTensor<B>>; 2],
}

/// What a linear layer's input is multiplied with.
#[derive(Debug, Clone)]
pub(crate) enum LinearWeight<B: Backend> {
    /// `[d_in, d_out]`.
    Dense(FloatTensor<B>),
    /// In few bits; it has no gradient.
    Packed(Arc<PackedWeight>),
}

/// What a linear layer keeps for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct LinearState<B: Backend> {
    /// If the weight or `A` has a gradient.
    pub(crate) x: Option<FloatTensor<B>>,
    /// If the input has a gradient.
    pub(crate) weight: Option<LinearWeight<B>>,
    pub(crate) low_rank: Option<LowRankState<B>>,
}

/// What a low-rank update keeps for its backward pass.
#[derive(Debug, Clone)]
pub(crate) struct LowRankState<B: Backend> {
    /// `A` and `B`.
    pub(crate) factors: [FloatTensor<B>; 2],
    /// `dropout(x)·A`.
    pub(crate) narrow: FloatTensor<B>,
    pub(crate) update: Update,
}

/// What attention is computed of, each `[rows, heads · size]`.
#[derive(Debug, Clone)]
pub(crate) enum AttentionInputs<B: Backend> {
    /// Query, key and value.
    Separate([FloatTensor<B>; 3]),
    /// Query, key and value side by side, `[rows, 3 · heads · size]`.
    Together(FloatTensor<B>),
}
