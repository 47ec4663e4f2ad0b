//! EVA: the components and ranks that PEFT finds with the same data.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Int, Tensor};
use lora_core::state::{Role, load_state, values};
use lora_core::{
    EvaConfig, InitLoraWeights, LoraAdapters, LoraConfig, LoraError, LoraLinear, LoraLinearConfig,
    LoraModule, default_device,
};

use super::{adapter, bits, file, path, starting};
use lora_core_tests::{difference, normal, trainable, training_device};

/// The model of the script's EVA cases.
#[derive(Module, Debug)]
struct Attention {
    query: LoraLinear,
    key: LoraLinear,
    dense: LoraLinear,
    last: LoraLinear,
}

const LAYERS: [&str; 4] = ["query", "key", "dense", "last"];

impl Attention {
    fn base() -> Self {
        let device = training_device();
        let linear = |d_in, d_out| LoraLinearConfig::new(d_in, d_out).init(&device);
        let model = Self {
            query: linear(16, 12),
            key: linear(16, 12),
            dense: linear(12, 20),
            last: linear(20, 6),
        };
        let file = file("eva/data.safetensors");
        load_state(model, |info| file.read(&info.name, &info.shape)).unwrap()
    }

    fn forward(&self, x: Tensor<3>, z: Tensor<3>) -> Tensor<3> {
        let mixed = tanh(self.query.forward(x.clone())) * sigmoid(self.key.forward(x));
        let inner = tanh(self.dense.forward(mixed)).mul_scalar(0.2);
        self.last.forward(z + inner)
    }

    fn layer(&self, name: &str) -> &LoraLinear {
        match name {
            "query" => &self.query,
            "key" => &self.key,
            "dense" => &self.dense,
            _ => &self.last,
        }
    }

    fn has_adapter(&self, name: &str) -> bool {
        let weight = &self.layer(name).weight;
        weight.reparameterization::<LoraAdapters>().is_some()
    }
}

#[derive(Clone)]
struct Batch {
    x: Tensor<3>,
    z: Tensor<3>,
    attention_mask: Tensor<2, Int>,
    labels: Tensor<2, Int>,
}

fn batches() -> Vec<Batch> {
    let file = file("eva/data.safetensors");
    let device = default_device();
    let batch = |i: usize| {
        let read = |name: &str| file.read_floats(&format!("{i}.{name}")).unwrap();
        Batch {
            x: Tensor::from_data(read("x"), &device),
            z: Tensor::from_data(read("z"), &device),
            attention_mask: Tensor::<2>::from_data(read("attention_mask"), &device).int(),
            labels: Tensor::<2>::from_data(read("labels"), &device).int(),
        }
    };
    (0..6).map(batch).collect()
}

/// The model with EVA's start from the script's data.
fn initialized(
    model: Attention,
    batches: impl Iterator<Item = Batch>,
) -> Result<Attention, LoraError> {
    let config = model.adapter_config("default")?;
    let eva = config.eva_config.unwrap_or_default();
    model.initialize_eva("default", batches, |model, batch| {
        model.forward(batch.x, batch.z);
        Some(eva.positions(batch.attention_mask, Some(batch.labels)))
    })
}

fn peft(case: &str) -> LoraConfig {
    LoraConfig::from_file(path("eva").join(case)).unwrap()
}

/// PEFT's configuration before it looked at data.
fn before(case: &str) -> LoraConfig {
    let mut config = peft(case);
    if case == "dropped" {
        config = config.with_target_modules(LAYERS);
    }
    config.rank_pattern.clear();
    config.alpha_pattern.clear();
    config
}

/// How near components come that were found with other random numbers: the last layer's inputs
/// vary almost as much in all directions.
fn near(layer: &str) -> f32 {
    match layer {
        "last" => 2e-2,
        _ => 2e-3,
    }
}

#[test]
fn components_and_ranks_are_pefts() {
    for case in ["redistributed", "whitened", "dropped"] {
        let base = Attention::base();
        let model = before(case).inject(base.clone()).unwrap();
        let model = initialized(model, batches().into_iter().cycle()).unwrap();
        let (ours, theirs) = (model.adapter_config("default").unwrap(), peft(case));
        assert_eq!(ours.rank_pattern, theirs.rank_pattern, "{case}");
        assert_eq!(ours.alpha_pattern, theirs.alpha_pattern, "{case}");
        let expected = file(&format!("eva/{case}/adapter_model.safetensors"));
        for name in LAYERS {
            let key = format!("base_model.model.{name}.lora_A.weight");
            let Some(shape) = expected.shape(&key) else {
                assert!(!model.has_adapter(name), "{case}: {name}");
                continue;
            };
            let adapter = adapter(model.layer(name), "default");
            assert_eq!(adapter.rank(), shape[0], "{case}: {name}");
            assert_eq!(adapter.scaling, theirs.scaling_for(name).unwrap());
            assert_eq!(adapter.b.val().abs().max().into_scalar::<f32>(), 0.0);
            let theirs = expected.read_floats(&key).unwrap();
            let mut theirs = Tensor::<2>::from_data(theirs, &training_device()).transpose();
            if case == "whitened" && ["query", "key"].contains(&name) {
                // PEFT divides components that two layers share once for each of them, in place:
                // their length is 1/s where it is to be 1/√s.
                let lengths = theirs.clone().powi_scalar(2).sum_dim(0).sqrt();
                theirs = theirs / lengths.sqrt();
            }
            let off = difference(&adapter.a.val(), &theirs);
            assert!(off < near(name), "{case}, A of {name}: {off}");
        }
        // The start has no effect, nothing else changed, and the new factors are trained.
        assert_eq!(bits(&model), bits(&base));
        let Batch { x, z, .. } = batches().remove(0);
        let output = |model: &Attention| {
            let device = training_device();
            model.forward(x.clone().to_device(&device), z.clone().to_device(&device))
        };
        assert_eq!(difference(&output(&model), &output(&base)), 0.0);
        let factors = 2 * LAYERS.iter().filter(|name| model.has_adapter(name)).count();
        assert_eq!(trainable(&model).len(), factors, "{case}");
        // PEFT reads what is saved, and so do we.
        let folder = tempfile::tempdir().unwrap();
        model.save_adapter("default", folder.path(), false).unwrap();
        let again = base.load_adapter("again", folder.path()).unwrap();
        let factors = |model: &Attention| {
            let all = values(model, |info| info.role == Role::LoraA);
            all.into_iter().map(|(_, data)| data).collect::<Vec<_>>()
        };
        assert_eq!(factors(&again), factors(&model), "{case}");
    }
}

#[test]
fn peft_adapters_are_loaded_with_their_ranks() {
    for case in ["redistributed", "dropped"] {
        let model = Attention::base()
            .load_adapter("peft", path("eva").join(case))
            .unwrap();
        let ranks = |name: &str| match model.has_adapter(name) {
            true => adapter(model.layer(name), "peft").rank(),
            false => 0,
        };
        let expected = match case {
            "redistributed" => [2, 2, 3, 1],
            _ => [1, 1, 2, 0],
        };
        assert_eq!(LAYERS.map(ranks), expected, "{case}");
    }
}

#[test]
fn patterns_and_magnitudes_are_taken_along() {
    let config = before("redistributed")
        .with_rank_pattern("dense", 4)
        .with_alpha_pattern("dense", 12.0)
        .with_use_dora(true);
    let base = Attention::base();
    let model = config.inject(base.clone()).unwrap();
    let model = initialized(model, batches().into_iter().cycle()).unwrap();
    let config = model.adapter_config("default").unwrap();
    let rank = |name| config.rank_for(name).unwrap();
    assert_eq!(
        LAYERS.iter().map(|name| rank(name)).sum::<usize>(),
        2 + 2 + 4 + 2
    );
    // α / r stays what it was.
    for (name, scaling) in [("query", 2.0), ("dense", 3.0), ("last", 2.0)] {
        assert!(
            (config.scaling_for(name).unwrap() - scaling).abs() < 1e-12,
            "{name}"
        );
        let adapter = adapter(model.layer(name), "default");
        let norms = base
            .layer(name)
            .weight
            .val()
            .powi_scalar(2)
            .sum_dim(0)
            .sqrt();
        let magnitude = adapter.magnitude.as_ref().unwrap().val().unsqueeze();
        assert!(difference(&magnitude, &norms) < 1e-5, "{name}");
    }
}

#[test]
fn data_that_ends_early_gives_what_there_is() {
    let model = before("redistributed").inject(Attention::base()).unwrap();
    let model = initialized(model, batches().into_iter().take(1)).unwrap();
    let LoraConfig { rank_pattern, .. } = model.adapter_config("default").unwrap();
    let a = adapter(&model.query, "default").a.val();
    let norms = a.powi_scalar(2).sum_dim(0);
    assert!(difference(&norms.ones_like(), &norms) < 1e-5);
    assert!(rank_pattern.values().all(|rank| *rank <= 4));
}

#[test]
fn other_adapters_take_no_part() {
    let plain = starting(InitLoraWeights::Random).with_target_modules(LAYERS);
    let pissa = starting(InitLoraWeights::Pissa).with_target_modules(["dense"]);
    let alone = before("redistributed").inject(Attention::base()).unwrap();
    let alone = initialized(alone, batches().into_iter().cycle()).unwrap();
    let model = Attention::base()
        .add_adapter("plain", &plain)
        .and_then(|m| m.add_adapter("pissa", &pissa))
        .and_then(|m| m.add_adapter("default", &before("redistributed")))
        .and_then(|m| m.set_active(&["plain", "pissa"]))
        .unwrap();
    let rest = bits(&model);
    let model = initialized(model, batches().into_iter().cycle()).unwrap();
    assert_eq!(bits(&model), rest);
    assert_eq!(model.active_adapters(), ["plain", "pissa"]);
    for name in LAYERS {
        let of = |model: &Attention| adapter(model.layer(name), "default").a.val();
        let off = difference(&of(&model), &of(&alone));
        assert!(off < near(name), "{name}: {off}");
    }
}

#[derive(Module, Debug)]
struct Mixed {
    plain: Linear,
    ours: LoraLinear,
}

fn mixed() -> Mixed {
    let device = training_device();
    Mixed {
        plain: LinearConfig::new(4, 4).init(&device),
        ours: LoraLinearConfig::new(4, 4).init(&device),
    }
}

fn eva(targets: &[&str]) -> LoraConfig {
    let targets: Vec<String> = targets.iter().map(|t| t.to_string()).collect();
    starting(InitLoraWeights::Eva)
        .with_r(1)
        .with_target_modules(targets)
}

#[test]
fn inputs_that_cannot_be_used_are_errors() {
    let device = default_device();
    let run = |config: LoraConfig, batches: Vec<Tensor<2>>| {
        let model = config.inject(mixed()).unwrap();
        let result = model.initialize_eva("default", batches, |model, x| {
            model.ours.forward(x);
            None
        });
        result.unwrap_err().to_string()
    };
    let batch = || normal::<2>([8, 4], &device);
    let error = run(eva(&["plain", "ours"]), vec![batch()]);
    assert!(
        error.contains("plain") && error.contains("`LoraLinear`"),
        "{error}"
    );
    let error = run(eva(&["ours"]), vec![]);
    assert!(error.contains("no batch"), "{error}");
    let error = run(eva(&["ours"]), vec![batch().narrow(0, 0, 1)]);
    assert!(
        error.contains("ours") && error.contains("larger batches"),
        "{error}"
    );
    let error = run(eva(&["ours"]).with_r(3), vec![batch()]);
    assert!(error.contains("only 4 inputs"), "{error}");
    let error = run(eva(&["ours"]), vec![batch() / 0.0]);
    assert!(error.contains("not all finite"), "{error}");
    let whiten = EvaConfig::new().with_whiten(true);
    let flat = batch().zeros_like();
    let error = run(eva(&["ours"]).with_eva_config(whiten), vec![flat]);
    assert!(error.contains("whiten"), "{error}");
    let error = run(
        eva(&["ours"]).with_init_lora_weights(InitLoraWeights::Kaiming),
        vec![batch()],
    );
    assert!(error.contains("`init_lora_weights` is true"), "{error}");

    let model = eva(&["ours"]).inject(mixed()).unwrap();
    let unused = model
        .clone()
        .initialize_eva("default", [batch()], |_, _| None);
    let error = unused.unwrap_err().to_string();
    assert!(error.contains("did not use"), "{error}");
    let positions = model
        .clone()
        .initialize_eva("default", [batch()], |model, x| {
            model.ours.forward(x);
            Some(Tensor::<2, Int>::ones([2, 5], &default_device()).bool())
        });
    let error = positions.unwrap_err().to_string();
    assert!(
        error.contains("8 vectors") && error.contains("10"),
        "{error}"
    );
    let merged = model.merge().unwrap();
    let error = merged
        .initialize_eva("default", [batch()], |_, _| None)
        .unwrap_err();
    assert!(matches!(error, LoraError::AdapterMerged { .. }), "{error}");
}

#[test]
fn an_unusual_rho_leaves_a_layer_its_rank() {
    // No weight has a side as long as `r`, which is not the rank of any.
    let config = eva(&["ours"])
        .with_r(100)
        .with_rank_pattern("ours", 1)
        .with_eva_config(EvaConfig::new().with_rho(2000.0));
    let model = config.inject(mixed()).unwrap();
    let batch = normal::<2>([8, 4], &default_device());
    let model = model.initialize_eva("default", [batch], |model, x| {
        model.ours.forward(x);
        None
    });
    let found = model.unwrap().adapter_config("default").unwrap();
    assert_eq!(found.rank_for("ours").unwrap(), 1);
}

#[test]
fn a_layer_that_is_named_like_the_end_of_another_keeps_its_own_rank() {
    #[derive(Module, Debug)]
    struct Outer {
        ours: LoraLinear,
        inner: Mixed,
    }
    let device = training_device();
    let model = Outer {
        ours: LoraLinearConfig::new(4, 4).init(&device),
        inner: mixed(),
    };
    let config = eva(&["ours"]).with_r(2);
    let model = config.inject(model).unwrap();
    // One input is a line, the other is as wide as it gets.
    let wide = normal::<2>([64, 4], &default_device());
    let line = wide.clone().slice([0..64, 0..1]).repeat_dim(1, 4) + wide.clone() * 0.01;
    let model = model
        .initialize_eva(
            "default",
            std::iter::repeat_n((line, wide), 8),
            |model, (line, wide)| {
                model.ours.forward(line);
                model.inner.ours.forward(wide);
                None
            },
        )
        .unwrap();
    let config = model.adapter_config("default").unwrap();
    let ranks = [&model.ours, &model.inner.ours].map(|layer| adapter(layer, "default").rank());
    assert_eq!(ranks, [1, 3]);
    assert_eq!(config.rank_for("ours").unwrap(), 1);
    assert_eq!(config.rank_for("inner.ours").unwrap(), 3);
}
