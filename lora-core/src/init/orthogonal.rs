//! PEFT's `"orthogonal"`: random factors in orthogonal subspaces.

use burn::tensor::{Device, Distribution, Tensor};

use crate::decomposition::{orthonormal, to_device, to_host};

/// Factors that are not zero, with a product that is: the columns of `A` and the rows of `B` are
/// combinations of the two halves of one random orthonormal basis of the `rank` dimensions between
/// them, which is why `rank` is even.
///
/// # Shapes
///
/// `[d_in, rank]` and `[rank, d_out]`
pub(super) fn factors([d_in, d_out]: [usize; 2], rank: usize, device: &Device) -> [Tensor<2>; 2] {
    let normal =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let basis = orthonormal(to_host(normal([rank, rank])));
    let rows = |first: usize| {
        let rows: Vec<usize> = (first..rank).step_by(2).collect();
        to_device(&basis.select_rows(&rows), device)
    };
    let half = rank / 2;
    let a = normal([d_in, half]).matmul(rows(0)) / 10.0;
    let b = rows(1).transpose().matmul(normal([half, d_out])) / 10.0;
    [a, b]
}
