//! Electing a sign for each value, and leaving out what has the other (TIES, Yadav et al. 2023,
//! section 4).

use burn::tensor::Tensor;

/// How the sign of the majority is found: PEFT's `majority_sign_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MajoritySignMethod {
    /// `total`: the sign of the values' sum, as in the paper.
    #[default]
    Total,
    /// `frequency`: the sign that more of the values have.
    Frequency,
}

impl MajoritySignMethod {
    /// 1 for the values that have the majority's sign, 0 for the others and for zeros. A tie
    /// elects the positive sign, as in PEFT.
    ///
    /// # Shapes
    ///
    /// - `tensors`, output: `[adapters, rows, columns]`
    pub(super) fn mask(self, tensors: Tensor<3>) -> Tensor<3> {
        let sign = tensors.clone().sign();
        let votes = match self {
            Self::Total => tensors,
            Self::Frequency => sign.clone(),
        };
        let total = votes.sum_dim(0);
        let negative = total.clone().lower_elem(0.0);
        let elected = total.ones_like().mask_fill(negative, -1.0);
        let agrees = sign.clone().equal(elected.expand(sign.dims()));
        sign.zeros_like().mask_fill(agrees, 1.0)
    }
}

/// The mean, value by value, of the `tensors` that `mask` leaves; zero where it leaves none.
///
/// # Shapes
///
/// - `tensors`, `mask`: `[adapters, rows, columns]`
/// - output: `[1, rows, columns]`
pub(super) fn disjoint_merge(tensors: Tensor<3>, mask: Tensor<3>) -> Tensor<3> {
    let count = mask.clone().sum_dim(0).clamp_min(1.0);
    (tensors * mask).sum_dim(0) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_decides_by_sum_or_by_number() {
        let device = crate::default_device();
        // Values of three adapters: agreed, outweighed, all minus, a tie, nothing.
        let values = [
            [[1.0f32, 5.0, -1.0, 2.0, 0.0]],
            [[2.0, -1.0, -2.0, -2.0, 0.0]],
            [[3.0, -1.0, -3.0, 0.0, 0.0]],
        ];
        let tensors = Tensor::<3>::from_data(values, &device);
        let merged = |method: MajoritySignMethod| {
            let mask = method.mask(tensors.clone());
            let merged = disjoint_merge(tensors.clone(), mask);
            assert_eq!(merged.dims(), [1, 1, 5]);
            merged.into_data().try_to_vec::<f32>().unwrap()
        };
        assert_eq!(
            merged(MajoritySignMethod::Total),
            [2.0, 5.0, -2.0, 2.0, 0.0]
        );
        assert_eq!(
            merged(MajoritySignMethod::Frequency),
            [2.0, -1.0, -2.0, 2.0, 0.0]
        );
        assert_eq!(MajoritySignMethod::default(), MajoritySignMethod::Total);
    }
}
