//! The losses that Hugging Face's heads use, as functions of tensors.

use burn::tensor::{Int, Tensor};
use lora_core::ops;

/// The target that Hugging Face's losses leave out: padding, and tokens that were not masked.
pub const IGNORED: i64 = -100;

/// The mean cross-entropy of class targets.
///
/// ```text
/// loss = -1/m Σᵢ log softmax(logitsᵢ)[targetᵢ]     over the m rows whose target is not `ignore`
/// ```
///
/// The softmax is shifted by each row's largest logit, so that it does not overflow. Rows with the
/// target `ignore` get no gradient; if all rows are such, the loss is 0 (PyTorch's is NaN, which
/// would destroy the weights).
///
/// The same function serves every head: sequence classification (`[batch, classes]`), masked
/// language modelling (`[batch · sequence, vocabulary]`, ignoring [`IGNORED`]) and the start or
/// end of an answer (`[batch, sequence]`, ignoring positions equal to `sequence`).
///
/// # Shapes
///
/// - `logits`: `[n, classes]`
/// - `targets`: `[n]`, each in `0..classes` or equal to `ignore`
/// - output: `[1]`
///
/// # Panics
///
/// Panics if the shapes do not fit; on some backends, also if a target is outside `0..classes`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, ignore: Option<i64>) -> Tensor<1> {
    let Some(ignore) = ignore else {
        return cross_entropies(logits, targets).mean();
    };
    let targets = targets.to_device(&logits.device());
    let ignored = targets.clone().equal_elem(ignore);
    // An ignored target may be no valid index: any class will do, as the product is dropped.
    let losses = cross_entropies(logits, targets.mask_fill(ignored.clone(), 0));
    let count = ignored.clone().bool_not().float().sum().clamp_min(1.0);
    losses.mask_fill(ignored, 0.0).sum() / count
}

/// The cross-entropy of each row, `-log softmax(logitsᵢ)[targetᵢ]`.
///
/// # Shapes
///
/// - `logits`: `[n, classes]`
/// - `targets`: `[n]`, each in `0..classes`
/// - output: `[n]`
///
/// # Panics
///
/// As [`cross_entropy`].
pub fn cross_entropies(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    ops::cross_entropies(logits, targets, 0.0)
}

/// The cross-entropy of each row with smoothed targets (Szegedy et al. 2015, section 7), as
/// PyTorch's `label_smoothing` and Hugging Face's Trainer compute it:
///
/// ```text
/// loss = (1 - ε) · -log softmax(logitsᵢ)[targetᵢ]  +  ε · mean over classes of -log softmax(logitsᵢ)
/// ```
///
/// With `smoothing` = 0 this is [`cross_entropies`].
///
/// # Shapes
///
/// As [`cross_entropies`].
///
/// # Panics
///
/// As [`cross_entropy`].
pub fn smoothed_cross_entropies(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    smoothing: f64,
) -> Tensor<1> {
    ops::cross_entropies(logits, targets, smoothing)
}

/// The mean squared error, the loss of regression.
///
/// ```text
/// loss = 1/n Σᵢ (predictionᵢ - targetᵢ)²
/// ```
///
/// # Shapes
///
/// - `predictions`, `targets`: `[n]`
/// - output: `[1]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn mean_squared_error(predictions: Tensor<1>, targets: Tensor<1>) -> Tensor<1> {
    squared_errors(predictions, targets).mean()
}

/// The squared error of each prediction.
///
/// # Shapes
///
/// - `predictions`, `targets`, output: `[n]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn squared_errors(predictions: Tensor<1>, targets: Tensor<1>) -> Tensor<1> {
    let error = predictions - targets;
    error.clone() * error
}

#[cfg(test)]
mod tests {
    use super::*;
    use lora_core::default_device;

    fn scalar(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar()
    }

    /// In f64, straight from the definition.
    fn reference(rows: &[[f64; 3]], targets: &[usize]) -> f64 {
        let row_loss = |row: &[f64; 3], target: usize| {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            sum.ln() - row[target]
        };
        let total: f64 = rows
            .iter()
            .zip(targets)
            .map(|(row, &t)| row_loss(row, t))
            .sum();
        total / rows.len() as f64
    }

    #[test]
    fn is_the_definition() {
        let device = default_device();
        let rows = [[0.5, -1.25, 2.0], [3.0, 0.0, -0.5], [0.1, 0.2, 0.3]];
        let logits = Tensor::from_data(rows, &device);
        let targets = Tensor::from_data([2, 1, 0], &device);
        let loss = scalar(cross_entropy(logits, targets, None));
        assert!(
            (f64::from(loss) - reference(&rows, &[2, 1, 0])).abs() < 1e-6,
            "{loss}"
        );
    }

    #[test]
    fn ignored_rows_count_for_nothing() {
        let device = default_device().autodiff();
        let rows = [[0.5, -1.25, 2.0], [3.0, 0.0, -0.5], [0.1, 0.2, 0.3]];
        let logits = Tensor::<2>::from_data(rows, &device).require_grad();
        let targets = Tensor::from_data([2, -100, 0], &device);
        let loss = cross_entropy(logits.clone(), targets, Some(IGNORED));
        let expected = reference(&[rows[0], rows[2]], &[2, 0]);
        assert!((f64::from(scalar(loss.clone())) - expected).abs() < 1e-6);
        let gradient = logits.grad(&loss.backward()).unwrap().into_data();
        let gradient = gradient.as_slice::<f32>().unwrap();
        assert_eq!(gradient[3..6], [0.0; 3]);
        assert!(gradient[..3].iter().all(|g| *g != 0.0));
    }

    #[test]
    fn the_gradient_is_softmax_minus_one_hot() {
        let device = default_device().autodiff();
        let logits = Tensor::<2>::from_data([[1.0, 2.0], [0.0, -3.0]], &device).require_grad();
        let loss = cross_entropy(logits.clone(), Tensor::from_data([0, 1], &device), None);
        let gradient = logits.grad(&loss.backward()).unwrap().into_data();
        let softmax = |a: f32, b: f32| a.exp() / (a.exp() + b.exp());
        let expected = [
            (softmax(1.0, 2.0) - 1.0) / 2.0,
            softmax(2.0, 1.0) / 2.0,
            softmax(0.0, -3.0) / 2.0,
            (softmax(-3.0, 0.0) - 1.0) / 2.0,
        ];
        for (found, expected) in gradient.as_slice::<f32>().unwrap().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn smoothing_is_pytorchs() {
        const SMOOTHED: [f32; 2] = [0.390_955_33, 2.993_613_5];
        // From scripts/print_loss_and_f1.py.
        let device = default_device();
        let logits = || Tensor::<2>::from_data([[0.5, -1.25, 2.0], [3.0, 0.0, -0.5]], &device);
        let targets = || Tensor::<1, Int>::from_data([2, 1], &device);
        let losses = |smoothing| -> Vec<f32> {
            smoothed_cross_entropies(logits(), targets(), smoothing)
                .try_into_vec_as()
                .unwrap()
        };
        for (found, expected) in losses(0.1).iter().zip(SMOOTHED) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        let plain: Vec<f32> = cross_entropies(logits(), targets())
            .try_into_vec_as()
            .unwrap();
        assert_eq!(losses(0.0), plain);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let device = default_device();
        let logits = Tensor::from_data([[1e4, -1e4], [-1e4, 1e4]], &device);
        let right = cross_entropy(logits.clone(), Tensor::from_data([0, 1], &device), None);
        assert_eq!(scalar(right), 0.0);
        let wrong = cross_entropy(logits, Tensor::from_data([1, 0], &device), None);
        assert_eq!(scalar(wrong), 2e4);
    }

    #[test]
    fn all_ignored_is_zero_without_gradient() {
        let device = default_device().autodiff();
        let logits = Tensor::<2>::from_data([[1.0, 2.0]], &device).require_grad();
        let loss = cross_entropy(
            logits.clone(),
            Tensor::from_data([-100], &device),
            Some(IGNORED),
        );
        assert_eq!(scalar(loss.clone()), 0.0);
        let gradient = logits.grad(&loss.backward()).unwrap().into_data();
        assert_eq!(gradient.as_slice::<f32>().unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn squared_error() {
        let device = default_device().autodiff();
        let predictions = Tensor::<1>::from_data([1.0, 3.0], &device).require_grad();
        let loss = mean_squared_error(predictions.clone(), Tensor::from_data([0.0, 5.0], &device));
        assert_eq!(scalar(loss.clone()), 2.5);
        let gradient = predictions.grad(&loss.backward()).unwrap().into_data();
        assert_eq!(gradient.as_slice::<f32>().unwrap(), [1.0, -2.0]);
    }
}
