//! Layer normalisation (Ba et al. 2016), with the residual sum and the dropout that come before it.

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;

use burn::tensor::Tensor;
use burn::tensor::module::layer_norm as burns_layer_norm;

use super::dropout;

/// What a layer norm multiplies by and adds after it has made mean 0 and variance 1.
#[derive(Debug, Clone)]
pub struct Affine {
    /// The factor of each feature, `[width]`.
    pub gamma: Tensor<1>,
    /// What is added to each feature, `[width]`.
    pub beta: Tensor<1>,
    /// Added to the variance.
    pub epsilon: f64,
}

/// Normalises the last axis: `(x - mean) / √(variance + ε) · γ + β`.
///
/// # Shapes
///
/// - `x`, output: `[..., width]`
///
/// # Panics
///
/// Panics if the last axis of `x` is not as long as `γ`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, affine: Affine) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::is_fast(&x) && is_fast(&affine) {
        require_width(&x, &affine);
        let Affine {
            gamma,
            beta,
            epsilon,
        } = affine;
        let (gamma, beta) = (gamma.into_dispatch(), beta.into_dispatch());
        use super::backend::LoraBackend;
        let output =
            burn::backend::Dispatch::fused_layer_norm(x.into_dispatch(), gamma, beta, epsilon);
        return Tensor::from_dispatch(output);
    }
    plain(x, affine)
}

/// `layer_norm(residual + dropout(x))`: how a block of a post-norm transformer ends.
///
/// # Shapes
///
/// - `x`, `residual`, output: `[..., width]`
///
/// # Panics
///
/// Panics if the shapes do not fit.
pub fn residual_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    probability: f64,
    affine: Affine,
) -> Tensor<D> {
    assert_eq!(
        x.dims(),
        residual.dims(),
        "a residual has the shape of what it is added to"
    );
    #[cfg(feature = "flex")]
    if super::is_fast(&x) && super::is_fast(&residual) && is_fast(&affine) {
        require_width(&x, &affine);
        let mask = dropout::mask::Mask::new(probability, &x.device());
        let options = ResidualNorm {
            epsilon: affine.epsilon,
            mask,
        };
        use super::backend::LoraBackend;
        let output = burn::backend::Dispatch::fused_residual_norm(
            x.into_dispatch(),
            residual.into_dispatch(),
            affine.gamma.into_dispatch(),
            affine.beta.into_dispatch(),
            options,
        );
        return Tensor::from_dispatch(output);
    }
    plain(dropout::plain(x, probability) + residual, affine)
}

/// What [`residual_norm`] is told beside its tensors.
#[cfg(feature = "flex")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResidualNorm {
    pub(crate) epsilon: f64,
    pub(crate) mask: dropout::mask::Mask,
}

/// Layer normalisation by tensor operations, which every backend has.
fn plain<const D: usize>(x: Tensor<D>, affine: Affine) -> Tensor<D> {
    burns_layer_norm(x, affine.gamma, Some(affine.beta), affine.epsilon)
}

#[cfg(feature = "flex")]
fn is_fast(affine: &Affine) -> bool {
    super::is_fast(&affine.gamma) && super::is_fast(&affine.beta)
}

#[cfg(feature = "flex")]
fn require_width<const D: usize>(x: &Tensor<D>, affine: &Affine) {
    let width = [x.dims()[D - 1]];
    assert_eq!(affine.gamma.dims(), width, "a layer norm of another width");
    assert_eq!(affine.beta.dims(), width, "a layer norm of another width");
}
