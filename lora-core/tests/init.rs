//! `init_lora_weights`: what adapters start from, and what they leave of the base, against PEFT.

#[path = "init/conversion.rs"]
mod conversion;
#[path = "init/eva.rs"]
mod eva;
#[path = "init/residual.rs"]
mod residual;
#[path = "init/settings.rs"]
mod settings;

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, FloatDType, Tensor};
use lora_core::state::{Role, load_state, values};
use lora_core::tensor_file::TensorFile;
use lora_core::{
    InitLoraWeights, LoftQConfig, LoraAdapter, LoraAdapters, LoraConfig, LoraEmbedding,
    LoraEmbeddingConfig, LoraError, LoraLinear, LoraLinearConfig, LoraModule,
};
use lora_core_tests::{difference, training_device};
use proptest::prelude::*;

/// The model of `scripts/make_init_cases.py`.
#[derive(Module, Debug)]
struct Layers {
    first: LoraLinear,
    second: LoraLinear,
    third: LoraLinear,
}

impl Layers {
    fn new(device: &Device) -> Self {
        let model = Self {
            first: LoraLinearConfig::new(12, 10).init(device),
            second: LoraLinearConfig::new(10, 16).init(device),
            third: LoraLinearConfig::new(16, 16).with_bias(false).init(device),
        };
        lora_core_tests::redrawn(model, 0.2)
    }

    /// With the weights of the script's model.
    fn base() -> Self {
        let file = file("base.safetensors");
        load_state(Self::new(&training_device()), |info| {
            file.read(&info.name, &info.shape)
        })
        .unwrap()
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.first.forward(x));
        self.third.forward(tanh(self.second.forward(x)))
    }

    /// The output for the script's input.
    fn output(&self) -> Tensor<2> {
        self.forward(tensor("base.safetensors", "x"))
    }

    fn layer(&self, name: &str) -> &LoraLinear {
        match name {
            "first" => &self.first,
            "second" => &self.second,
            _ => &self.third,
        }
    }
}

const LAYERS: [&str; 3] = ["first", "second", "third"];

fn path(name: &str) -> PathBuf {
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peft/init");
    cases.join(name)
}

fn file(name: &str) -> TensorFile {
    TensorFile::open(path(name)).unwrap()
}

fn tensor(name: &str, key: &str) -> Tensor<2> {
    let data = file(name).read_floats(key).unwrap();
    Tensor::from_data(data, &training_device())
}

fn adapter<'a>(layer: &'a LoraLinear, name: &str) -> &'a LoraAdapter {
    let adapters = layer.weight.reparameterization::<LoraAdapters>();
    adapters.and_then(|adapters| adapters.get(name)).unwrap()
}

/// The bits of the base's parameters.
fn bits<M: Module>(model: &M) -> Vec<(String, Vec<u32>)> {
    values(model, |info| info.role == Role::Base)
        .into_iter()
        .map(|(info, data)| (info.path, data.iter::<f32>().map(f32::to_bits).collect()))
        .collect()
}

fn starting(init: InitLoraWeights) -> LoraConfig {
    LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(6.0)
        .with_target_modules(LAYERS)
        .with_init_lora_weights(init)
}

/// Each case of the script, with how near the randomized one can be to PEFT's.
const CASES: [(&str, f32); 8] = [
    ("pissa", 1e-5),
    ("pissa-rslora", 1e-5),
    ("pissa-dora", 1e-5),
    ("pissa-niter", 1e-4),
    ("olora", 1e-5),
    ("loftq-4", 1e-5),
    ("loftq-4-alternating", 1e-5),
    ("loftq-8", 1e-5),
];

#[test]
fn starts_and_what_they_leave_are_pefts() {
    let base = Layers::base();
    let expected = tensor("base.safetensors", "output");
    assert!(difference(&base.output(), &expected) < 1e-5);
    for (case, near) in CASES {
        let config = LoraConfig::from_file(path(case).join("initial")).unwrap();
        let model = config.inject(base.clone()).unwrap();
        let peft = file(&format!("{case}/initial/adapter_model.safetensors"));
        for name in LAYERS {
            let layer = model.layer(name);
            let rest = tensor(
                &format!("{case}/rest.safetensors"),
                &format!("{name}.weight"),
            );
            let rest = difference(&layer.weight.base(), &rest.transpose());
            assert!(rest < near, "{case}, rest of {name}: {rest}");
            let factor = |which: &str| {
                let key = format!("base_model.model.{name}.lora_{which}.weight");
                let data = peft.read_floats(&key).unwrap();
                Tensor::<2>::from_data(data, &training_device()).transpose()
            };
            // The factors themselves have no sign of their own.
            let LoraAdapter { a, b, .. } = adapter(layer, "default");
            let (theirs_a, theirs_b) = (factor("A"), factor("B"));
            let product = difference(
                &a.val().matmul(b.val()),
                &theirs_a.clone().matmul(theirs_b.clone()),
            );
            assert!(product < near, "{case}, product of {name}: {product}");
            for (ours, theirs) in [(a.val(), theirs_a), (b.val(), theirs_b)] {
                assert!(
                    difference(&ours.abs(), &theirs.abs()) < 3.0 * near,
                    "{case}, {name}"
                );
            }
        }
        if !case.starts_with("loftq") {
            let start = difference(&model.output(), &expected);
            assert!(start < 1e-5, "{case}: starts {start} from the base");
        }
    }
}

#[test]
fn adapters_that_peft_trained_give_its_output() {
    let base = Layers::base();
    for (case, near) in CASES {
        let model = base.clone();
        let model = model
            .load_adapter("trained", path(case).join("trained"))
            .unwrap();
        let expected = tensor(&format!("{case}/output.safetensors"), "output");
        let off = difference(&model.output(), &expected);
        assert!(off < near, "{case}: {off}");
        // Saved as it is and loaded into the original, it is the same again.
        let folder = tempfile::tempdir().unwrap();
        model.save_adapter("trained", folder.path(), false).unwrap();
        let config = LoraConfig::from_file(folder.path()).unwrap();
        let saved = LoraConfig::from_file(path(case).join("trained")).unwrap();
        assert_eq!(config.init_lora_weights, saved.init_lora_weights);
        assert_eq!(config.loftq_config, saved.loftq_config);
        let again = base.clone().load_adapter("again", folder.path()).unwrap();
        assert!(
            difference(&again.output(), &model.output()) < near,
            "{case}"
        );
    }
}

#[test]
fn merged_weights_are_those_of_the_factored_form() {
    for (case, _) in CASES {
        let model = Layers::base();
        let model = model
            .load_adapter("trained", path(case).join("trained"))
            .unwrap();
        let merged = model.clone().merge_and_unload().unwrap();
        assert!(
            difference(&merged.output(), &model.output()) < 1e-5,
            "{case}"
        );
    }
}

#[test]
fn orthogonal_factors_have_no_product() {
    let base = Layers::base();
    let before = bits(&base);
    let config = starting(InitLoraWeights::Orthogonal).with_r(6);
    let model = config.inject(base.clone()).unwrap();
    assert_eq!(bits(&model), before);
    assert!(difference(&model.output(), &base.output()) < 1e-5);
    for name in LAYERS {
        let LoraAdapter { a, b, .. } = adapter(model.layer(name), "default");
        let (a, b) = (a.val(), b.val());
        assert!(a.clone().matmul(b.clone()).abs().max().into_scalar::<f32>() < 1e-6);
        // Neither is zero.
        let spread = a.powi_scalar(2).mean().into_scalar::<f32>();
        assert!((0.0005..0.02).contains(&spread), "{spread}");
        assert!(b.abs().max().into_scalar::<f32>() > 0.01);
    }
    let error = starting(InitLoraWeights::Orthogonal)
        .with_rank_pattern("second", 3)
        .inject(base)
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("`r` is 3 for second") && error.contains("even"),
        "{error}"
    );
}

#[derive(Module, Debug)]
struct WithTable {
    table: LoraEmbedding,
    dense: LoraLinear,
}

fn with_table() -> WithTable {
    let device = training_device();
    let model = WithTable {
        table: LoraEmbeddingConfig::new(9, 6).init(&device),
        dense: LoraLinearConfig::new(6, 6).init(&device),
    };
    lora_core::state::initialize(&model);
    model
}

#[test]
fn embeddings_start_as_usual_and_keep_their_table() {
    for init in [
        InitLoraWeights::Gaussian,
        InitLoraWeights::Orthogonal,
        InitLoraWeights::Pissa,
        InitLoraWeights::Olora,
        InitLoraWeights::Eva,
    ] {
        let config = starting(init).with_target_modules(["table", "dense"]);
        let base = with_table();
        let model = config.inject(base.clone()).unwrap();
        let adapters = model.table.weight.reparameterization::<LoraAdapters>();
        let LoraAdapter { a, b, .. } = adapters.and_then(|a| a.get("default")).unwrap();
        assert_eq!(a.val().abs().max().into_scalar::<f32>(), 0.0, "{init}");
        // PEFT's deviation is 1, for "gaussian" too.
        let spread = b.val().powi_scalar(2).mean().into_scalar::<f32>();
        assert!((0.3..3.0).contains(&spread), "{init}: {spread}");
        assert_eq!(
            difference(&model.table.weight.base(), &base.table.weight.val()),
            0.0
        );
        let plan = config.plan(&base).unwrap();
        assert!(
            plan.warnings
                .iter()
                .any(|w| w.contains("table is an embedding")),
            "{init}"
        );
    }
    let config = starting(InitLoraWeights::LoftQ).with_loftq_config(LoftQConfig::new());
    let config = config.with_target_modules(["table"]);
    let error = config.inject(with_table()).unwrap_err().to_string();
    assert!(
        error.contains("table") && error.contains("linear layers"),
        "{error}"
    );
}

#[test]
fn weights_that_are_not_finite_are_errors() {
    let broken = load_state(Layers::base(), |info| {
        let nan = || vec![f32::NAN; info.count()];
        let data = || burn::tensor::TensorData::new(nan(), info.shape.clone());
        Ok((info.name == "second.weight").then(data))
    });
    let broken = broken.unwrap();
    let loftq = starting(InitLoraWeights::LoftQ).with_loftq_config(LoftQConfig::new());
    for config in [starting(InitLoraWeights::Pissa), loftq] {
        let error = config.inject(broken.clone()).unwrap_err();
        assert!(matches!(error, LoraError::Init { .. }), "{error}");
        assert!(error.to_string().contains("second.weight"), "{error}");
    }
}

#[test]
fn half_precision_stays_and_comes_back() {
    let config = starting(InitLoraWeights::Pissa);
    let plain = LoraConfig::new().with_target_modules(LAYERS);
    let half = plain.inject(Layers::base()).unwrap();
    let half = half.merge_and_unload_as(FloatDType::BF16).unwrap();
    let before = bits(&half);
    let model = config.inject(half).unwrap();
    let weight = model.first.weight.base();
    assert_eq!(FloatDType::from(weight.dtype()), FloatDType::BF16);
    assert_ne!(bits(&model), before);
    let original = model.unload().unwrap();
    assert_eq!(
        FloatDType::from(original.first.weight.val().dtype()),
        FloatDType::BF16
    );
    assert_eq!(bits(&original), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_taken_out_is_what_is_put_on_top(
        d_input in 1usize..18,
        d_output in 1usize..18,
        part in 0.0..1.0f64,
        alpha in 0.5..16.0f64,
        use_rslora: bool,
        kind in 0usize..3,
    ) {
        let rank = 1 + (part * (d_input.min(d_output) - 1) as f64) as usize;
        let init = [
            InitLoraWeights::Pissa,
            InitLoraWeights::PissaNiter(2),
            InitLoraWeights::Olora,
        ][kind];
        let device = training_device();
        let base = One { dense: LoraLinearConfig::new(d_input, d_output).init(&device) };
        let config = starting(init)
            .with_r(rank)
            .with_lora_alpha(alpha)
            .with_use_rslora(use_rslora)
            .with_target_modules(["dense"]);
        let model = config.inject(base.clone()).unwrap();
        prop_assert_eq!(model.dense.weight.id, base.dense.weight.id);
        let LoraAdapter { a, b, scaling, .. } = adapter(&model.dense, "default");
        prop_assert_eq!(a.val().dims(), [d_input, rank]);
        prop_assert_eq!(b.val().dims(), [rank, d_output]);
        prop_assert_eq!(*scaling, config.scaling());
        let original = base.dense.weight.val();
        prop_assert!(difference(&model.dense.weight.val(), &original) < 1e-5);
        // What is left is orthogonal to what was taken, unless OLoRA's scaling took more or less.
        if init == InitLoraWeights::Pissa {
            let overlap = model.dense.weight.base().matmul(b.val().transpose());
            prop_assert!(overlap.abs().max().into_scalar::<f32>() < 1e-4);
        }
        prop_assert_eq!(bits(&model.unload().unwrap()), bits(&base));
    }
}

#[derive(Module, Debug)]
struct One {
    dense: LoraLinear,
}
