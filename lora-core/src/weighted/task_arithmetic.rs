//! Weighted sums of updates (Ilharco et al. 2022, section 2), with what may happen to the updates
//! before.

use burn::tensor::{Tensor, TensorData};

use super::majority_sign::{MajoritySignMethod, disjoint_merge};
use super::prune::Pruning;

/// How several tensors of one shape become one.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskArithmetic {
    /// What is left out of each tensor first.
    pub(super) pruning: Option<Pruning>,
    /// Whether only values with the majority's sign are taken, and their mean instead of their
    /// sum. The majority is found before the weights are applied.
    pub(super) majority_sign: Option<MajoritySignMethod>,
}

impl TaskArithmetic {
    /// The weighted sum alone.
    pub(super) const LINEAR: Self = Self {
        pruning: None,
        majority_sign: None,
    };

    /// Whether it is the weighted sum and nothing else.
    pub(super) fn is_linear(self) -> bool {
        self.pruning.is_none() && self.majority_sign.is_none()
    }

    /// One tensor from one or more `tensors`, all `[rows, columns]`, and a weight for each.
    pub(super) fn mix(self, tensors: Vec<Tensor<2>>, weights: &[f64]) -> Tensor<2> {
        let pruned = tensors.into_iter().map(|tensor| match self.pruning {
            None => tensor,
            Some(pruning) => pruning.apply(tensor),
        });
        let tensors = Tensor::stack::<3>(pruned.collect(), 0);
        let [adapters, ..] = tensors.dims();
        let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
        let weights = TensorData::new(weights, [adapters, 1, 1]);
        let weights = Tensor::from_data(weights, (&tensors.device(), tensors.dtype()));
        let weighted = tensors.clone() * weights;
        let mixed = match self.majority_sign {
            None => weighted.sum_dim(0),
            Some(method) => disjoint_merge(weighted, method.mask(tensors)),
        };
        mixed.squeeze_dim(0)
    }
}
