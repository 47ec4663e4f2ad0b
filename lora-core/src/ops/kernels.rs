//! Burn's CPU backend and its autodiff, with the operations.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

use super::attention::{self, Attention};
use super::backend::{
    AttentionInputs, CrossEntropyState, LinearState, LinearWeight, LoraBackend, LoraKernels,
    NormGradients, NormState,
};
use super::cross_entropy::{self, Targets};
use super::dropout::{self, mask::Mask};
use super::gelu::{self, Gelu};
use super::layer_norm::{self, ResidualNorm};
use super::linear::{self, Packed, Update};
use super::tied_linear;

impl LoraKernels for Flex {
    fn fused_gelu_forward(x: FloatTensor<Self>, form: Gelu) -> FloatTensor<Self> {
        gelu::flex::forward(x, form)
    }

    fn fused_gelu_backward(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        form: Gelu,
    ) -> FloatTensor<Self> {
        gelu::flex::backward(x, gradient, form)
    }

    fn dropout_forward(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self> {
        dropout::flex::forward(x, mask)
    }

    fn dropout_add_forward(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        mask: Mask,
    ) -> FloatTensor<Self> {
        dropout::flex::forward_add(x, residual, mask)
    }

    fn layer_norm_forward(
        x: FloatTensor<Self>,
        residual: Option<(FloatTensor<Self>, Mask)>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, NormState<Self>) {
        layer_norm::flex::forward(x, residual, gamma, beta, epsilon)
    }

    fn layer_norm_backward(
        state: NormState<Self>,
        gradient: FloatTensor<Self>,
        affine: bool,
    ) -> NormGradients<Self> {
        layer_norm::flex::backward(state, gradient, affine)
    }

    fn linear_forward(
        x: FloatTensor<Self>,
        weight: LinearWeight<Self>,
        bias: FloatTensor<Self>,
        update: Option<([FloatTensor<Self>; 2], Update)>,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        linear::flex::forward(x, weight, bias, update)
    }

    fn linear_backward(
        state: LinearState<Self>,
        gradient: FloatTensor<Self>,
        wanted: [bool; 5],
    ) -> [Option<FloatTensor<Self>>; 5] {
        linear::flex::backward(state, gradient, wanted)
    }

    fn attention_forward(
        inputs: AttentionInputs<Self>,
        attention: &Attention,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::flex::forward(inputs, attention)
    }

    fn attention_backward(
        inputs: AttentionInputs<Self>,
        normalisers: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        attention: &Attention,
        wanted: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        attention::flex::backward(inputs, normalisers, gradient, attention, wanted)
    }

    fn cross_entropy_forward(
        logits: FloatTensor<Self>,
        targets: &Targets,
    ) -> (FloatTensor<Self>, CrossEntropyState<Self>) {
        cross_entropy::flex::forward(logits, targets)
    }

    fn cross_entropy_backward(
        state: CrossEntropyState<Self>,
        gradient: FloatTensor<Self>,
        targets: &Targets,
    ) -> FloatTensor<Self> {
        cross_entropy::flex::backward(state, gradient, targets)
    }

    fn tied_linear_forward(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self> {
        tied_linear::flex::forward(x, table)
    }

    fn tied_linear_backward(
        others: [Option<FloatTensor<Self>>; 2],
        gradient: FloatTensor<Self>,
    ) -> [Option<FloatTensor<Self>>; 2] {
        tied_linear::flex::backward(others, gradient)
    }
}

impl LoraBackend for Flex {
    fn fused_gelu(x: FloatTensor<Self>, form: Gelu) -> FloatTensor<Self> {
        Self::fused_gelu_forward(x, form)
    }

    fn fused_dropout(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self> {
        Self::dropout_forward(x, mask)
    }

    fn fused_dropout_add(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        mask: Mask,
    ) -> FloatTensor<Self> {
        Self::dropout_add_forward(x, residual, mask)
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        Self::layer_norm_forward(x, None, gamma, beta, epsilon).0
    }

    fn fused_residual_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: ResidualNorm,
    ) -> FloatTensor<Self> {
        let before = Some((residual, options.mask));
        Self::layer_norm_forward(x, before, gamma, beta, options.epsilon).0
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::linear_forward(x, LinearWeight::Dense(weight), bias, None).0
    }

    fn fused_low_rank_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        update: Update,
    ) -> FloatTensor<Self> {
        let weight = LinearWeight::Dense(weight);
        Self::linear_forward(x, weight, bias, Some(([a, b], update))).0
    }

    fn fused_packed_linear(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        packed: Packed,
    ) -> FloatTensor<Self> {
        let update = packed.options.map(|options| ([a, b], options));
        Self::linear_forward(x, LinearWeight::Packed(packed.weight), bias, update).0
    }

    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self> {
        let inputs = AttentionInputs::Separate([query, key, value]);
        Self::attention_forward(inputs, &attention).0
    }

    fn fused_self_attention(
        projected: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self> {
        Self::attention_forward(AttentionInputs::Together(projected), &attention).0
    }

    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self> {
        Self::cross_entropy_forward(logits, &targets).0
    }

    fn fused_tied_linear(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::tied_linear_forward(x, table)
    }
}

impl<B: LoraKernels, C: CheckpointStrategy> LoraBackend for Autodiff<B, C> {
    fn fused_gelu(x: FloatTensor<Self>, form: Gelu) -> FloatTensor<Self> {
        gelu::autodiff::gelu::<B, C>(x, form)
    }

    fn fused_dropout(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self> {
        dropout::autodiff::dropout::<B, C>(x, mask)
    }

    fn fused_dropout_add(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        mask: Mask,
    ) -> FloatTensor<Self> {
        dropout::autodiff::dropout_add::<B, C>(x, residual, mask)
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::autodiff::layer_norm::<B, C>(x, gamma, beta, epsilon)
    }

    fn fused_residual_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: ResidualNorm,
    ) -> FloatTensor<Self> {
        layer_norm::autodiff::residual_norm::<B, C>(x, residual, gamma, beta, options)
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::autodiff::linear::<B, C>(x, weight, bias)
    }

    fn fused_low_rank_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        update: Update,
    ) -> FloatTensor<Self> {
        linear::autodiff::low_rank_linear::<B, C>(x, weight, bias, [a, b], update)
    }

    fn fused_packed_linear(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        packed: Packed,
    ) -> FloatTensor<Self> {
        linear::autodiff::packed_linear::<B, C>(x, bias, [a, b], packed)
    }

    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self> {
        attention::autodiff::attention::<B, C>([query, key, value], attention)
    }

    fn fused_self_attention(
        projected: FloatTensor<Self>,
        attention: Attention,
    ) -> FloatTensor<Self> {
        attention::autodiff::self_attention::<B, C>(projected, attention)
    }

    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: Targets) -> FloatTensor<Self> {
        cross_entropy::autodiff::cross_entropy::<B, C>(logits, targets)
    }

    fn fused_tied_linear(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self> {
        tied_linear::autodiff::tied_linear::<B, C>(x, table)
    }
}
