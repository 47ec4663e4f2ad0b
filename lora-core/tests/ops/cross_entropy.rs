//! Softmax and cross-entropy.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use lora_core::ops::cross_entropies;

use crate::common::{gradients, near, normal};

fn burns(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let [n, _] = logits.dims();
    let logarithms = log_softmax(logits, 1);
    let right = logarithms
        .clone()
        .gather(1, targets.reshape([n, 1]))
        .reshape([n]);
    let all = logarithms.mean_dim(1).reshape([n]);
    (right * (1.0 - smoothing) + all * smoothing).neg()
}

fn targets(rows: usize, classes: usize) -> Tensor<1, Int> {
    let values: Vec<i64> = (0..rows).map(|row| (row * 7 % classes) as i64).collect();
    Tensor::from_data(values.as_slice(), &lora_core::default_device())
}

#[test]
fn losses_and_gradients_are_burns() {
    for [rows, classes] in [[1, 1], [1, 2], [5, 3], [9, 33], [70, 1000], [3, 40_000]] {
        let logits = normal([rows, classes]).mul_scalar(4.0);
        let weight = normal([rows]);
        let targets = targets(rows, classes);
        for smoothing in [0.0, 0.1] {
            type Of = fn(Tensor<2>, Tensor<1, Int>, f64) -> Tensor<1>;
            let run = |f: Of| {
                gradients(
                    [logits.clone()],
                    |[x]| f(x, targets.clone(), smoothing),
                    &weight,
                )
            };
            let ((found, [dx]), (expected, [expected_dx])) = (run(cross_entropies), run(burns));
            near(&found, &expected, 3e-6);
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
    let losses = cross_entropies(logits.clone(), targets(4, 9), 0.0);
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
