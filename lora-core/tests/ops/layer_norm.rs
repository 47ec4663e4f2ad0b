//! Layer normalisation, with and without the residual sum.

use burn::tensor::Tensor;
use burn::tensor::module::layer_norm as burns;
use lora_core::ops::{Affine, layer_norm, residual_norm};

use crate::common::{near, normal, tracked};

const SHAPES: [[usize; 2]; 4] = [[1, 2], [3, 7], [17, 64], [130, 768]];

#[test]
fn forward_and_all_gradients_are_burns() {
    for [rows, width] in SHAPES {
        // Of these parameters the output says all that the backward pass needs …
        let shift = normal([width]);
        let parameters = [normal::<1>([width]).abs() + 0.25, shift.clamp(-3.5, 3.5)];
        compare_with_burn(rows, parameters);
        // … and of these not, as nothing is left of the first feature, and little of the second.
        let [gamma, beta] = [normal([width]), normal([width])];
        let lost = Tensor::<1>::from_data([0.0, 1e-6], &gamma.device());
        let gamma = Tensor::cat(vec![lost, gamma.slice(2..)], 0);
        compare_with_burn(rows, [gamma, beta]);
    }
}

fn compare_with_burn(rows: usize, [gamma, beta]: [Tensor<1>; 2]) {
    let [width] = gamma.dims();
    let inputs = [normal([rows, width]), normal([rows, width])];
    let weight = normal([rows, width]);
    for residual in [false, true] {
        let run = |fused: bool| {
            let [x, before] = inputs.clone().map(tracked);
            let [gamma, beta] = [gamma.clone(), beta.clone()].map(tracked);
            let affine = Affine {
                gamma: gamma.clone(),
                beta: beta.clone(),
                epsilon: 1e-5,
            };
            let output = match (fused, residual) {
                (true, false) => layer_norm(x.clone(), affine) + before.clone(),
                (true, true) => residual_norm(x.clone(), before.clone(), 0.0, affine),
                (false, false) => {
                    burns(x.clone(), gamma.clone(), Some(beta.clone()), 1e-5) + before.clone()
                }
                (false, true) => {
                    let sum = x.clone() + before.clone();
                    burns(sum, gamma.clone(), Some(beta.clone()), 1e-5)
                }
            };
            let loss = (output.clone() * Tensor::from_inner(weight.clone())).sum();
            let gradients = loss.backward();
            let matrices = [x, before].map(|x| x.grad(&gradients).unwrap());
            let vectors = [gamma, beta].map(|x| x.grad(&gradients).unwrap());
            (output, matrices, vectors)
        };
        let (found, expected) = (run(true), run(false));
        near(&found.0, &expected.0, 1e-5);
        for (found, expected) in found.1.iter().zip(&expected.1) {
            near(found, expected, 2e-5);
        }
        for (found, expected) in found.2.iter().zip(&expected.2) {
            near(found, expected, 5e-5);
        }
    }
}

#[test]
fn frozen_parameters_get_no_gradient_and_change_no_other() {
    let (x, weight) = (normal([9, 33]), normal([9, 33]));
    let [gamma, beta] = [normal([33]), normal([33])];
    let run = |frozen: bool| {
        let x = tracked(x.clone());
        let parameters = [gamma.clone(), beta.clone()];
        let [gamma, beta] = parameters.map(|p| match frozen {
            true => Tensor::from_inner(p),
            false => tracked(p),
        });
        let affine = Affine {
            gamma: gamma.clone(),
            beta,
            epsilon: 1e-12,
        };
        let output = layer_norm(x.clone(), affine);
        let gradients = (output * Tensor::from_inner(weight.clone()))
            .sum()
            .backward();
        assert_eq!(gamma.grad(&gradients).is_none(), frozen);
        x.grad(&gradients).unwrap()
    };
    near(&run(true), &run(false), 0.0);
}

#[test]
fn dropout_before_the_sum_is_the_same_forward_and_backward() {
    let device = lora_core::default_device().autodiff();
    device.seed(11);
    let (rows, width) = (64, 96);
    let x = tracked(normal([rows, width]));
    let before = tracked(normal([rows, width]));
    let affine = Affine {
        gamma: Tensor::ones([width], &device),
        beta: Tensor::zeros([width], &device),
        epsilon: 1e-5,
    };
    let output = residual_norm(x.clone(), before.clone(), 0.25, affine);
    let weight = Tensor::from_inner(normal([rows, width]));
    let gradients = (output.clone() * weight.clone()).sum().backward();
    let [dx, dbefore] = [&x, &before].map(|x| x.grad(&gradients).unwrap());
    // What was kept is scaled by 4/3 on the way there and back, the rest is dropped on both.
    let ratio = dx.clone() / dbefore.clone();
    let kept = ratio.clone().greater_elem(0.5);
    near(&ratio, &kept.clone().float().mul_scalar(4.0 / 3.0), 1e-4);
    let share = kept.clone().float().mean().into_scalar::<f32>();
    assert!((share - 0.75).abs() < 0.03, "{share}");
    let dropped = x.without_autodiff() * kept.float().mul_scalar(4.0 / 3.0);
    let expected = burns(
        dropped + before.without_autodiff(),
        Tensor::ones([width], &device.clone().inner()),
        None,
        1e-5,
    );
    near(&output.without_autodiff(), &expected, 1e-5);
}
