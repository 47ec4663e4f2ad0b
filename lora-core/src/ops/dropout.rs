//! Dropout (Srivastava et al. 2014), with the sum that follows it in a residual connection.

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;
#[cfg(feature = "flex")]
pub(super) mod mask;

use burn::nn::Dropout;
use burn::tensor::{Distribution, Tensor};

/// The probability with which `dropout` drops a value of `x`: 0 outside training.
pub fn dropout_probability<const D: usize>(dropout: &Dropout, x: &Tensor<D>) -> f64 {
    match dropout.training.is_enabled() && x.device().is_autodiff() {
        true => dropout.prob,
        false => 0.0,
    }
}

/// Sets each value to 0 with `probability`, and scales the others so that the mean stays.
///
/// On Burn's CPU backend the backward pass draws the same numbers again: nothing is kept for it.
/// They follow from the backend's own generator, so [`Device::seed`](burn::tensor::Device::seed)
/// makes them the same in every run.
pub fn dropout<const D: usize>(x: Tensor<D>, probability: f64) -> Tensor<D> {
    if probability == 0.0 {
        return x;
    }
    #[cfg(feature = "flex")]
    if super::is_fast(&x) {
        use super::backend::LoraBackend;
        let mask = mask::Mask::new(probability, &x.device());
        let output = burn::backend::Dispatch::fused_dropout(x.into_dispatch(), mask);
        return Tensor::from_dispatch(output);
    }
    plain(x, probability)
}

/// `residual + dropout(x)`.
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn dropout_add<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    probability: f64,
) -> Tensor<D> {
    assert_eq!(
        x.dims(),
        residual.dims(),
        "a residual has the shape of what it is added to"
    );
    #[cfg(feature = "flex")]
    if super::is_fast(&x) && super::is_fast(&residual) {
        use super::backend::LoraBackend;
        let mask = mask::Mask::new(probability, &x.device());
        let (x, residual) = (x.into_dispatch(), residual.into_dispatch());
        let output = burn::backend::Dispatch::fused_dropout_add(x, residual, mask);
        return Tensor::from_dispatch(output);
    }
    plain(x, probability) + residual
}

/// Dropout by tensor operations, which every backend has.
pub(super) fn plain<const D: usize>(x: Tensor<D>, probability: f64) -> Tensor<D> {
    if probability == 0.0 {
        return x;
    }
    let kept = x.random_like(Distribution::Bernoulli(1.0 - probability));
    (x * kept).mul_scalar(scale(probability))
}

/// What the values that are kept are multiplied by.
fn scale(probability: f64) -> f64 {
    match probability < 1.0 {
        true => 1.0 / (1.0 - probability),
        false => 0.0,
    }
}
