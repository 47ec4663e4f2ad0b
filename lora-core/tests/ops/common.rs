//! Random inputs, gradients and comparisons.

use burn::tensor::Tensor;
use lora_core_tests::numbers;

/// Standard normal values without autodiff.
pub fn normal<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    numbers::normal(shape, &lora_core::default_device())
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
