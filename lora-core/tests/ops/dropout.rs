//! Dropout.

use burn::nn::DropoutConfig;
use burn::tensor::Tensor;
use lora_core::ops::{dropout, dropout_add, dropout_probability};

use crate::common::{near, normal, tracked};

fn ones(shape: [usize; 2]) -> Tensor<2> {
    tracked(Tensor::ones(shape, &lora_core::default_device()))
}

#[test]
fn values_are_dropped_or_scaled_and_their_gradients_with_them() {
    lora_core::default_device().seed(5);
    for shape in [[1, 9], [7, 100], [300, 768]] {
        for probability in [0.1, 0.5] {
            let x = ones(shape);
            let output = dropout(x.clone(), probability);
            let gradients = output.clone().sum().backward();
            near(
                &x.grad(&gradients).unwrap(),
                &output.clone().without_autodiff(),
                0.0,
            );
            let kept = output.clone().greater_elem(0.0).float();
            near(
                &output,
                &kept.clone().mul_scalar(1.0 / (1.0 - probability)),
                1e-6,
            );
            if shape[0] > 100 {
                let share = kept.mean().into_scalar::<f32>();
                assert!(
                    (f64::from(share) - 1.0 + probability).abs() < 0.005,
                    "{share}"
                );
            }
        }
    }
}

#[test]
fn the_residual_is_added_to_what_is_left() {
    lora_core::default_device().seed(5);
    let (x, residual) = (ones([40, 50]), tracked(normal([40, 50])));
    let output = dropout_add(x.clone(), residual.clone(), 0.3);
    let gradients = output.clone().sum().backward();
    let dx = x.grad(&gradients).unwrap();
    near(&residual.grad(&gradients).unwrap(), &dx.ones_like(), 0.0);
    let sum = residual.without_autodiff() + dx;
    near(&output.without_autodiff(), &sum, 1e-6);

    let (x, residual) = (normal([3, 4]), normal([3, 4]));
    near(
        &dropout_add(x.clone(), residual.clone(), 0.0),
        &(x + residual),
        0.0,
    );
}

#[test]
fn nothing_is_dropped_outside_training() {
    let layer = DropoutConfig::new(0.4).init();
    let x = normal([2, 2]);
    assert_eq!(dropout_probability(&layer, &x), 0.0);
    assert_eq!(dropout_probability(&layer, &tracked(x)), 0.4);
    let x = normal([5, 5]);
    near(&dropout(x.clone(), 0.0), &x, 0.0);
}
