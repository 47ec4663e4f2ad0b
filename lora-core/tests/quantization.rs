//! Models whose base is stored in few bits.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Distribution, Tensor, Tolerance};
use lora_core::quantization::{
    LoadedWeight, PackedWeight, QuantizationConfig, WeightFormat, dequantize, load_quantized,
    quantized,
};
use lora_core::state::{parameters, values};
use lora_core::{
    BASE_ADAPTER, InitLoraWeights, LoftQConfig, LoraConfig, LoraLinear, LoraLinearConfig,
    LoraModule, ParameterReport, default_device,
};

const FORMATS: [WeightFormat; 5] = WeightFormat::ALL;
const WIDTH: usize = 96;

#[derive(Module, Debug)]
struct Model {
    first: LoraLinear,
    second: LoraLinear,
    plain: Linear,
    classifier: LoraLinear,
}

impl Model {
    fn new() -> Self {
        let device = default_device().autodiff();
        let model = Self {
            first: LoraLinearConfig::new(64, WIDTH).init(&device),
            second: LoraLinearConfig::new(WIDTH, 160)
                .with_bias(false)
                .init(&device),
            plain: LinearConfig::new(160, 32).init(&device),
            classifier: LoraLinearConfig::new(32, 3).init(&device),
        };
        lora_core::state::initialize(&model);
        model
    }

    fn quantized(format: WeightFormat) -> Self {
        QuantizationConfig::new(format)
            .quantize(Self::new())
            .unwrap()
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.second.forward(tanh(self.first.forward(x)));
        self.classifier.forward(tanh(self.plain.forward(x)))
    }
}

fn config() -> LoraConfig {
    LoraConfig::new()
        .with_r(4)
        .with_target_modules(["first", "second", "plain"])
        .with_init_lora_weights(InitLoraWeights::Random)
}

fn input(device: &Device) -> Tensor<2> {
    Tensor::random([300, 64], Distribution::Normal(0.0, 1.0), device)
}

fn require_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
    let tolerance = Tolerance::<f32>::absolute(1e-4).set_relative(1e-4);
    let found = found.into_data();
    found.assert_approx_eq::<f32>(&expected.into_data(), tolerance);
}

/// The two models have the same outputs and the same gradients.
fn require_alike(one: &Model, other: &Model) {
    let device = default_device().autodiff();
    let run = |model: &Model, x: Tensor<2>| {
        let output = model.forward(x.clone());
        let gradients = output.clone().powi_scalar(2).mean().backward();
        let adapters = [&model.first, &model.second].map(|layer| {
            let adapters = layer.weight.reparameterization::<lora_core::LoraAdapters>();
            let adapter = adapters.unwrap().get("default").unwrap();
            [&adapter.a, &adapter.b].map(|factor| factor.val().grad(&gradients).unwrap())
        });
        (output, x.grad(&gradients).unwrap(), adapters)
    };
    let x = input(&device).require_grad();
    let (output, dx, adapters) = run(one, x.clone());
    let (expected, expected_dx, expected_adapters) = run(other, x);
    require_close(output, expected);
    require_close(dx, expected_dx);
    let expected_adapters = expected_adapters.into_iter().flatten();
    for (found, expected) in adapters.into_iter().flatten().zip(expected_adapters) {
        require_close(found, expected);
    }
}

#[test]
fn a_quantized_base_computes_with_what_is_left_of_its_values() {
    for format in FORMATS {
        for config in [config(), config().with_use_dora(true)] {
            let model = config.inject(Model::quantized(format)).unwrap();
            let dense = dequantize(model.clone()).unwrap();
            assert!(quantized(&dense).is_empty());
            require_alike(&model, &dense);
        }
    }
}

#[test]
fn nothing_of_the_base_trains() {
    let model = config()
        .inject(Model::quantized(WeightFormat::Nf4))
        .unwrap();
    let gradients = model
        .forward(input(&default_device().autodiff()))
        .sum()
        .backward();
    assert!(model.first.weight.base().grad(&gradients).is_none());
    assert!(model.plain.weight.base().grad(&gradients).is_none());
    assert!(
        model
            .first
            .bias
            .as_ref()
            .unwrap()
            .grad(&gradients)
            .is_none()
    );
}

#[test]
fn heads_embeddings_and_named_modules_stay() {
    let paths =
        |model: &Model| -> Vec<String> { quantized(model).into_iter().map(|q| q.path).collect() };
    let all = ["first.weight", "plain.weight", "second.weight"];
    let model = Model::quantized(WeightFormat::Nf4);
    assert_eq!(paths(&model), all);
    let packed: usize = quantized(&model).iter().map(|q| q.weight.bytes()).sum();
    let count = 64 * WIDTH + WIDTH * 160 + 160 * 32;
    assert!(packed * 7 < count * 4, "{packed}");
    // The parameters are counted as what they stand for.
    assert_eq!(
        ParameterReport::of(&model).total(),
        ParameterReport::of(&Model::new()).total()
    );
    let config = QuantizationConfig::new(WeightFormat::Int8).with_skip_modules(["second"]);
    let error = config.quantize(Model::new());
    assert_eq!(
        paths(&error.unwrap()),
        ["classifier.weight", "first.weight", "plain.weight"]
    );
}

#[test]
fn merging_gives_dense_weights_and_unloading_leaves_few_bits() {
    let x = input(&default_device().autodiff());
    let base = Model::quantized(WeightFormat::Nf4);
    let model = config().inject(base.clone()).unwrap();
    let expected = model.forward(x.clone());

    let merged = model.clone().merge_and_unload().unwrap();
    assert!(quantized(&merged).is_empty());
    require_close(merged.forward(x.clone()), expected.clone());

    let merged = model.clone().merge().unwrap();
    require_close(merged.forward(x.clone()), expected.clone());
    let unmerged = merged.unmerge().unwrap();
    assert_eq!(quantized(&unmerged).len(), 3);
    require_close(unmerged.forward(x.clone()), expected.clone());

    let unloaded = model.clone().unload().unwrap();
    assert_eq!(quantized(&unloaded).len(), 3);
    assert!(unloaded.adapter_names().is_empty());
    assert!(unloaded.clone().merge().is_err());
    require_close(unloaded.forward(x.clone()), base.forward(x.clone()));
    let deleted = model.clone().delete_adapter("default").unwrap();
    require_close(deleted.forward(x.clone()), base.forward(x.clone()));
    let disabled = model.with_adapters_disabled(|model| model.forward(x.clone()));
    require_close(disabled.unwrap(), base.forward(x));
}

#[test]
fn a_merged_base_says_what_quantizing_it_again_would_lose() {
    for format in FORMATS {
        let base = QuantizationConfig::new(format);
        let model = config().inject(Model::quantized(format)).unwrap();
        let merged = model.merge_and_unload().unwrap();
        let losses = base.losses(&merged).unwrap();
        let again = base.quantize(merged.clone()).unwrap();
        assert_eq!(losses.len(), quantized(&again).len());
        for (loss, left) in losses.iter().zip(quantized(&again)) {
            assert_eq!(loss.path, left.path);
            // Row by row of `[d_out, d_in]`, as the codes.
            let dense = values(&merged, |info| info.path == loss.path);
            let dense = &dense[0].1;
            let pairs = dense.iter::<f32>().zip(left.weight.dequantize());
            let largest = pairs
                .map(|(a, b)| f64::from(a - b).abs())
                .fold(0.0, f64::max);
            assert!((loss.largest - largest).abs() < 1e-7, "{loss:?} {largest}");
            let bound = if format == WeightFormat::Int8 {
                0.01
            } else {
                0.2
            };
            assert!(loss.relative > 1e-4 && loss.relative < bound, "{loss:?}");
        }
        // What codes stand for is lost no more.
        let dense = dequantize(Model::quantized(WeightFormat::Fp4)).unwrap();
        let mut plain = QuantizationConfig::new(WeightFormat::Fp4);
        plain.bnb_4bit_use_double_quant = false;
        let losses = plain.losses(&dense).unwrap();
        assert!(losses.iter().all(|loss| loss.relative < 1e-3), "{losses:?}");
    }
}

#[test]
fn adapters_of_a_quantized_base_are_switched_and_mixed() {
    let two = LoraConfig::new()
        .with_r(2)
        .with_target_modules(["first", "second"])
        .with_init_lora_weights(InitLoraWeights::Random);
    let base = Model::quantized(WeightFormat::Nf4);
    let model = two.inject(base.clone()).unwrap();
    let model = model.add_adapter("other", &two).unwrap();
    let x = input(&default_device().autodiff());
    let rows: Vec<&str> = (0..300)
        .map(|i| ["default", "other", BASE_ADAPTER][i / 100])
        .collect();
    let mixed = model.for_rows(&rows).unwrap().forward(x.clone());
    let other = model.clone().set_active(&["other"]).unwrap();
    let expected = [
        model.forward(x.clone()),
        other.forward(x.clone()),
        base.forward(x),
    ];
    for (i, expected) in expected.into_iter().enumerate() {
        let rows = i * 100..(i + 1) * 100;
        require_close(mixed.clone().slice(rows.clone()), expected.slice(rows));
    }
    assert_eq!(model.status().layers.len(), 2);
}

#[test]
fn few_bits_stay_in_every_mode() {
    let model = config()
        .inject(Model::quantized(WeightFormat::Fp4))
        .unwrap();
    let device = default_device();
    let x = input(&device);
    let expected = model.forward(x.clone().autodiff());
    let valid = model.valid();
    assert_eq!(quantized(&valid).len(), 3);
    require_close(valid.forward(x.clone()), expected.clone());
    let again = valid.train();
    require_close(again.forward(x.autodiff()), expected);
}

#[test]
fn weights_are_quantized_as_they_are_loaded() {
    let dense = Model::new();
    let saved = values(&dense, |_| true);
    let config = QuantizationConfig::new(WeightFormat::Nf4);
    let empty = Model {
        first: LoraLinearConfig::new(64, WIDTH).init(&default_device().autodiff()),
        ..Model::new()
    };
    let loaded = load_quantized(empty, Some(&config), |info| {
        let found = saved.iter().find(|(other, _)| other.path == info.path);
        Ok(found.map(|(_, data)| LoadedWeight::Values(data.clone())))
    });
    let (loaded, expected) = (loaded.unwrap(), config.quantize(dense).unwrap());
    for (loaded, expected) in quantized(&loaded).iter().zip(quantized(&expected)) {
        assert_eq!(loaded.path, expected.path);
        assert_eq!(loaded.weight, expected.weight);
    }
    let x = input(&default_device().autodiff());
    require_close(loaded.forward(x.clone()), expected.forward(x));
}

#[test]
fn what_needs_the_dense_base_is_refused() {
    let quantized = || Model::quantized(WeightFormat::Nf4);
    let config = || LoraConfig::new().with_r(2).with_target_modules(["first"]);
    for init in [InitLoraWeights::Pissa, InitLoraWeights::Olora] {
        let config = config().with_init_lora_weights(init);
        let error = config.inject(quantized()).unwrap_err().to_string();
        assert!(
            error.contains("few bits") && error.contains("first"),
            "{error}"
        );
    }
    let error = config()
        .with_modules_to_save(["second"])
        .inject(quantized());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("second.weight") && error.contains("modules_to_save"),
        "{error}"
    );

    let nf4 = QuantizationConfig::new(WeightFormat::Nf4);
    let error = nf4.quantize(quantized()).unwrap_err().to_string();
    assert!(
        error.contains("first.weight") && error.contains("already"),
        "{error}"
    );
    let merged = config().inject(Model::new()).unwrap().merge().unwrap();
    let error = nf4.quantize(merged).unwrap_err().to_string();
    assert!(error.contains("unmerge"), "{error}");
    let all = nf4.with_skip_modules(Vec::<String>::new());
    let error = all.quantize(Model::new()).unwrap_err().to_string();
    assert!(
        error.contains("classifier.weight") && error.contains("divide"),
        "{error}"
    );
}

/// LoftQ (Li et al. 2023): the base that it leaves is packed without any further loss.
#[test]
fn loftq_makes_up_for_a_base_that_is_packed_after_it() {
    let plain = Model::new();
    let x = input(&default_device().autodiff());
    let expected = plain.forward(x.clone());
    let nf4 = QuantizationConfig {
        bnb_4bit_use_double_quant: false,
        ..QuantizationConfig::new(WeightFormat::Nf4)
    };
    let nf4 = nf4.with_skip_modules(["plain", "classifier"]);
    let config = LoraConfig::new()
        .with_r(32)
        .with_lora_alpha(32.0)
        .with_target_modules(["first", "second"])
        .with_init_lora_weights(InitLoraWeights::LoftQ)
        .with_loftq_config(LoftQConfig::new());
    let adapted = config.inject(plain.clone()).unwrap();
    let packed = nf4.quantize(adapted.clone()).unwrap();
    assert_eq!(quantized(&packed).len(), 2);
    require_close(packed.forward(x.clone()), adapted.forward(x.clone()));

    let error = |model: Model| {
        let difference = model.forward(x.clone()) - expected.clone();
        difference.abs().mean().into_scalar::<f32>()
    };
    let (with, without) = (error(packed), error(nf4.quantize(plain).unwrap()));
    assert!(with < 0.8 * without, "{with} and {without}");

    // What cannot be packed as it is stays as it is: PiSSA's rest, and LoftQ's in another form.
    let pissa = config
        .clone()
        .with_init_lora_weights(InitLoraWeights::Pissa);
    let rest = pissa.inject(Model::new()).unwrap();
    for (model, base) in [
        (rest, nf4),
        (adapted, QuantizationConfig::new(WeightFormat::Nf4)),
    ] {
        let error = base.quantize(model).unwrap_err().to_string();
        assert!(
            error.contains("first.weight") && error.contains("taken its start"),
            "{error}"
        );
    }
}

#[test]
fn the_base_is_what_its_parameters_say() {
    let model = Model::quantized(WeightFormat::Nf4);
    let shapes = |model: &Model| -> Vec<Vec<usize>> {
        parameters(model).into_iter().map(|p| p.shape).collect()
    };
    assert_eq!(shapes(&model), shapes(&Model::new()));
    let [first, ..] = &quantized(&model)[..] else {
        panic!("nothing is quantized");
    };
    let weight: &PackedWeight = &first.weight;
    assert_eq!(weight.shape(), [WIDTH, 64]);
    let expected = Tensor::<1>::from_data(&weight.dequantize()[..], &default_device());
    let value = model.first.weight.val().without_autodiff().transpose();
    require_close(value.reshape([-1]), expected);
}
