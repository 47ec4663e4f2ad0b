//! GELU (Hendrycks and Gimpel 2016), in its exact form and in the approximation by tanh.

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;

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
        Gelu::Exact => activation::gelu(x),
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
