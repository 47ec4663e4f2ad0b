//! `LoraLinear` against the dense layer it stands for.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, FloatDType, Tensor};
use lora_core::{LoraAdapter, LoraAdapters, LoraConfig, LoraLinear, LoraLinearConfig, LoraModule};
use lora_core_tests::{difference, normal, training_device};
use proptest::prelude::*;

#[derive(Module, Debug)]
struct Model {
    layer: LoraLinear,
}

/// A layer whose adapter's factors are all non-zero.
fn adapted(sizes: [usize; 2], config: &LoraConfig, device: &Device) -> Model {
    let layer =
        lora_core_tests::redrawn(LoraLinearConfig::new(sizes[0], sizes[1]).init(device), 0.3);
    lora_core_tests::fill_adapters(config.inject(Model { layer }).unwrap())
}

fn config(r: usize, alpha: f64) -> LoraConfig {
    LoraConfig::new()
        .with_r(r)
        .with_lora_alpha(alpha)
        .with_target_modules(["layer"])
}

fn adapter(model: &Model) -> &LoraAdapter {
    model
        .layer
        .weight
        .reparameterization::<LoraAdapters>()
        .and_then(|adapters| adapters.get("default"))
        .unwrap()
}

/// Burn's own layer with the weight `W + scaling·A·B`.
fn dense(model: &Model) -> Linear {
    let LoraAdapter { a, b, scaling, .. } = adapter(model);
    let update = a.val().matmul(b.val()).mul_scalar(*scaling);
    let weight = model.layer.weight.base() + update;
    let bias = model.layer.bias.as_ref().unwrap().val();
    Linear {
        weight: Param::from_tensor(weight.detach()),
        bias: Some(Param::from_tensor(bias.detach())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equals_the_dense_composition(
        rows in 1usize..5,
        sequence in 1usize..5,
        d_input in 1usize..20,
        d_output in 1usize..20,
        r in 1usize..6,
        alpha in -8.0..32.0f64,
    ) {
        let device = training_device();
        let model = adapted([d_input, d_output], &config(r, alpha), &device);
        let dense = dense(&model);
        let flat = normal([rows, d_input], &device);
        let both = (model.layer.forward(flat.clone()), dense.forward(flat));
        prop_assert!(difference(&both.0, &both.1) <= 1e-5 * (1.0 + alpha.abs() as f32));
        let batch = normal([rows, sequence, d_input], &device);
        let both = (model.layer.forward(batch.clone()), dense.forward(batch));
        prop_assert!(difference(&both.0, &both.1) <= 1e-5 * (1.0 + alpha.abs() as f32));
    }
}

#[test]
fn equals_the_dense_composition_at_usual_sizes() {
    let device = training_device();
    let model = adapted([64, 48], &config(8, 16.0), &device);
    let dense = dense(&model);
    let x = normal([4, 7, 64], &device).mul_scalar(0.2);
    assert!(difference(&model.layer.forward(x.clone()), &dense.forward(x)) < 1e-5);
}

#[test]
fn every_rank_of_input_works() {
    let device = training_device();
    let model = adapted([3, 5], &config(2, 4.0), &device);
    let x = normal::<4>([2, 3, 4, 3], &device);
    let rows = model.layer.forward(x.clone().reshape([24, 3]));
    assert_eq!(
        difference(&model.layer.forward(x).reshape([24, 5]), &rows),
        0.0
    );
    let vector = normal::<1>([3], &device);
    assert_eq!(model.layer.forward(vector).dims(), [5]);
    // An empty batch is no special case.
    assert_eq!(
        model
            .layer
            .forward(Tensor::<2>::zeros([0, 3], &device))
            .dims(),
        [0, 5]
    );
}

#[test]
fn gradients_equal_those_through_the_dense_path() {
    let device = training_device();
    let model = adapted([9, 7], &config(3, 12.0), &device);
    let x = normal::<3>([2, 5, 9], &device);
    let target = normal::<3>([2, 5, 7], &device);
    let loss = |output: Tensor<3>| (output - target.clone()).square().sum();

    let gradients = loss(model.layer.forward(x.clone())).backward();
    let LoraAdapter { a, b, scaling, .. } = adapter(&model);
    let factored = [a, b].map(|factor| factor.val().grad(&gradients).unwrap());
    assert!(model.layer.weight.base().grad(&gradients).is_none());

    let leaf = |factor: &Param<Tensor<2>>| factor.val().detach().require_grad();
    let (a, b) = (leaf(a), leaf(b));
    let update = a.clone().matmul(b.clone()).mul_scalar(*scaling);
    let weight = model.layer.weight.base() + update;
    let bias = model.layer.bias.as_ref().unwrap().val();
    let output = x.reshape([10, 9]).matmul(weight) + bias.unsqueeze();
    let gradients = loss(output.reshape([2, 5, 7])).backward();
    for (factored, leaf) in factored.into_iter().zip([a, b]) {
        let dense = leaf.grad(&gradients).unwrap();
        let size = dense.clone().abs().max().into_scalar::<f32>();
        assert!(difference(&factored, &dense) < 1e-5 * size, "of {size}");
    }
}

#[test]
fn the_input_gets_the_gradient_of_both_branches() {
    let device = training_device();
    let model = adapted([6, 4], &config(2, 4.0), &device);
    let x = normal::<2>([3, 6], &device).require_grad();
    let factored = x
        .grad(&model.layer.forward(x.clone()).square().sum().backward())
        .unwrap();
    let dense = dense(&model);
    let expected = x
        .grad(&dense.forward(x.clone()).square().sum().backward())
        .unwrap();
    assert!(difference(&factored, &expected) < 1e-4);
}

#[test]
fn dropout_is_on_the_adapters_input_and_in_training_only() {
    let device = training_device();
    let config = config(1, 1.0).with_lora_dropout(0.5);
    let model = adapted([1, 1], &config, &device);
    let base = LoraLinear {
        weight: Param::from_tensor(model.layer.weight.base().detach()),
        bias: model.layer.bias.clone(),
    };
    let x = Tensor::<2>::ones([200, 1], &device);
    let values = |x: Tensor<2>| x.into_data().iter::<f32>().collect::<Vec<_>>();
    let without = values(base.forward(x.clone()))[0];
    let update = values(adapter(&model).delta())[0];

    // One input: either it is dropped and the base's output is left, or it counts double.
    let outputs = values(model.layer.forward(x.clone()));
    let is = |a: f32, b: f32| (a - b).abs() < 1e-6;
    let dropped = outputs.iter().filter(|y| is(**y, without)).count();
    let kept = outputs
        .iter()
        .filter(|y| is(**y, without + 2.0 * update))
        .count();
    assert_eq!(dropped + kept, 200, "{outputs:?}");
    assert!((60..=140).contains(&dropped), "{dropped}");

    let valid = model.valid();
    let outputs = values(valid.layer.forward(x.without_autodiff()));
    assert!(outputs.iter().all(|y| is(*y, without + update)));
}

#[test]
fn a_layer_of_burns_becomes_one() {
    let device = training_device();
    let linear = LinearConfig::new(5, 4).init(&device);
    let x = normal::<3>([2, 3, 5], &device);
    let expected = linear.forward(x.clone());
    let converted = LoraLinear::from(linear.clone());
    assert_eq!(converted.weight.id, linear.weight.id);
    assert!(difference(&converted.forward(x), &expected) < 1e-6);
    let without_bias = LinearConfig::new(5, 4).with_bias(false).init(&device);
    assert!(LoraLinear::from(without_bias).bias.is_none());
}

#[derive(Module, Debug)]
struct Plain {
    layer: Linear,
}

#[test]
fn records_are_those_of_burns_layer() {
    let device = training_device();
    let linear = || LinearConfig::new(5, 4).init(&device);
    let x = normal::<2>([3, 5], &device);

    let plain = Plain { layer: linear() };
    let model = Model {
        layer: linear().into(),
    }
    .load_record(plain.clone().into_record());
    assert!(
        difference(
            &model.layer.forward(x.clone()),
            &plain.layer.forward(x.clone())
        ) < 1e-6
    );

    let merged = adapted([5, 4], &config(2, 4.0), &device)
        .merge_and_unload()
        .unwrap();
    let plain = Plain { layer: linear() }.load_record(merged.clone().into_record());
    assert!(difference(&merged.layer.forward(x.clone()), &plain.layer.forward(x)) < 1e-6);
}

#[test]
fn burns_own_lora_is_composed() {
    let device = training_device();
    let model = Model {
        layer: LoraLinearConfig::new(5, 4).init(&device),
    };
    let model = model.apply_lora(burn::module::Lora::new(2, 4.0));
    let x = normal::<2>([3, 5], &device);
    let expected = x.clone().matmul(model.layer.weight.val())
        + model.layer.bias.as_ref().unwrap().val().unsqueeze();
    assert!(difference(&model.layer.forward(x), &expected) < 1e-6);
}

#[test]
fn it_shows_its_sizes() {
    let device = training_device();
    let shown = |model: &Model| model.layer.to_string();
    let plain = Model {
        layer: LoraLinearConfig::new(5, 4).init(&device),
    };
    assert!(
        shown(&plain).contains("d_input: 5, d_output: 4, bias: true"),
        "{}",
        shown(&plain)
    );
    let model = adapted([5, 4], &config(2, 4.0), &device);
    assert!(shown(&model).contains("lora: default"), "{}", shown(&model));
}

#[test]
fn a_base_of_half_precision_is_adapted_in_the_adapters_own() {
    let device = training_device();
    let wide = |t: Tensor<2>| t.cast(FloatDType::F32);
    for (dora, dtype) in [
        (false, FloatDType::F16),
        (true, FloatDType::F16),
        (false, FloatDType::BF16),
    ] {
        let half = |layer: LoraLinear| LoraLinear {
            weight: layer.weight.map(|weight| weight.detach().cast(dtype)),
            bias: layer
                .bias
                .map(|bias| bias.map(|bias| bias.detach().cast(dtype))),
        };
        let layer = half(LoraLinearConfig::new(6, 5).init(&device));
        let config = config(2, 3.0).with_use_dora(dora);
        let model = lora_core_tests::fill_adapters(config.inject(Model { layer }).unwrap());
        let adapter = adapter(&model);
        assert_eq!(FloatDType::from(adapter.a.val().dtype()), FloatDType::F32);
        let x = normal([4, 6], &device).cast(dtype);
        let output = model.layer.forward(x.clone());
        assert_eq!(FloatDType::from(output.dtype()), dtype);
        let gradients = output.clone().sum().backward();
        assert!(adapter.a.grad(&gradients).is_some() && adapter.b.grad(&gradients).is_some());

        // The same weights in 32 bits, and Burn's layer, which sees the composed weight.
        let exact = model.layer.weight.base().cast(FloatDType::F32);
        let exact = Model {
            layer: LoraLinear {
                weight: Param::from_tensor(exact),
                bias: model
                    .layer
                    .bias
                    .clone()
                    .map(|b| b.map(|b| b.detach().cast(FloatDType::F32))),
            },
        };
        let exact = config.inject(exact).unwrap();
        let factors = lora_core::state::state(&model, |info| info.is_lora());
        let exact = lora_core::state::load_state(exact, |info| {
            let found = factors.iter().find(|(name, _)| *name == info.name);
            Ok(found
                .filter(|_| info.is_lora())
                .map(|(_, data)| data.clone()))
        })
        .unwrap();
        let expected = exact.layer.forward(wide(x.clone()));
        let near = if dtype == FloatDType::F16 { 4e-3 } else { 4e-2 };
        assert!(
            difference(&wide(output), &expected) < near,
            "{dora} {dtype:?}"
        );
        let composed = model.layer.weight.val();
        assert_eq!(FloatDType::from(composed.dtype()), dtype);
        assert!(difference(&wide(composed), &exact.layer.weight.val()) < near);
    }
}
