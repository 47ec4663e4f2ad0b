//! OLoRA (Büyükakyüz 2024): the adapter starts as a part of the weight's QR decomposition.

use burn::tensor::{Tensor, s};

use crate::decomposition::{orthonormal, to_device, to_host};

/// The first `rank` columns of `Q` as `B` and the first `rank` rows of `R` as `A`, where `QR` is
/// the weight as the paper and PyTorch have it, `[d_out, d_in]`.
///
/// # Shapes
///
/// - `weight`: `[d_in, d_out]`
/// - output: `[d_in, rank]` and `[rank, d_out]`
pub(super) fn factors(weight: &Tensor<2>, rank: usize) -> [Tensor<2>; 2] {
    let device = weight.device();
    // The first columns of Q are a basis of the weight's first columns, and R = Qᵀ·W.
    let first = to_host(weight.clone().slice(s![0..rank, ..]).transpose());
    let q = to_device(&orthonormal(first), &device);
    let a = weight.clone().matmul(q.clone());
    [a, to_device(&to_host(q.transpose()), &device)]
}
