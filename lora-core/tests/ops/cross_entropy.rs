//! Softmax and cross-entropy.

use burn::tensor::{Int, Tensor, TensorData};
use lora_core::ops::cross_entropies;

use crate::common::{gradients, near, normal};

/// The losses and the gradients of the logits in 64 bits: in 32, the rounding of each other form
/// would be as large as what is looked for.
fn in_64_bits(
    logits: &Tensor<2>,
    targets: &[i64],
    smoothing: f64,
    weight: &Tensor<1>,
) -> (Tensor<1>, Tensor<2>) {
    let [rows, classes] = logits.dims();
    let values: Vec<f64> = logits.to_data().iter().collect();
    let weight: Vec<f64> = weight.to_data().iter().collect();
    let (mut losses, mut slopes) = (Vec::new(), Vec::new());
    for ((x, &target), weight) in values.chunks(classes).zip(targets).zip(weight) {
        let normaliser = x.iter().map(|x| x.exp()).sum::<f64>().ln();
        let wanted = |class: usize| {
            let target = if class == target as usize {
                1.0 - smoothing
            } else {
                0.0
            };
            target + smoothing / classes as f64
        };
        let terms = x
            .iter()
            .enumerate()
            .map(|(class, x)| wanted(class) * (normaliser - x));
        losses.push(terms.sum::<f64>());
        let gradients = x.iter().enumerate();
        slopes
            .extend(gradients.map(|(class, x)| weight * ((x - normaliser).exp() - wanted(class))));
    }
    let device = lora_core::default_device();
    let losses = Tensor::from_data(TensorData::new(losses, [rows]), &device);
    let slopes = Tensor::from_data(TensorData::new(slopes, [rows, classes]), &device);
    (losses, slopes)
}

fn targets(values: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(values, &lora_core::default_device())
}

#[test]
fn losses_and_gradients_are_those_of_64_bits() {
    for [rows, classes] in [[1, 1], [1, 2], [5, 3], [9, 33], [70, 1000], [3, 40_000]] {
        let logits = normal([rows, classes]).mul_scalar(4.0);
        let weight = normal([rows]);
        let rights: Vec<i64> = (0..rows).map(|row| (row * 7 % classes) as i64).collect();
        for smoothing in [0.0, 0.1] {
            let (found, [dx]) = gradients(
                [logits.clone()],
                |[x]| cross_entropies(x, targets(&rights), smoothing),
                &weight,
            );
            let (expected, expected_dx) = in_64_bits(&logits, &rights, smoothing, &weight);
            near(&found, &expected, 2e-6);
            near(&dx, &expected_dx, 2e-6);
        }
    }
}

#[test]
fn logits_that_somebody_else_has_stay_what_they_are() {
    let device = lora_core::default_device().autodiff();
    let values = normal([4, 9]);
    let leaf = Tensor::<2>::from_data(values.clone().into_data(), &device).require_grad();
    let logits = leaf.clone() * 1.0;
    let losses = cross_entropies(logits.clone(), targets(&[0, 7, 5, 3]), 0.0);
    let _ = losses.sum().backward();
    near(&logits.inner(), &values, 0.0);
}

#[test]
fn large_logits_do_not_overflow_and_what_is_not_a_number_is_seen() {
    let device = lora_core::default_device();
    let logits = Tensor::<2>::from_floats([[1e4, -1e4], [-1e4, 1e4], [f32::NAN, 0.0]], &device);
    let losses = cross_entropies(logits, Tensor::from_data([0, 0, 1], &device), 0.0);
    let losses: Vec<f32> = losses.into_data().iter().collect();
    assert_eq!(losses[..2], [0.0, 2e4]);
    assert!(losses[2].is_nan());
}

#[test]
#[should_panic(expected = "the target 3 is none of 3 classes")]
fn a_target_beyond_the_classes_is_refused() {
    let device = lora_core::default_device();
    cross_entropies(normal([1, 3]), Tensor::from_data([3], &device), 0.0);
}
