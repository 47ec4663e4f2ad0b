//! DoRA's norm (Liu et al. 2024, section 4), without forming the adapted weight.

use burn::tensor::Tensor;

/// The norms of the columns of `W + s·A·B`, `[d_out]`.
///
/// `‖w + s·A·b‖² = ‖w‖² + 2s·(Aᵀw)·b + s²·bᵀ(AᵀA)b` for each column `w` and `b`: products with a
/// side of `r` only.
///
/// # Shapes
///
/// - `weight`: `[d_in, d_out]`
/// - `a`: `[d_in, r]`
/// - `b`: `[r, d_out]`
pub(crate) fn column_norm(
    weight: Tensor<2>,
    a: Tensor<2>,
    b: Tensor<2>,
    scaling: f64,
) -> Tensor<1> {
    let columns = weight.dims()[1];
    let squares = (weight.clone() * weight.clone()).sum_dim(0);
    let at = a.clone().transpose();
    let mixed = at.clone().matmul(weight).mul_scalar(2.0 * scaling);
    let low_rank = at.matmul(a).matmul(b.clone()).mul_scalar(scaling * scaling);
    let rest = ((mixed + low_rank) * b).sum_dim(0);
    // A column that cancels exactly may come out below zero by rounding.
    (squares + rest).clamp_min(0.0).sqrt().reshape([columns])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn is_the_norm_of_the_sum() {
        let device = crate::default_device();
        let random =
            |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (w, a, b) = (random([7, 5]), random([7, 2]), random([2, 5]));
        let dense = w.clone() + a.clone().matmul(b.clone()).mul_scalar(1.5);
        let expected = dense.powi_scalar(2).sum_dim(0).sqrt().reshape([5]);
        column_norm(w, a, b, 1.5)
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::default());
    }

    #[test]
    fn a_column_that_cancels_has_no_norm() {
        let device = crate::default_device();
        let w = Tensor::<2>::from_data([[0.1f32, 1.0], [0.3, 2.0]], &device);
        let a = Tensor::<2>::from_data([[0.1f32], [0.3]], &device);
        let b = Tensor::<2>::from_data([[-1.0f32, 0.0]], &device);
        let norm = column_norm(w, a, b, 1.0)
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert!(norm[0].is_finite() && norm[0] < 1e-3, "{norm:?}");
    }
}
