//! Weights that two modules share, and what adapters may do with them.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Int, Tensor};
use lora_core::state::parameters;
use lora_core::{
    Bias, LoraConfig, LoraEmbedding, LoraEmbeddingConfig, LoraError, LoraLinear, LoraLinearConfig,
    LoraModule, tie,
};
use lora_core_tests::training_device;

/// A language model that predicts with the table it embeds with.
#[derive(Clone, Debug)]
struct LanguageModel {
    tokens: LoraEmbedding,
    dense: LoraLinear,
    /// Where the tie is said to lead.
    weight: &'static str,
}

impl LanguageModel {
    fn new(device: &Device) -> Self {
        Self {
            tokens: LoraEmbeddingConfig::new(7, 4).init(device),
            dense: LoraLinearConfig::new(4, 4).init(device),
            weight: "tokens.weight",
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.dense.forward(self.tokens.forward(ids));
        hidden.matmul(self.tokens.weight.val().transpose().unsqueeze())
    }
}

impl Module for LanguageModel {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.dense
            .collect_devices(self.tokens.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        Self {
            tokens: self.tokens.fork(device),
            dense: self.dense.fork(device),
            ..self
        }
    }

    fn to_device(self, device: &Device) -> Self {
        Self {
            tokens: self.tokens.to_device(device),
            dense: self.dense.to_device(device),
            ..self
        }
    }

    fn train(self) -> Self {
        Self {
            tokens: self.tokens.train(),
            dense: self.dense.train(),
            ..self
        }
    }

    fn valid(&self) -> Self {
        Self {
            tokens: self.tokens.valid(),
            dense: self.dense.valid(),
            ..*self
        }
    }

    fn materialize(self) -> Self {
        Self {
            tokens: self.tokens.materialize(),
            dense: self.dense.materialize(),
            ..self
        }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module("tokens", "Struct:LanguageModel");
        self.tokens.visit(visitor);
        visitor.exit_module("tokens", "Struct:LanguageModel");
        tie::declare(visitor, "head.decoder", self.weight);
        visitor.enter_module("head.dense", "Struct:LanguageModel");
        self.dense.visit(visitor);
        visitor.exit_module("head.dense", "Struct:LanguageModel");
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        mapper.enter_module("tokens", "Struct:LanguageModel");
        let tokens = self.tokens.map(mapper);
        mapper.exit_module("tokens", "Struct:LanguageModel");
        mapper.enter_module("head.dense", "Struct:LanguageModel");
        let dense = self.dense.map(mapper);
        mapper.exit_module("head.dense", "Struct:LanguageModel");
        Self {
            tokens,
            dense,
            ..self
        }
    }
}

impl ModuleDisplay for LanguageModel {}

impl ModuleDisplayDefault for LanguageModel {
    fn content(&self, content: Content) -> Option<Content> {
        content.optional()
    }
}

/// The path of a tie starts at the module that declares it, wherever that stands.
#[derive(Module, Debug)]
struct Outer {
    inner: LanguageModel,
}

fn outer() -> Outer {
    Outer {
        inner: LanguageModel::new(&training_device()),
    }
}

fn targets(names: &[&str]) -> LoraConfig {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    LoraConfig::new().with_r(2).with_target_modules(names)
}

#[track_caller]
fn refused(config: &LoraConfig) -> String {
    let error = config.inject(outer()).unwrap_err();
    assert!(matches!(error, LoraError::Tied { .. }), "{error}");
    error.to_string()
}

#[test]
fn an_adapter_on_either_side_of_a_tie_is_refused() {
    for (target, sides) in [
        (
            "tokens",
            "inner.tokens, which shares its weight with inner.head.decoder",
        ),
        (
            "decoder",
            "inner.head.decoder, which shares its weight with inner.tokens",
        ),
    ] {
        let error = refused(&targets(&["dense", target]));
        for part in [
            &format!("`target_modules` means {sides}"),
            "`exclude_modules`",
            "put inner.tokens into `modules_to_save`",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
    let regex = LoraConfig::new().with_target_modules(r"inner\.head\..*");
    assert!(refused(&regex).contains("inner.head.decoder"));
}

#[test]
fn what_is_excluded_or_trained_in_full_may_be_tied() {
    let excluded =
        targets(&["dense", "decoder", "tokens"]).with_exclude_modules(["decoder", "tokens"]);
    assert_eq!(excluded.plan(&outer()).unwrap().adapter_count(), 1);
    assert!(excluded.inject(outer()).is_ok());
    let all = LoraConfig::new().with_target_modules("all-linear");
    assert_eq!(all.plan(&outer()).unwrap().adapter_count(), 1);
    // A target that `modules_to_save` means is trained in full, on whichever side it is.
    let saved = targets(&["dense", "decoder", "tokens"]).with_modules_to_save(["tokens"]);
    let model = saved.inject(outer()).unwrap();
    let trained = parameters(&model).into_iter().filter(|p| p.trainable);
    let trained: Vec<String> = trained.map(|p| p.path).collect();
    assert_eq!(
        trained,
        [
            "inner.tokens.weight.modules_to_save.default",
            "inner.head.dense.weight.lora.default.a",
            "inner.head.dense.weight.lora.default.b",
        ]
    );
}

#[test]
fn a_saved_tied_weight_is_trained_on_both_sides() {
    let config = targets(&["dense"]).with_modules_to_save(["tokens"]);
    let model = config.inject(outer()).unwrap();
    let device = training_device();
    let ids = Tensor::<2, Int>::from_data([[0, 1]], &device);
    let gradients = model.inner.forward(ids).sum().backward();
    let saved = model
        .inner
        .tokens
        .weight
        .reparameterization::<lora_core::SavedCopies<2>>();
    let copy = saved.unwrap().get("default").unwrap();
    let gradient = copy.val().grad(&gradients).unwrap();
    // Only the decoder uses the rows that are not embedded, and every row is used.
    let rows = gradient.abs().sum_dim(1).into_data();
    assert!(rows.iter::<f32>().all(|row| row > 0.0), "{rows}");
    assert!(model.inner.tokens.weight.base().grad(&gradients).is_none());
    // Without the copy, both sides are the original again.
    let unloaded = model.unload().unwrap();
    assert_eq!(parameters(&unloaded).len(), parameters(&outer()).len());
}

#[test]
fn saving_the_side_without_the_weight_alone_is_refused() {
    for name in ["decoder", "head"] {
        let error = refused(&targets(&["dense"]).with_modules_to_save([name]));
        assert!(
            error.contains("`modules_to_save` means inner.head.decoder"),
            "{error}"
        );
    }
    let both = targets(&["dense"]).with_modules_to_save(["decoder", "tokens"]);
    assert!(both.inject(outer()).is_ok());
}

#[test]
fn a_tie_with_nothing_is_an_error() {
    let mut model = LanguageModel::new(&training_device());
    model.weight = "embedding.weight";
    let error = targets(&["dense"])
        .inject(Outer { inner: model })
        .unwrap_err();
    assert!(
        matches!(&error, LoraError::UnknownTie { module, weight }
            if module == "inner.head.decoder" && weight == "inner.embedding.weight"),
        "{error}"
    );
}

/// Two layers that are one parameter, as a clone of a module makes them.
#[derive(Module, Debug)]
struct Twins {
    first: LoraLinear,
    second: LoraLinear,
    other: LoraLinear,
}

fn twins() -> Twins {
    let device = training_device();
    let layer = || LoraLinearConfig::new(3, 3).init(&device);
    let first = layer();
    Twins {
        second: first.clone(),
        first,
        other: layer(),
    }
}

#[test]
fn a_parameter_at_two_paths_is_neither_adapted_nor_trained() {
    let cases = [
        (
            "target_modules",
            targets(&["first"]),
            "first.weight",
            "second.weight",
        ),
        (
            "target_modules",
            targets(&["second"]),
            "second.weight",
            "first.weight",
        ),
        (
            "modules_to_save",
            targets(&["other"]).with_modules_to_save(["second"]),
            "second.",
            "first.",
        ),
        (
            "bias",
            targets(&["other"]).with_bias(Bias::All),
            "first.bias",
            "second.bias",
        ),
    ];
    for (field, config, parameter, other) in cases {
        let error = config.inject(twins()).unwrap_err();
        assert!(
            matches!(error, LoraError::RepeatedParameter { .. }),
            "{error}"
        );
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("`{field}` means {parameter}")) && error.contains(other),
            "{error}"
        );
    }
    // Frozen, it does no harm.
    let model = targets(&["other"]).inject(twins()).unwrap();
    assert_eq!(model.adapter_names(), ["default"]);
    // A second adapter is planned no differently.
    let error = model
        .add_adapter("again", &targets(&["first"]))
        .unwrap_err();
    assert!(
        matches!(error, LoraError::RepeatedParameter { .. }),
        "{error}"
    );
}

#[test]
fn rows_of_a_batch_take_one_value_of_a_tied_weight() {
    let config = LoraConfig::new()
        .with_r(2)
        .with_target_modules(["dense"])
        .with_modules_to_save(["tokens"]);
    let model = LanguageModel::new(&training_device())
        .add_adapter("one", &config)
        .and_then(|model| model.add_adapter("two", &config))
        .unwrap();
    let error = model.for_rows(&["one", "two"]).unwrap_err();
    assert!(
        matches!(&error, LoraError::MixedBatchOfCopies { parameter, reader, .. }
            if parameter == "tokens.weight" && reader.starts_with("head.decoder")),
        "{error}"
    );
    let ids = Tensor::from_data([[1, 2], [3, 4]], &training_device());
    model.for_rows(&["two", "two"]).unwrap().forward(ids);
}
