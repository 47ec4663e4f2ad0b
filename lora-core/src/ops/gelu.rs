//! GELU (Hendrycks and Gimpel 2016), in its exact form and in the approximation by tanh.

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn::tensor::Tensor;
use burn::tensor::activation;

/// A form of GELU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// `x·Φ(x)`, by the error function.
    Exact,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    Tanh,
}

/// GELU of each value.
///
/// On Burn's CPU backend it is one pass over the values, and so is its gradient, which is computed
/// from `x` again.
pub fn gelu<const D: usize>(x: Tensor<D>, form: Gelu) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::is_fast(&x) {
        use super::backend::LoraBackend;
        let output = burn::backend::Dispatch::fused_gelu(x.into_dispatch(), form);
        return Tensor::from_dispatch(output);
    }
    plain(x, form)
}

/// The same by tensor operations, which every backend has.
fn plain<const D: usize>(x: Tensor<D>, form: Gelu) -> Tensor<D> {
    match form {
        Gelu::Exact => exact(x),
        Gelu::Tanh => {
            // Written as x · sigmoid(2u): the same function with one exponential in place of a
            // power and a tanh.
            const SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::SQRT_2;
            let squared = x.clone() * x.clone();
            let inner = x.clone() * (squared.mul_scalar(0.044715 * SCALE).add_scalar(SCALE));
            x * activation::sigmoid(inner)
        }
    }
}

/// `x·Φ(x)` as a line through each value, whose slope is written out: Burn's gradient of the error function
/// takes a power, which WGPU's drivers may compute to three digits.
fn exact<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let at = x.clone().detach();
    let below = at.clone().mul_scalar(FRAC_1_SQRT_2).erf();
    let below = below.add_scalar(1.0).mul_scalar(0.5);
    let density = (at.clone() * at.clone()).mul_scalar(-0.5).exp();
    let density = density.mul_scalar(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
    let slope = below.clone() + at.clone() * density;
    let rest = at.clone() * below - at * slope.clone();
    x * slope + rest
}
