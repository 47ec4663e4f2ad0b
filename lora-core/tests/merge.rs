//! Merging: the same outputs without adapters, or an error and nothing merged.

use burn::module::Module;
use burn::tensor::TensorData;
use lora_core::state::{load_state, parameters, state};
use lora_core::{LoraAdapters, LoraConfig, LoraError, LoraModule, ParameterReport};
use lora_core_tests::{Model, WIDTH, difference, fill_adapters, trainable, training_device};

fn config() -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_target_modules(["embed", "query", "value", "up", "down"])
        .with_modules_to_save(["classifier"])
}

fn adapted() -> Model {
    fill_adapters(config().inject(Model::new(&training_device())).unwrap())
}

/// The model with one value of one parameter replaced.
fn with_value(model: Model, name: &str, value: f32) -> Model {
    let values = state(&model, |info| info.path == name);
    assert_eq!(values.len(), 1, "{name}");
    load_state(model, |info| {
        Ok((info.path == name).then(|| {
            let mut data: Vec<f32> = values[0].1.iter().collect();
            data[0] = value;
            TensorData::new(data, info.shape.clone())
        }))
    })
    .unwrap()
}

#[test]
fn outputs_stay() {
    let device = training_device();
    let model = adapted();
    let before = model.on(&device);
    let merged = model.clone().merge_and_unload().unwrap();
    assert!(difference(&before, &merged.on(&device)) < 1e-5);

    let inference = device.inner();
    let merged = model.valid().merge_and_unload().unwrap();
    assert!(difference(&before.without_autodiff(), &merged.on(&inference)) < 1e-5);
}

#[test]
fn the_weight_is_the_sum() {
    let model = adapted();
    let weight = &model.layers[1].query.weight;
    let adapter = weight
        .reparameterization::<LoraAdapters>()
        .unwrap()
        .get("default")
        .unwrap();
    let expected = weight.base() + adapter.a.val().matmul(adapter.b.val()).mul_scalar(4.0);
    let merged = model.clone().merge_and_unload().unwrap();
    assert!(difference(&merged.layers[1].query.weight.val(), &expected) < 1e-6);
    assert_eq!(merged.layers[1].query.weight.id, weight.id);
}

#[test]
fn the_module_is_as_before_injection() {
    let names =
        |model: &Model| -> Vec<String> { parameters(model).into_iter().map(|p| p.name).collect() };
    let merged = adapted().merge_and_unload().unwrap();
    assert_eq!(names(&merged), names(&Model::new(&training_device())));
    assert_eq!(ParameterReport::of(&merged).lora, 0);
    assert_eq!(trainable(&merged), ["classifier.weight", "classifier.bias"]);
    // It can be adapted again.
    let again = config().inject(merged).unwrap();
    assert!(ParameterReport::of(&again).lora > 0);
}

#[test]
fn saved_modules_stay_as_trained() {
    let model = with_value(adapted(), "classifier.weight.modules_to_save.default", 7.5);
    let merged = model.clone().merge_and_unload().unwrap();
    let both = (
        &model.classifier.weight.val(),
        &merged.classifier.weight.val(),
    );
    assert_eq!(difference(both.0, both.1), 0.0);
    assert_eq!(
        state(&merged, |p| p.name == "classifier.weight")[0]
            .1
            .iter::<f32>()
            .next(),
        Some(7.5)
    );
}

#[test]
fn what_would_not_be_finite_is_refused() {
    let factor = "layers.1.value.weight.lora.default.a";
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = with_value(adapted(), factor, value)
            .merge_and_unload()
            .unwrap_err();
        let LoraError::NotFinite { parameter, count } = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (parameter.as_str(), *count),
            ("layers.1.value.weight", WIDTH)
        );
    }
    // Factors that are finite can have a product that is not.
    let model = with_value(adapted(), "layers.0.up.weight.lora.default.a", 1e20);
    let error = with_value(model, "layers.0.up.weight.lora.default.b", 1e20)
        .merge_and_unload()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("layers.0.up.weight non-finite (1 values"),
        "{error}"
    );
}

#[test]
fn a_broken_base_is_refused() {
    let error = with_value(adapted(), "shift", f32::NAN)
        .merge_and_unload()
        .unwrap_err();
    assert!(matches!(&error, LoraError::NotFinite { parameter, count: 1 } if parameter == "shift"));
}

#[test]
fn large_finite_weights_are_merged() {
    // Their sum overflows, they do not.
    let model = with_value(adapted(), "mix", 3e38);
    let values: Vec<f32> = vec![3e38; WIDTH * WIDTH];
    let model = load_state(model, |info| {
        Ok((info.name == "mix").then(|| TensorData::new(values.clone(), info.shape.clone())))
    });
    assert!(model.unwrap().merge_and_unload().is_ok());
}

#[test]
fn without_adapters_there_is_nothing_to_merge() {
    let error = Model::new(&training_device())
        .merge_and_unload()
        .unwrap_err();
    assert!(matches!(error, LoraError::NotInjected));
    let merged = adapted().merge_and_unload().unwrap();
    assert!(matches!(
        merged.merge_and_unload().unwrap_err(),
        LoraError::NotInjected
    ));
}
