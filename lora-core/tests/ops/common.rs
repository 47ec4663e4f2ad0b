//! Random inputs, gradients and comparisons.

use std::cell::RefCell;
use std::f32::consts::TAU;

use burn::tensor::{Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

thread_local! {
    /// Of each test its own, as tests run in threads of their own: what is compared to the last bits
    /// is the same in every run.
    static GENERATOR: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(31));
}

/// Standard normal values without autodiff, by Box and Muller.
pub fn normal<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = GENERATOR.with_borrow_mut(|generator| {
        let mut normal = || {
            let (radius, angle): (f32, f32) = generator.random();
            (-2.0 * (1.0 - radius).ln()).sqrt() * (TAU * angle).cos()
        };
        (0..shape.iter().product()).map(|_| normal()).collect()
    });
    Tensor::from_data(TensorData::new(values, shape), &lora_core::default_device())
}

/// `x` with a gradient.
pub fn tracked<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(x).require_grad()
}

/// The output of `f`, and the gradient of each input if the output's is `weight`.
pub fn gradients<const N: usize, const D: usize, const O: usize>(
    inputs: [Tensor<D>; N],
    f: impl FnOnce([Tensor<D>; N]) -> Tensor<O>,
    weight: &Tensor<O>,
) -> (Tensor<O>, [Tensor<D>; N]) {
    let inputs = inputs.map(tracked);
    let output = f(inputs.clone());
    let weight = Tensor::from_inner(weight.clone());
    let gradients = (output.clone() * weight).sum().backward();
    let found = inputs.map(|input| input.grad(&gradients).unwrap().without_autodiff());
    (output.without_autodiff(), found)
}

/// Asserts that two tensors differ by no more than `tolerance`, relative to the larger of 1 and the
/// value.
#[track_caller]
pub fn near<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (found.to_data(), expected.to_data());
    for (index, (a, b)) in found.iter::<f32>().zip(expected.iter::<f32>()).enumerate() {
        let bound = tolerance * b.abs().max(1.0);
        assert!((a - b).abs() <= bound, "{a} is not {b}, at {index}");
    }
}
