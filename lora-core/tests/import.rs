//! Adapters from loralib's checkpoints and from records with Burn's own LoRA.

use std::path::{Path, PathBuf};

use burn::module::{Lora, Module, ModuleMapper, Param, ParamGroup, QLora, Quantizer};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::store::ModuleRecord;
use burn::tensor::quantization::{Calibration, QuantValue};
use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_core::import::{BurnLora, Loralib, PickleFile};
use lora_core::state::{Role, parameters, state};
use lora_core::tensor_file::TensorFile;
use lora_core::{
    Bias, InitLoraWeights, LoraAdapters, LoraConfig, LoraError, LoraLinear, LoraLinearConfig,
    LoraModule, ModulePattern, TargetModules,
};
use lora_core_tests::{difference, normal, trainable, training_device};

/// The sizes in scripts/make_loralib_cases.py.
const TOKENS: usize = 7;
const WIDTH: usize = 4;
const CLASSES: usize = 3;

#[derive(Module, Debug)]
struct Layer {
    c_attn: LoraLinear,
    c_proj: Linear,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Head {
    dense: Linear,
    out_proj: Linear,
}

#[derive(Module, Debug)]
struct Model {
    embed: Embedding,
    layers: Vec<Layer>,
    classifier: Head,
}

impl Model {
    fn new(width: usize, device: &Device) -> Self {
        let layer = || Layer {
            c_attn: LoraLinearConfig::new(width, 3 * width).init(device),
            c_proj: LinearConfig::new(width, width).init(device),
            norm: LayerNormConfig::new(width).init(device),
        };
        let model = Self {
            embed: EmbeddingConfig::new(TOKENS, width).init(device),
            layers: vec![layer(), layer()],
            classifier: Head {
                dense: LinearConfig::new(width, width).init(device),
                out_proj: LinearConfig::new(width, CLASSES).init(device),
            },
        };
        // The same values in every run: rounding would otherwise be another one each time.
        filled(model, "", 1)
    }

    fn forward(&self) -> Tensor<2> {
        let ids = Tensor::<2, Int>::from_data([[1, 4, 2, 6]], &training_device());
        let mut x = self.embed.forward(ids);
        for layer in &self.layers {
            let parts = layer.c_attn.forward(x.clone()).chunk(3, 2);
            let mixed = parts[0].clone() * parts[1].clone() + parts[2].clone();
            x = layer.norm.forward(x + layer.c_proj.forward(mixed));
        }
        let x = self.classifier.dense.forward(x.mean_dim(1).squeeze_dim(1));
        self.classifier.out_proj.forward(x)
    }
}

fn model() -> Model {
    Model::new(WIDTH, &training_device())
}

/// `model` with other values in the parameters that have `part` in their paths.
fn filled<M: Module>(model: M, part: &str, seed: u64) -> M {
    struct Fill<'a> {
        path: Vec<String>,
        part: &'a str,
        state: u64,
    }
    impl Fill<'_> {
        fn next(&mut self) -> f32 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }
    impl ModuleMapper for Fill<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !self.path.join(".").contains(self.part) {
                return param;
            }
            let shape = param.lazy_shape();
            let values: Vec<f32> = (0..shape.num_elements()).map(|_| self.next()).collect();
            param.map(|t| {
                let data = TensorData::new(values, shape);
                let trained = t.is_require_grad();
                Tensor::from_data(data, &t.device()).set_require_grad(trained)
            })
        }
    }
    model.map(&mut Fill {
        path: Vec::new(),
        part,
        state: 0x2545_f491_4f6c_dd1d ^ (seed << 32),
    })
}

fn alpha(alpha: f64) -> LoraConfig {
    LoraConfig::new().with_lora_alpha(alpha)
}

fn adapted(model: &Model) -> Vec<String> {
    let all = parameters(model).into_iter();
    all.filter(|p| p.role == Role::LoraA)
        .map(|p| p.module().to_string())
        .collect()
}

mod loralib {
    use super::*;

    fn case(name: &str) -> PathBuf {
        Path::new("peft/loralib").join(name)
    }

    /// GPT-2's layers, below a dictionary and a wrapper.
    fn merged() -> Loralib {
        let file = Loralib::open(case("merged.bin")).unwrap();
        file.rename(|name| name.replace("model_state_dict.module.", ""))
    }

    /// Compares every update with loralib's formula, and no other module with anything.
    #[track_caller]
    fn assert_updates(model: &Model, case_name: &str) {
        let expected = TensorFile::open(case("expected.safetensors")).unwrap();
        let device = training_device();
        let weights = [
            ("embed", &model.embed.weight),
            ("layers.0.c_attn", &model.layers[0].c_attn.weight),
            ("layers.0.c_proj", &model.layers[0].c_proj.weight),
            ("layers.1.c_attn", &model.layers[1].c_attn.weight),
            ("layers.1.c_proj", &model.layers[1].c_proj.weight),
        ];
        let mut compared = 0;
        for (path, weight) in weights {
            let adapter = weight.reparameterization::<LoraAdapters>();
            let adapter = adapter.and_then(|adapters| adapters.get("task"));
            let key = format!("{case_name}/{path}");
            let in_file = expected.shape(&key).is_some();
            assert_eq!(adapter.is_some(), in_file, "{path}");
            let Some(adapter) = adapter else { continue };
            let expected = expected.read_floats(&key).unwrap();
            let expected = Tensor::<2>::from_data(expected, &device).transpose();
            let largest: f32 = expected.clone().abs().max().into_scalar();
            let difference = difference(&adapter.delta(), &expected);
            assert!(difference < 1e-6 * largest, "{path}: {difference}");
            compared += 1;
        }
        assert!(compared > 0);
    }

    #[test]
    fn a_checkpoint_becomes_an_adapter() {
        let model = model();
        let model = model
            .load_loralib("task", case("linear.bin"), &alpha(6.0))
            .unwrap();
        assert_updates(&model, "linear");
        let config = model.adapter_config("task").unwrap();
        assert_eq!((config.r, config.lora_alpha), (2, 6.0));
        assert_eq!(config.target_modules, Some(["c_proj", "embed"].into()));
        assert_eq!(config.modules_to_save, Some(vec!["classifier".to_string()]));
        let ranks: Vec<_> = config.rank_pattern.iter().collect();
        assert_eq!(ranks, [(&r"^layers\.0\.c_proj".to_string(), &1)]);
        assert!(config.alpha_pattern.is_empty());
        // The head is the file's, bit for bit.
        let file = PickleFile::open(case("linear.bin")).unwrap();
        let head = state(&model, |p| p.role == Role::Saved);
        assert_eq!(head.len(), 4);
        for (name, data) in head {
            assert_eq!(data, file.read_floats(&name).unwrap(), "{name}");
            let shape = data.shape().to_vec();
            assert_eq!(file.read(&name, &shape).unwrap(), Some(data), "{name}");
            let error = file.read(&name, &[1, 2, 3]).unwrap_err();
            assert!(matches!(&error, LoraError::Shape { .. }), "{error}");
        }
        assert!(file.read("nothing", &[]).unwrap().is_none());
        // What trains is the adapter and the head.
        assert_eq!(trainable(&model).len(), 3 * 2 + 4);
    }

    #[test]
    fn it_is_saved_as_a_folder_of_pefts() {
        let base = model();
        let imported = base
            .clone()
            .load_loralib("task", case("linear.bin"), &alpha(6.0))
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        imported.save_adapter("task", folder.path(), false).unwrap();
        let loaded = base.clone().load_adapter("again", folder.path()).unwrap();
        assert_eq!(difference(&imported.forward(), &loaded.forward()), 0.0);
        assert!(difference(&imported.forward(), &base.forward()) > 1e-3);
    }

    #[test]
    fn merged_layers_become_plain_ones_of_a_higher_rank() {
        let file = merged().with_enable_lora(["c_attn"], [true, false, true]);
        let model = file.attach(model(), "task", &alpha(6.0)).unwrap();
        assert_updates(&model, "merged");
        let config = model.adapter_config("task").unwrap();
        assert_eq!(
            (config.r, config.lora_alpha, config.scaling()),
            (4, 12.0, 3.0)
        );
        assert_eq!(config.target_modules, Some(["c_attn"].into()));
        assert_eq!(config.modules_to_save, None);
    }

    #[test]
    fn a_merged_layer_with_all_parts_needs_no_word_on_it() {
        let model = model()
            .load_loralib("task", case("merged_all.bin"), &alpha(6.0))
            .unwrap();
        assert_updates(&model, "merged_all");
        // One of the two c_attn and the other's c_proj: names alone would mean all four.
        assert_eq!(adapted(&model), ["layers.0.c_attn", "layers.1.c_proj"]);
        let config = model.adapter_config("task").unwrap();
        let regex = r"layers\.0\.c_attn|layers\.1\.c_proj".to_string();
        let regex = TargetModules(ModulePattern::Regex(regex));
        assert_eq!(config.target_modules, Some(regex));
        // Rank 3 both, but 3 · 6 of alpha for the three parts of rank 1.
        assert_eq!(config.r, 3);
        assert_eq!(config.scaling_for("layers.0.c_attn").unwrap(), 6.0);
        assert_eq!(config.scaling_for("layers.1.c_proj").unwrap(), 2.0);
    }

    #[test]
    fn biases_come_with_the_setting_only() {
        let load = |config: &LoraConfig| model().load_loralib("task", case("bias.bin"), config);
        let model = load(&alpha(6.0).with_bias(Bias::LoraOnly)).unwrap();
        assert_updates(&model, "bias");
        let file = PickleFile::open(case("bias.bin")).unwrap();
        for (i, layer) in model.layers.iter().enumerate() {
            let bias = layer.c_proj.bias.as_ref().unwrap().val().into_data();
            let name = format!("layers.{i}.c_proj.bias");
            assert_eq!(bias, file.read_floats(&name).unwrap());
        }
        let error = load(&alpha(6.0)).unwrap_err().to_string();
        let unexpected = "2 unexpected: layers.0.c_proj.bias, layers.1.c_proj.bias";
        assert!(error.contains(unexpected), "{error}");
    }

    #[test]
    fn enable_lora_has_to_be_known_and_right() {
        let attach = |file: Loralib| file.attach(model(), "task", &alpha(6.0)).unwrap_err();
        let error = attach(merged());
        assert!(matches!(&error, LoraError::EnableLora { .. }), "{error}");
        let error = attach(merged().with_enable_lora(["c_attn"], [true, true, true]));
        assert!(matches!(&error, LoraError::Shape { .. }), "{error}");
        let right = merged().with_enable_lora(["c_attn"], [true, false, true]);
        let error = attach(right.with_enable_lora(["c_proj"], [true])).to_string();
        assert!(error.contains("`enable_lora`: \"c_proj\""), "{error}");
        // The first that matches counts.
        let file = merged().with_enable_lora(["0.c_attn"], [true, false, true]);
        let file = file.with_enable_lora(["c_attn"], [false, true, true]);
        let model = file.attach(model(), "task", &alpha(6.0)).unwrap();
        let delta = |layer: &Layer| {
            let adapters = layer.c_attn.weight.reparameterization::<LoraAdapters>();
            let delta = adapters.unwrap().get("task").unwrap().delta();
            let part = |i| delta.clone().narrow(1, i * WIDTH, WIDTH).abs().sum();
            [0, 1, 2].map(|i| part(i).into_scalar::<f32>() > 0.0)
        };
        assert_eq!(delta(&model.layers[0]), [true, false, true]);
        assert_eq!(delta(&model.layers[1]), [false, true, true]);
    }

    #[test]
    fn tensors_that_do_not_fit_are_listed() {
        let refused = |from: &str, to: &str| {
            let file = Loralib::open(case("linear.bin")).unwrap();
            let file = file.rename(|name| name.replace(from, to));
            let error = file.attach(model(), "task", &alpha(6.0)).unwrap_err();
            assert!(matches!(&error, LoraError::Keys { .. }), "{error}");
            error.to_string()
        };
        let error = refused("classifier.dense.bias", "classifier.dense.gone");
        assert!(
            error.contains("1 missing: classifier.dense.bias"),
            "{error}"
        );
        assert!(
            error.contains("1 unexpected: classifier.dense.gone"),
            "{error}"
        );
        let error = refused("layers.0.c_proj.lora_B", "layers.0.c_proj.lora_C");
        assert!(
            error.contains("1 missing: layers.0.c_proj.lora_B"),
            "{error}"
        );
        let error = refused("layers.1.c_proj", "layers.2.c_proj");
        let unexpected = "2 unexpected: layers.2.c_proj.lora_A, layers.2.c_proj.lora_B";
        assert!(error.contains(unexpected), "{error}");
        let error = refused("layers.1.", "layers.0.");
        assert!(error.contains("layers.0.c_proj.lora_A (twice)"), "{error}");
        // The base's weights are not a loralib checkpoint's.
        let error = refused("classifier.dense.weight", "layers.0.c_proj.weight");
        assert!(
            error.contains("unexpected: layers.0.c_proj.weight"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_adapted_or_read_is_refused() {
        let wide = Model::new(WIDTH + 1, &training_device());
        let error = wide.load_loralib("task", case("linear.bin"), &alpha(6.0));
        let error = error.unwrap_err();
        assert!(
            matches!(&error, LoraError::Shape { tensor, expected, .. }
                if tensor == "embed.lora_B (rows)" && expected == &[WIDTH + 1]),
            "{error}"
        );
        let on_norms = Loralib::open(case("linear.bin")).unwrap();
        let on_norms = on_norms.rename(|name| name.replace("c_proj", "norm"));
        let error = on_norms.attach(model(), "task", &alpha(6.0)).unwrap_err();
        assert!(
            matches!(&error, LoraError::UnsupportedTarget { .. }),
            "{error}"
        );
        let nothing = Loralib::open(case("linear.bin")).unwrap();
        let nothing = nothing.rename(|name| name.replace("lora_", "adapter_"));
        let error = nothing.attach(model(), "task", &alpha(6.0)).unwrap_err();
        assert!(matches!(&error, LoraError::NoFactors { .. }), "{error}");
        let error = Loralib::open(case("none.bin")).unwrap_err().to_string();
        assert!(error.contains("none.bin"), "{error}");
        let error = Loralib::open(case("expected.safetensors")).unwrap_err();
        assert!(matches!(&error, LoraError::Pickle { .. }), "{error}");
    }

    #[test]
    fn settings_that_the_file_decides_are_refused() {
        let refused = |config: LoraConfig| {
            let error = model().load_loralib("task", case("linear.bin"), &config);
            error.unwrap_err().to_string()
        };
        let config = || alpha(6.0);
        for (field, config) in [
            ("target_modules", config().with_target_modules(["c_proj"])),
            ("rank_pattern", config().with_rank_pattern("embed", 2)),
            ("r", config().with_r(3)),
            ("use_rslora", config().with_use_rslora(true)),
            (
                "init_lora_weights",
                config().with_init_lora_weights(InitLoraWeights::Gaussian),
            ),
        ] {
            let error = refused(config);
            assert!(error.contains(&format!("`{field}` is ")), "{error}");
        }
        // Factors that the file does not have.
        let error = refused(config().with_use_dora(true));
        assert!(error.contains("c_proj.lora_magnitude_vector"), "{error}");
        let right = config().with_r(2).with_alpha_pattern("embed", 3.0);
        let model = model().load_loralib("task", case("linear.bin"), &right);
        let config = model.unwrap().adapter_config("task").unwrap();
        assert_eq!(config.scaling_for("embed").unwrap(), 1.5);
        assert_eq!(config.scaling_for("layers.0.c_proj").unwrap(), 6.0);
    }
}

mod burn_lora {
    use super::*;

    const PROJECTIONS: [&str; 2] = ["layers.0.c_proj.weight", "layers.1.c_proj.weight"];

    fn paths(paths: &[&str]) -> ParamGroup {
        ParamGroup::from_paths(paths.to_vec())
    }

    /// `model` with Burn's adapters on the projections (rank 2) and the embedding (rank 3), filled.
    fn with_lora(model: Model) -> Model {
        let model = model.apply_lora(Lora::new(2, 5.0).set_param_group(paths(&PROJECTIONS)));
        filled(
            model.apply_lora(Lora::new(3, 5.0).set_param_group(paths(&["embed.weight"]))),
            ".lora.",
            2,
        )
    }

    fn attach(record: ModuleRecord, model: Model, config: &LoraConfig) -> Result<Model, LoraError> {
        BurnLora::from_record(record)?.attach(model, "task", config)
    }

    #[test]
    fn a_record_becomes_an_adapter_with_the_same_outputs() {
        let base = model();
        let trained = with_lora(base.clone());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trained");
        trained.clone().save_file(&path).unwrap();
        let imported = base.clone().load_burn_lora("task", &path, &alpha(5.0));
        let imported = imported.unwrap();
        assert!(difference(&imported.forward(), &trained.forward()) < 1e-6);
        assert!(difference(&imported.forward(), &base.forward()) > 1e-3);
        let config = imported.adapter_config("task").unwrap();
        assert_eq!((config.r, config.lora_alpha), (2, 5.0));
        assert_eq!(config.target_modules, Some(["c_proj", "embed"].into()));
        assert_eq!(config.rank_pattern.get("^embed"), Some(&3));
        let in_memory = attach(trained.clone().into_record(), base, &alpha(5.0)).unwrap();
        assert_eq!(difference(&in_memory.forward(), &imported.forward()), 0.0);
    }

    #[test]
    fn alpha_is_the_callers() {
        let base = model();
        let record = || with_lora(base.clone()).into_record();
        let config = alpha(5.0).with_alpha_pattern("embed", 12.0);
        let imported = attach(record(), base.clone(), &config).unwrap();
        let scaling = |weight: &Param<Tensor<2>>| {
            let adapters = weight.reparameterization::<LoraAdapters>().unwrap();
            adapters.get("task").unwrap().scaling
        };
        assert_eq!(scaling(&imported.embed.weight), 4.0);
        assert_eq!(scaling(&imported.layers[1].c_proj.weight), 2.5);
    }

    #[test]
    fn modules_trained_in_full_are_taken_along() {
        let base = model();
        let trained = filled(with_lora(base.clone()), "classifier.", 3);
        let record = || trained.clone().into_record();
        let error = attach(record(), base.clone(), &alpha(5.0)).unwrap_err();
        assert!(
            matches!(&error, LoraError::OtherBase { parameters, .. } if parameters.len() == 4),
            "{error}"
        );
        assert!(
            error.to_string().contains("classifier.out_proj.bias"),
            "{error}"
        );
        let config = alpha(5.0).with_modules_to_save(["classifier"]);
        let imported = attach(record(), base.clone(), &config).unwrap();
        assert!(difference(&imported.forward(), &trained.forward()) < 1e-6);
        assert!(trainable(&imported).contains(&"classifier.dense.weight".to_string()));
        // Biases that were trained in place.
        let trained = filled(with_lora(base.clone()), "c_proj.bias", 4);
        let config = alpha(5.0).with_bias(Bias::LoraOnly);
        let imported = attach(trained.clone().into_record(), base, &config).unwrap();
        assert!(difference(&imported.forward(), &trained.forward()) < 1e-6);
    }

    #[test]
    fn the_base_has_to_be_the_records() {
        let trained = with_lora(model());
        let other = || filled(model(), "layers", 5);
        let record = || trained.clone().into_record();
        let error = attach(record(), other(), &alpha(5.0)).unwrap_err();
        assert!(matches!(&error, LoraError::OtherBase { .. }), "{error}");
        // As the message says.
        let base = other().load_record(record().allow_unused(true));
        let imported = attach(record(), base, &alpha(5.0)).unwrap();
        assert!(difference(&imported.forward(), &trained.forward()) < 1e-6);
        let file = BurnLora::from_record(record()).unwrap().on_any_base();
        let other = file.attach(other(), "task", &alpha(5.0)).unwrap();
        assert_eq!(adapted(&other), adapted(&imported));
        assert!(difference(&other.forward(), &trained.forward()) > 1e-3);
    }

    #[test]
    fn a_quantized_base_cannot_be_compared() {
        let device = training_device();
        let scheme = device.settings().quantization.scheme;
        let quantizer = Quantizer::new(Calibration::MinMax, scheme.with_value(QuantValue::Q8S));
        let lora = Lora::new(2, 5.0).set_param_group(paths(&PROJECTIONS));
        let base = model();
        let trained = filled(
            base.clone().apply_qlora(QLora::new(lora, quantizer)),
            ".lora.",
            2,
        );
        let record = || trained.clone().into_record();
        let error = attach(record(), base.clone(), &alpha(5.0)).unwrap_err();
        assert!(matches!(&error, LoraError::Dtype { .. }), "{error}");
        let file = BurnLora::from_record(record()).unwrap().on_any_base();
        let imported = file.attach(base, "task", &alpha(5.0)).unwrap();
        // As far as eight bits go.
        let difference = difference(&imported.forward(), &trained.forward());
        assert!(difference > 0.0 && difference < 0.05, "{difference}");
    }

    #[test]
    fn a_record_of_the_adapter_alone_is_enough() {
        let base = model();
        let trained = with_lora(base.clone());
        let group = ParamGroup::from_predicate(".lora.");
        let record = trained.clone().into_record_group(group);
        assert_eq!(record.len(), 6);
        let imported = attach(record, base, &alpha(5.0)).unwrap();
        assert!(difference(&imported.forward(), &trained.forward()) < 1e-6);
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        let base = model();
        let error = attach(base.clone().into_record(), base.clone(), &alpha(5.0)).unwrap_err();
        assert!(matches!(&error, LoraError::NoFactors { .. }), "{error}");
        let half = ParamGroup::from_predicate("lora.a");
        let error = attach(
            with_lora(base.clone()).into_record_group(half),
            base.clone(),
            &alpha(5.0),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("3 missing: embed.weight.lora.b"), "{error}");
        let wide = Model::new(WIDTH + 1, &training_device());
        let error = attach(with_lora(wide).into_record(), base.clone(), &alpha(5.0));
        let error = error.unwrap_err();
        assert!(
            matches!(&error, LoraError::Shape { tensor, expected, .. }
                if tensor == "embed.weight.lora.b" && expected == &[3, WIDTH]),
            "{error}"
        );
        // A module with more in it.
        let deeper = Model {
            layers: [base.layers.clone(), model().layers].concat(),
            ..base.clone()
        };
        let error = attach(with_lora(deeper).into_record(), base.clone(), &alpha(5.0));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("12 unexpected: layers.2.c_attn.bias"),
            "{error}"
        );
        let lora = Lora::new(2, 5.0).set_param_group(paths(&["layers.0.c_proj.weight"]));
        let record = base.clone().apply_lora(lora).into_record();
        let error = attach(record, base.clone(), &alpha(5.0).with_r(4));
        assert!(error.unwrap_err().to_string().contains("`r` is 4"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.bpk");
        std::fs::write(&path, b"not a record").unwrap();
        let error = base.load_burn_lora("task", &path, &alpha(5.0)).unwrap_err();
        assert!(matches!(&error, LoraError::Burnpack { .. }), "{error}");
        assert!(error.to_string().contains("broken.bpk"), "{error}");
    }

    #[test]
    fn factors_of_other_matrices_are_refused() {
        #[derive(Module, Debug)]
        struct Mix {
            mix: Param<Tensor<2>>,
        }
        let device = training_device();
        let mix = Mix {
            mix: Param::from_tensor(normal([4, 4], &device)),
        };
        let record = mix.clone().apply_lora(Lora::new(2, 4.0)).into_record();
        let file = BurnLora::from_record(record).unwrap();
        let error = file
            .attach(mix, "task", &alpha(4.0))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("2 unexpected: mix.lora.a, mix.lora.b"),
            "{error}"
        );
    }
}
