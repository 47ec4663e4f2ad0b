//! PiSSA (Meng et al. 2024): the adapter starts as the largest part of the weight.

use burn::tensor::{Distribution, Tensor};

use crate::decomposition::{Matrix, Svd, randomized_svd, svd, to_device, to_host};

/// `A = U·√(S/scaling)` and `B = √(S/scaling)·Vᵀ` of the `rank` largest singular triplets (section 3,
/// equations 2 and 3), so that `scaling·A·B` is the best approximation of that rank.
///
/// With `iterations` the triplets come from a randomized decomposition with as many subspace
/// iterations, and the device's random numbers. `None` if the decomposition fails.
///
/// # Shapes
///
/// - `weight`: `[d_in, d_out]`
/// - output: `[d_in, rank]` and `[rank, d_out]`
pub(super) fn factors(
    weight: &Tensor<2>,
    rank: usize,
    scaling: f64,
    iterations: Option<usize>,
) -> Option<[Tensor<2>; 2]> {
    let Svd { u, s, v } = match iterations {
        None => svd(&to_host(weight.clone()), rank)?,
        Some(iterations) => {
            let [d_in, d_out] = weight.dims();
            let normal = Distribution::Normal(0.0, 1.0);
            let noise = Tensor::random([d_in.min(d_out), rank], normal, &weight.device());
            randomized_svd(weight, noise, iterations)?
        }
    };
    let roots: Vec<f64> = s.iter().map(|s| (s / scaling).sqrt()).collect();
    let roots = Matrix::from_diagonal(&roots.into());
    let device = weight.device();
    let a = to_device(&(u * &roots), &device);
    let b = to_device(&(roots * v.transpose()), &device);
    Some([a, b])
}
