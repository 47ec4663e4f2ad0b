//! GELU.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu as burns_gelu, gelu_approximate};
use lora_core::ops::{Gelu, gelu};

use crate::common::{gradients, near, normal};

fn burns<const D: usize>(x: Tensor<D>, form: Gelu) -> Tensor<D> {
    match form {
        Gelu::Exact => burns_gelu(x),
        Gelu::Tanh => gelu_approximate(x),
    }
}

#[test]
fn forward_and_gradient_are_burns() {
    for shape in [[1, 1], [3, 7], [5, 33], [65, 513]] {
        let x = normal(shape).mul_scalar(3.0);
        let weight = normal(shape);
        for form in [Gelu::Exact, Gelu::Tanh] {
            let run = |f: fn(Tensor<2>, Gelu) -> Tensor<2>| {
                gradients([x.clone()], |[x]| f(x, form), &weight)
            };
            let ((found, [dx]), (expected, [expected_dx])) = (run(gelu), run(burns));
            near(&found, &expected, 2e-6);
            near(&dx, &expected_dx, 4e-6);
        }
    }
}

#[test]
fn a_view_of_a_tensor_gives_what_its_copy_gives() {
    let x = normal([6, 8]);
    let view = x.clone().swap_dims(0, 1).slice([1..7, 2..5]);
    let rows = x.slice([2..5, 1..7]);
    for form in [Gelu::Exact, Gelu::Tanh] {
        let expected = gelu(rows.clone(), form).swap_dims(0, 1);
        near(&gelu(view.clone(), form), &expected, 0.0);
    }
}

#[test]
fn values_at_the_ends_and_not_a_number() {
    let device = lora_core::default_device();
    let x = Tensor::<1>::from_floats([-1e18, -40.0, 0.0, 40.0, 1e18, f32::NAN], &device);
    for form in [Gelu::Exact, Gelu::Tanh] {
        let values: Vec<f32> = gelu(x.clone(), form).into_data().iter().collect();
        assert!(values[1].abs() < 1e-5 && values[5].is_nan(), "{values:?}");
        assert_eq!(values[2], 0.0);
        assert!((values[3] / 40.0 - 1.0).abs() < 1e-6 && (values[4] / 1e18 - 1.0).abs() < 1e-6);
    }
}

#[test]
fn other_precisions_go_through_burns_operations() {
    let x = normal([4, 5]).cast(burn::tensor::FloatDType::F64);
    for form in [Gelu::Exact, Gelu::Tanh] {
        let found = gelu(x.clone(), form);
        assert_eq!(found.dtype(), x.dtype());
        near(&found, &burns(x.clone(), form), 1e-9);
        let weight = normal([4, 5]).cast(burn::tensor::FloatDType::F64);
        let slope =
            |f: fn(Tensor<2>, Gelu) -> Tensor<2>| gradients([x.clone()], |[x]| f(x, form), &weight);
        let (_, [found]) = slope(gelu);
        let (_, [expected]) = slope(burns);
        near(&found, &expected, 1e-6);
    }
}
