//! Burn's layer norm through the fused operations.

use burn::nn::LayerNorm;
use burn::tensor::Tensor;
use lora_core::ops::Affine;

/// The parameters of `norm`, whose epsilon Burn does not give away.
pub(crate) fn affine(norm: &LayerNorm, epsilon: f64) -> Affine {
    let gamma = norm.gamma.val();
    let beta = match &norm.beta {
        Some(beta) => beta.val(),
        None => Tensor::zeros_like(&gamma),
    };
    Affine {
        gamma,
        beta,
        epsilon,
    }
}
