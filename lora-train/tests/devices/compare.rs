//! The device under test, its inputs and comparisons.

use burn::tensor::{Device, Int, Shape, Tensor, TensorData};
use lora_core::device;

/// What a device may differ by, relative to a tensor's largest value.
const TOLERANCE: f32 = 1e-3;

pub type Named = Vec<(String, TensorData)>;

/// The device that `LORA_TEST_DEVICE` names, with gradients.
pub fn tested() -> Device {
    let name = std::env::var("LORA_TEST_DEVICE").unwrap_or_else(|_| "flex".into());
    device(&name).unwrap().autodiff()
}

/// The CPU, with gradients.
pub fn reference() -> Device {
    device("flex").unwrap().autodiff()
}

/// The same numbers on every device, between -1 and 1; others for each `number`.
pub fn values<const D: usize>(shape: [usize; D], number: usize, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let value = |i: usize| ((i * 7919 + number * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    let data = TensorData::new((0..count).map(value).collect(), Shape::from(shape));
    Tensor::from_data(data, device)
}

pub fn ids<const D: usize>(shape: [usize; D], below: usize, device: &Device) -> Tensor<D, Int> {
    let count: usize = shape.iter().product();
    let id = |i: usize| ((i * 7919 + 13) % below) as i32;
    let data = TensorData::new((0..count).map(id).collect(), Shape::from(shape));
    Tensor::from_data(data, device)
}

/// Asserts that `compute` gives the same on both devices, finite and not all zero.
#[track_caller]
pub fn assert_same(compute: impl Fn(&Device) -> Named) {
    let (found, expected) = (compute(&tested()), compute(&reference()));
    assert_eq!(found.len(), expected.len());
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert_near(name, found, expected);
    }
}

#[track_caller]
pub fn assert_near(name: &str, found: &TensorData, expected: &TensorData) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let largest = expected.iter::<f32>().fold(0.0, |a: f32, b| a.max(b.abs()));
    assert!(largest.is_finite() && largest > 0.0, "{name} says nothing");
    for (index, (a, b)) in found.iter::<f32>().zip(expected.iter::<f32>()).enumerate() {
        let bound = TOLERANCE * largest;
        assert!((a - b).abs() <= bound, "{name}: {a} is not {b}, at {index}");
    }
}
