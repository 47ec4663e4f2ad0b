//! Operations that transformers spend their time in, each as one step forward and one backward.
//!
//! Every operation has a plain form out of Burn's tensor operations, which runs on all backends. On
//! Burn's CPU backend with 32-bit numbers it is replaced by one that goes over the data once, with
//! vector instructions (chosen at run time) and all threads, and that keeps for the backward pass
//! only what is dear to compute again. Both give the same numbers up to rounding.

#![allow(
    clippy::extra_unused_type_parameters,
    reason = "`macerator::with_simd` compiles a function for each `S`, whether its body names it or not"
)]

mod activations;
#[cfg(all(feature = "flex", target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod attention;
#[cfg(feature = "flex")]
mod backend;
mod cross_entropy;
mod dropout;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
#[cfg(feature = "flex")]
mod gemm;
#[cfg(feature = "flex")]
mod gradients;
#[cfg(feature = "flex")]
mod int8;
#[cfg(feature = "flex")]
mod kernels;
mod layer_norm;
mod linear;
#[cfg(feature = "flex")]
mod panels;
mod precision;
#[cfg(feature = "flex")]
mod recompute;
#[cfg(feature = "flex")]
mod simd;
mod tied_linear;

pub use activations::{Activations, activations, has_int8_activations, set_activations};
pub use attention::{AttentionOptions, Sequences, attention, self_attention};
pub use cross_entropy::cross_entropies;
pub use dropout::{dropout, dropout_add, dropout_probability};
pub use gelu::{Gelu, gelu};
pub use layer_norm::{Affine, layer_norm, residual_norm};
pub use linear::{LowRank, linear, low_rank_linear, packed_linear};
pub use precision::{
    MatmulPrecision, has_lower_matmul_precision, matmul_precision, set_matmul_precision,
};
pub use tied_linear::tied_linear;

/// Whether an operation with `tensor` takes its fast form. Then sequences of different lengths are
/// best laid end to end: see [`Sequences::packed`].
#[cfg(not(feature = "flex"))]
pub fn is_fast<const D: usize>(_tensor: &burn::tensor::Tensor<D>) -> bool {
    false
}

/// Whether an operation with `tensor` takes its fast form. Then sequences of different lengths are
/// best laid end to end: see [`Sequences::packed`].
#[cfg(feature = "flex")]
pub fn is_fast<const D: usize>(tensor: &burn::tensor::Tensor<D>) -> bool {
    use burn::backend::{DType, DispatchTensorKind};
    tensor.dtype() == DType::F32
        && match tensor.clone().into_dispatch().kind {
            DispatchTensorKind::Flex(_) => true,
            DispatchTensorKind::Autodiff(inner) => {
                matches!(*inner, DispatchTensorKind::Flex(_))
            }
            #[allow(
                unreachable_patterns,
                reason = "with other backends compiled in, it is not"
            )]
            _ => false,
        }
}
