//! Adapters combined from others.

mod errors;
mod identities;
mod peft;
mod random;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{FloatDType, Tensor};
use lora_core::state::{Role, values};
use lora_core::{
    Combination, CombinationType, InitLoraWeights, LoraAdapter, LoraAdapters, LoraConfig,
    LoraConv1D, LoraLinear, LoraLinearConfig, LoraModule,
};
use lora_core_tests::{
    Model, difference, fill_adapters, trainable, training_device, with_gradient,
};

const MODULES: [&str; 9] = [
    "embed",
    "layers.0.query",
    "layers.0.value",
    "layers.0.up",
    "layers.0.down",
    "layers.1.query",
    "layers.1.value",
    "layers.1.up",
    "layers.1.down",
];

const TYPES: [CombinationType; 11] = [
    CombinationType::Linear,
    CombinationType::Cat,
    CombinationType::Svd,
    CombinationType::Ties,
    CombinationType::TiesSvd,
    CombinationType::DareLinear,
    CombinationType::DareLinearSvd,
    CombinationType::DareTies,
    CombinationType::DareTiesSvd,
    CombinationType::MagnitudePrune,
    CombinationType::MagnitudePruneSvd,
];

fn base() -> Model {
    Model::new(&training_device())
}

fn weight<'a>(model: &'a Model, module: &str) -> &'a Param<Tensor<2>> {
    let block = |number: usize| &model.layers[number];
    match module {
        "embed" => &model.embed.weight,
        "layers.0.query" => &block(0).query.weight,
        "layers.0.value" => &block(0).value.weight,
        "layers.0.up" => &block(0).up.weight,
        "layers.0.down" => &block(0).down.weight,
        "layers.1.query" => &block(1).query.weight,
        "layers.1.value" => &block(1).value.weight,
        "layers.1.up" => &block(1).up.weight,
        "layers.1.down" => &block(1).down.weight,
        other => panic!("no module {other}"),
    }
}

/// The adapter of a module, if it has one of that name.
fn adapter(model: &Model, module: &str, name: &str) -> Option<LoraAdapter> {
    let adapters = weight(model, module).reparameterization::<LoraAdapters>();
    adapters.and_then(|adapters| adapters.get(name)).cloned()
}

fn delta(model: &Model, module: &str, name: &str) -> Option<Tensor<2>> {
    adapter(model, module, name).map(|adapter| adapter.delta().detach())
}

/// The modules that the adapter is in.
fn modules_of(model: &Model, name: &str) -> Vec<&'static str> {
    let has = |module: &&str| adapter(model, module, name).is_some();
    MODULES.into_iter().filter(has).collect()
}

/// Saves the adapter and loads it on another base, where it has to have the same updates.
#[track_caller]
fn assert_loads_again(model: &Model, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    model.save_adapter(name, folder.path(), false).unwrap();
    let loaded = base().load_adapter("again", folder.path()).unwrap();
    assert_eq!(modules_of(&loaded, "again"), modules_of(model, name));
    for module in modules_of(model, name) {
        let (before, after) = (delta(model, module, name), delta(&loaded, module, "again"));
        assert_eq!(difference(&before.unwrap(), &after.unwrap()), 0.0);
    }
    let copies = |model: &Model, name: &str| -> Vec<_> {
        let own = values(model, |p| {
            p.role == Role::Saved && p.adapter.as_deref() == Some(name)
        });
        let own = own.into_iter();
        own.map(|(info, data)| (info.base_path().to_string(), data))
            .collect()
    };
    assert_eq!(copies(model, name), copies(&loaded, "again"));
}

fn config(targets: &[&str]) -> LoraConfig {
    let targets: Vec<String> = targets.iter().map(|t| t.to_string()).collect();
    LoraConfig::new()
        .with_r(2)
        .with_lora_alpha(6.0)
        .with_target_modules(targets)
}

/// A base with the adapters given, none without effect.
fn with(adapters: &[(&str, LoraConfig)]) -> Model {
    let model = adapters.iter().fold(base(), |model, (name, config)| {
        model.add_adapter(name, config).unwrap()
    });
    fill_adapters(model)
}

fn pair() -> Model {
    with(&[
        ("one", config(&["query", "value", "embed"])),
        ("two", config(&["query", "down"]).with_lora_alpha(3.0)),
    ])
}

fn linear() -> Combination {
    Combination::new(CombinationType::Linear)
}

fn cat() -> Combination {
    Combination::new(CombinationType::Cat)
}

const EVEN: [(&str, f64); 2] = [("one", 0.5), ("two", 0.5)];

#[test]
fn the_new_adapter_waits_and_stands_on_its_own() {
    let model = pair();
    let before = trainable(&model);
    let model = model.add_weighted_adapter("new", &EVEN, &cat()).unwrap();
    assert_eq!(model.active_adapters(), ["one"]);
    assert_eq!(trainable(&model), before);
    let device = training_device();
    let sum = {
        let half = model.clone().set_scale("one", 0.5).unwrap();
        let half = half.set_scale("two", 0.5).unwrap();
        half.set_active(&["one", "two"]).unwrap().on(&device)
    };
    let model = model.set_active(&["new"]).unwrap();
    let output = model.on(&device);
    assert!(difference(&output, &sum) < 1e-5);
    let gradients = output.square().sum().backward();
    // Query, value and down in two layers, and the embedding: two factors each.
    let trained = with_gradient(&model, &gradients);
    assert_eq!(trained.len(), 14, "{trained:?}");
    let alone = model
        .delete_adapter("one")
        .and_then(|model| model.delete_adapter("two"))
        .unwrap();
    assert!(difference(&alone.on(&device), &sum) < 1e-5);
    let merged = alone.merge_and_unload().unwrap();
    assert!(difference(&merged.on(&device), &sum) < 1e-5);
}

#[test]
fn a_combination_sees_the_scale_that_was_set() {
    let weights = [("one", 1.0), ("two", -0.25)];
    let plain = pair()
        .add_weighted_adapter("new", &weights, &cat())
        .unwrap();
    let scaled = pair()
        .set_scale("one", 0.5)
        .and_then(|model| {
            model.add_weighted_adapter("new", &[("one", 2.0), ("two", -0.25)], &cat())
        })
        .unwrap();
    for module in modules_of(&plain, "new") {
        let of = |model: &Model| delta(model, module, "new").unwrap();
        assert!(difference(&of(&plain), &of(&scaled)) < 1e-6, "{module}");
    }
}

#[test]
fn a_singular_value_decomposition_keeps_the_largest_part() {
    let model = pair();
    let svd = |rank| Combination::new(CombinationType::Svd).with_svd_rank(rank);
    let of = |rank| {
        let model = model.clone();
        model
            .add_weighted_adapter("new", &EVEN, &svd(rank))
            .unwrap()
    };
    let exact = model
        .clone()
        .add_weighted_adapter("new", &EVEN, &cat())
        .unwrap();
    // Four directions are all there is in the query; `down` has six inputs, and the rest is zero.
    for (rank, in_down) in [(4, 4), (7, 6), (100, 6)] {
        let model = of(rank);
        assert_eq!(
            adapter(&model, "layers.0.down", "new").unwrap().rank(),
            in_down
        );
        assert_eq!(
            adapter(&model, "layers.0.query", "new").unwrap().rank(),
            rank.min(8)
        );
        for module in modules_of(&model, "new") {
            let of = |model: &Model| delta(model, module, "new").unwrap();
            assert!(difference(&of(&model), &of(&exact)) < 1e-5, "{module}");
        }
        assert_loads_again(&model, "new");
    }
    let a = adapter(&of(3), "layers.1.query", "new").unwrap().a.val();
    let identity = Tensor::eye(3, &training_device());
    assert!(difference(&a.clone().transpose().matmul(a), &identity) < 1e-5);
}

#[test]
fn trained_copies_of_modules_come_along() {
    let head = config(&["query"]).with_modules_to_save(["classifier"]);
    let norm = config(&["down"]).with_modules_to_save(["1.norm"]);
    let model = trained(with(&[("one", head), ("two", norm.clone())]));
    let combined = model
        .clone()
        .add_weighted_adapter("new", &EVEN, &cat())
        .unwrap();
    let config = combined.adapter_config("new").unwrap();
    assert_eq!(config.modules_to_save.unwrap(), ["classifier", "1.norm"]);
    let copy = |name: &str| {
        let copies = combined.classifier.weight.reparameterization();
        let copies: &lora_core::SavedCopies<2> = copies.unwrap();
        copies.get(name).unwrap().val()
    };
    assert_eq!(difference(&copy("new"), &copy("one")), 0.0);
    assert!(difference(&copy("new"), &combined.classifier.weight.base()) > 1e-3);
    assert_loads_again(&combined, "new");
    // Training the new copy leaves the old one alone.
    let before = copy("one");
    let combined = trained(combined.set_active(&["new"]).unwrap());
    let copies = combined.classifier.weight.reparameterization();
    let copies: &lora_core::SavedCopies<2> = copies.unwrap();
    assert_eq!(difference(&copies.get("one").unwrap().val(), &before), 0.0);
    assert!(difference(&copies.get("new").unwrap().val(), &before) > 1e-4);

    let model = model.add_adapter("three", &norm).unwrap();
    let weights = [("two", 1.0), ("three", 1.0)];
    let error = model
        .add_weighted_adapter("new", &weights, &cat())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"two\" and \"three\", which both have a copy of layers.1.norm.gamma"),
        "{error}"
    );
}

/// One optimizer step, so that copies of modules differ from their originals.
fn trained(model: Model) -> Model {
    use burn::optim::{GradientsParams, SgdConfig};
    let gradients = model.on(&training_device()).square().sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    SgdConfig::new().init().step(0.1, model, gradients)
}

#[test]
fn no_update_is_lost_to_the_first_adapters_choice_of_modules() {
    let regex = LoraConfig::new().with_r(2).with_target_modules(".*down");
    let everything = LoraConfig::new()
        .with_r(2)
        .with_target_modules("all-linear");
    for (one, two) in [
        (
            config(&["query"]).with_exclude_modules(["down"]),
            config(&["down"]),
        ),
        (
            config(&["query"])
                .with_layers_to_transform(0)
                .with_layers_pattern("layers"),
            config(&["value"]),
        ),
        (
            config(&["query"]),
            config(&["value"])
                .with_layers_to_transform(1)
                .with_layers_pattern("layers"),
        ),
        (config(&["query"]), regex.clone()),
        (regex, everything.clone()),
        (everything.clone(), everything),
    ] {
        let model = with(&[("one", one), ("two", two)]);
        let combined = model.add_weighted_adapter("new", &EVEN, &cat()).unwrap();
        let has = |module: &&str| {
            let of = |name| adapter(&combined, module, name).is_some();
            of("one") || of("two")
        };
        let expected: Vec<&str> = MODULES.into_iter().filter(has).collect();
        assert_eq!(modules_of(&combined, "new"), expected);
        for module in expected {
            let half = |name| delta(&combined, module, name).map(|delta| delta * 0.5);
            let sum = [half("one"), half("two")].into_iter().flatten();
            let sum = sum.reduce(|a, b| a + b).unwrap();
            let new = delta(&combined, module, "new").unwrap();
            assert!(difference(&new, &sum) < 1e-5, "{module}");
        }
        assert_loads_again(&combined, "new");
    }
}

#[test]
fn the_result_does_not_inherit_how_the_first_adapter_started() {
    let first = config(&["query"])
        .with_use_rslora(true)
        .with_init_lora_weights(InitLoraWeights::Random);
    let model = with(&[("one", first), ("two", config(&["query"]))]);
    let combined = model.add_weighted_adapter("new", &EVEN, &cat()).unwrap();
    let config = combined.adapter_config("new").unwrap();
    assert!(!config.use_rslora);
    assert_eq!(config.init_lora_weights, InitLoraWeights::default());
    assert_eq!(config.scaling(), 1.0);
    assert_loads_again(&combined, "new");
}

#[test]
fn targets_stay_a_shorthand_where_it_means_the_same() {
    let everything = LoraConfig::new()
        .with_r(2)
        .with_target_modules("all-linear");
    let model = with(&[("one", everything.clone()), ("two", everything.clone())]);
    let combined = model.add_weighted_adapter("new", &EVEN, &cat()).unwrap();
    let found = combined.adapter_config("new").unwrap();
    assert_eq!(found.target_modules, everything.target_modules);
}

#[test]
fn pythons_layout_is_noted_whichever_adapter_needs_it() {
    #[derive(Module, Debug)]
    struct Mlp {
        up: LoraLinear,
        down: LoraConv1D,
    }
    let layer = || LoraLinearConfig::new(4, 4).init(&training_device());
    let mlp = Mlp {
        up: layer(),
        down: layer().into(),
    };
    let model = mlp
        .add_adapter("one", &config(&["up"]))
        .and_then(|model| model.add_adapter("two", &config(&["down"])))
        .and_then(|model| model.add_weighted_adapter("new", &EVEN, &cat()))
        .unwrap();
    let noted = |name| model.adapter_config(name).unwrap().fan_in_fan_out;
    assert!(!noted("one") && noted("two") && noted("new"));
}

#[test]
fn factors_keep_their_type() {
    struct Half;
    impl ModuleMapper for Half {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value.detach().cast(FloatDType::F16))
        }
    }
    let model = pair().map(&mut Half);
    for kind in [CombinationType::Linear, CombinationType::Svd] {
        let combined = model
            .clone()
            .add_weighted_adapter("new", &EVEN, &Combination::new(kind))
            .unwrap();
        let new = adapter(&combined, "layers.0.query", "new").unwrap();
        for factor in [&new.a, &new.b] {
            assert_eq!(FloatDType::from(factor.val().dtype()), FloatDType::F16);
        }
    }
}
