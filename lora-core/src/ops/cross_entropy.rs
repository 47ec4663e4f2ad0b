//! Softmax and cross-entropy in one.

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;

#[cfg(feature = "flex")]
use std::sync::Arc;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

/// The cross-entropy of each row with smoothed targets (Szegedy et al. 2015, section 7), as PyTorch's
/// `label_smoothing` has it:
///
/// ```text
/// lossᵢ = (1 - ε) · -log softmax(logitsᵢ)[targetᵢ]  +  ε · mean over classes of -log softmax(logitsᵢ)
/// ```
///
/// On Burn's CPU backend the logits are read twice, and no probabilities are kept: the backward pass makes
/// them from the logits again, in their place if nobody else has them.
///
/// # Shapes
///
/// - `logits`: `[n, classes]`
/// - `targets`: `[n]`, each in `0..classes`
/// - output: `[n]`, on the device of the logits
///
/// # Panics
///
/// Panics if the shapes do not fit; on some backends, also if a target is outside `0..classes`.
pub fn cross_entropies(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    assert_eq!(
        logits.dims()[0],
        targets.dims()[0],
        "as many targets as rows of logits"
    );
    #[cfg(feature = "flex")]
    if super::is_fast(&logits) {
        use super::backend::LoraBackend;
        let classes = logits.dims()[1];
        let class = |target: i64| match usize::try_from(target) {
            Ok(class) if class < classes => class,
            _ => panic!("the target {target} is none of {classes} classes"),
        };
        let targets = Targets {
            classes: targets.into_data().iter::<i64>().map(class).collect(),
            smoothing: smoothing as f32,
        };
        let output = burn::backend::Dispatch::fused_cross_entropy(logits.into_dispatch(), targets);
        return Tensor::from_dispatch(output);
    }
    let targets = targets.to_device(&logits.device());
    plain(logits, targets, smoothing)
}

/// The same by tensor operations, which every backend has.
fn plain(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let [n, _] = logits.dims();
    let log_probabilities = log_softmax(logits, 1);
    let right = log_probabilities
        .clone()
        .gather(1, targets.reshape([n, 1]))
        .reshape([n]);
    if smoothing == 0.0 {
        return right.neg();
    }
    let all = log_probabilities.mean_dim(1).reshape([n]);
    (right.mul_scalar(1.0 - smoothing) + all.mul_scalar(smoothing)).neg()
}

/// What [`cross_entropies`] is told beside the logits.
#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    /// The class of each row, all of them among those of the logits.
    pub(crate) classes: Arc<[usize]>,
    pub(crate) smoothing: f32,
}
