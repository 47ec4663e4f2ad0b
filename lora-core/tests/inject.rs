//! Putting adapters into a module of a user's own: what is matched, frozen and kept.

use burn::module::{Module, Param, ParamGroup};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Tensor;
use lora_core::state::{Role, parameters, values};
use lora_core::{LoraAdapters, LoraConfig, LoraError, LoraModule, ParameterReport};
use lora_core::{TargetModules, TaskType};
use lora_core_tests::{CLASSES, INNER, Model, TOKENS, WIDTH, difference, fill_adapters, trainable};
use lora_core_tests::{training_device, with_gradient};

fn config(targets: impl Into<TargetModules>) -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_lora_alpha(6.0)
        .with_target_modules(targets)
}

/// The modules that get an adapter.
fn adapted(model: &Model) -> Vec<String> {
    let factors = parameters(model)
        .into_iter()
        .filter(|p| p.path.ends_with(".weight.lora.default.a"));
    factors
        .map(|p| {
            p.path
                .trim_end_matches(".weight.lora.default.a")
                .to_string()
        })
        .collect()
}

fn injected(config: &LoraConfig) -> Vec<String> {
    adapted(&config.inject(Model::new(&training_device())).unwrap())
}

fn refused(config: &LoraConfig) -> LoraError {
    config.inject(Model::new(&training_device())).unwrap_err()
}

#[test]
fn a_list_means_dotted_suffixes() {
    let modules = injected(&config(["query", "1.down"]));
    assert_eq!(
        modules,
        ["layers.0.query", "layers.1.query", "layers.1.down"]
    );
}

#[test]
fn a_string_is_a_regular_expression_over_the_whole_path() {
    let modules = injected(&config(r"layers\.1\.(query|value)"));
    assert_eq!(modules, ["layers.1.query", "layers.1.value"]);
}

#[test]
fn all_linear_leaves_out_the_head_the_norms_and_the_embedding() {
    let all = config("all-linear").with_task_type(TaskType::SequenceClassification);
    let model = all.inject(Model::new(&training_device())).unwrap();
    let in_layer = |i| ["query", "value", "up", "down"].map(|m| format!("layers.{i}.{m}"));
    assert_eq!(adapted(&model), [in_layer(0), in_layer(1)].concat());
    let report = ParameterReport::of(&model);
    assert_eq!(
        report.lora,
        2 * 2 * (2 * (WIDTH + WIDTH) + 2 * (WIDTH + INNER))
    );
    assert_eq!((report.saved, report.bias), (WIDTH * CLASSES + CLASSES, 0));

    // Without a task there is no head to leave out.
    assert!(injected(&config("all-linear")).contains(&"classifier".to_string()));
}

#[test]
fn exclusions_win_over_targets() {
    let excluded = config("all-linear").with_exclude_modules([r"value", "up", "classifier"]);
    assert!(
        injected(&excluded)
            .iter()
            .all(|m| m.ends_with("query") || m.ends_with("down"))
    );
    let by_regex = config(["query", "value"]).with_exclude_modules(r"layers\.0\..*");
    assert_eq!(injected(&by_regex), ["layers.1.query", "layers.1.value"]);
}

#[test]
fn an_embedding_can_be_adapted() {
    let model = config(["embed"])
        .inject(Model::new(&training_device()))
        .unwrap();
    assert_eq!(ParameterReport::of(&model).lora, 2 * (TOKENS + WIDTH));
    // It starts out with A at zero, linear layers with B at zero.
    let adapter = model
        .embed
        .weight
        .reparameterization::<LoraAdapters>()
        .and_then(|adapters| adapters.get("default"))
        .unwrap();
    assert_eq!(adapter.a.val().abs().sum().into_scalar::<f32>(), 0.0);
    assert!(adapter.b.val().abs().sum().into_scalar::<f32>() > 0.0);
    assert_eq!(adapter.scaling, 3.0);
}

#[test]
fn saved_modules_are_trained_in_full() {
    let config = config(["query"]).with_modules_to_save(["1.norm", "classifier"]);
    let model = config.inject(Model::new(&training_device())).unwrap();
    let factors = |i| ["A", "B"].map(|f| format!("layers.{i}.query.lora_{f}.weight"));
    let saved = ["layers.1.norm.weight", "layers.1.norm.bias"].map(String::from);
    let head = ["classifier.weight", "classifier.bias"].map(String::from);
    let mut expected = [factors(0), factors(1), saved, head].concat();
    let mut found = trainable(&model);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let report = ParameterReport::of(&model);
    assert_eq!(report.saved, 2 * WIDTH + WIDTH * CLASSES + CLASSES);
    assert_eq!((report.bias, report.replaced), (0, report.saved));
    assert_eq!(report.peft_all(), report.total() + report.saved);
}

#[test]
fn the_output_does_not_change() {
    let device = training_device();
    let everything = config(["embed", "query", "value", "up", "down", "classifier"]);
    let model = Model::new(&device);
    let before = model.on(&device);
    let model = everything.inject(model).unwrap();
    assert_eq!(difference(&before, &model.on(&device)), 0.0);
    // … and does once the adapters are not zero.
    assert!(difference(&before, &fill_adapters(model).on(&device)) > 1e-2);
}

#[test]
fn gradients_reach_what_is_trained_and_nothing_else() {
    let device = training_device();
    let config = config(["embed", "query", "value", "up", "down"])
        .with_task_type(TaskType::SequenceClassification);
    let model = fill_adapters(config.inject(Model::new(&device)).unwrap());
    let gradients = model.on(&device).square().sum().backward();
    let found = with_gradient(&model, &gradients);
    assert_eq!(found, trainable(&model));
    assert_eq!(found.len(), 2 * (1 + 2 * 4) + 2);
    assert!(
        model.layers[0]
            .query
            .weight
            .base()
            .grad(&gradients)
            .is_none()
    );
    assert!(model.mix.base().grad(&gradients).is_none());
}

#[test]
fn an_optimizer_step_moves_what_is_trained_and_nothing_else() {
    let device = training_device();
    let config = config(["query", "down"]).with_modules_to_save(["classifier"]);
    let model = fill_adapters(config.inject(Model::new(&device)).unwrap());
    let before = values(&model, |_| true);
    let gradients = model.on(&device).square().sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.1).init();
    let model = optimizer.step(1e-2, model, gradients);
    for ((info, before), (_, after)) in before.into_iter().zip(values(&model, |_| true)) {
        assert_eq!(before != after, info.trainable, "{}", info.path);
    }
}

#[test]
fn validation_and_training_keep_flags_and_outputs() {
    let device = training_device();
    let config = config(["query", "value"]).with_modules_to_save(["classifier"]);
    let model = fill_adapters(config.inject(Model::new(&device)).unwrap());
    let expected = trainable(&model);
    let output = model.on(&device);

    let valid = model.valid();
    assert_eq!(trainable(&valid), expected);
    assert_eq!(ParameterReport::of(&valid), ParameterReport::of(&model));
    // Not to the last bit: without gradients, other kernels do the same sums.
    let validated = valid.on(&device.clone().inner());
    assert!(difference(&output.clone().without_autodiff(), &validated) < 1e-6);

    let again = valid.train();
    assert_eq!(trainable(&again), expected);
    assert_eq!(difference(&output, &again.on(&device)), 0.0);
    let gradients = again.on(&device).sum().backward();
    assert_eq!(with_gradient(&again, &gradients), expected);
}

#[test]
fn records_carry_the_adapters() {
    let device = training_device();
    let config = config(["embed", "query", "value"]).with_modules_to_save(["classifier"]);
    let model = fill_adapters(config.inject(Model::new(&device)).unwrap());
    let output = model.on(&device);
    let bytes = model.into_record().into_bytes().unwrap();

    let other = config.inject(Model::new(&device)).unwrap();
    assert!(difference(&output, &other.on(&device)) > 1e-3);
    let expected = trainable(&other);
    let record = burn::store::ModuleRecord::from_bytes(bytes).unwrap();
    let other = other.load_record(record);
    assert_eq!(difference(&output, &other.on(&device)), 0.0);
    assert_eq!(trainable(&other), expected);
    let gradients = other.on(&device).sum().backward();
    assert_eq!(with_gradient(&other, &gradients), expected);
}

#[test]
fn modules_move_between_devices() {
    let device = training_device();
    let config = config(["query", "value"]).with_modules_to_save(["classifier"]);
    let model = fill_adapters(config.inject(Model::new(&device)).unwrap());
    let output = model.on(&device);
    let forked = model.clone().fork(&device);
    assert_eq!(trainable(&forked), trainable(&model));
    assert_eq!(difference(&output, &forked.on(&device)), 0.0);
    let gradients = forked.on(&device).sum().backward();
    assert_eq!(with_gradient(&forked, &gradients), trainable(&model));

    let moved = model.clone().to_device(&device);
    assert_eq!(trainable(&moved), trainable(&model));
    assert_eq!(difference(&output, &moved.on(&device)), 0.0);
    assert_eq!(moved.devices().len(), 1);
}

#[test]
fn a_pattern_that_matches_nothing_names_its_neighbours() {
    let message = refused(&config(["quarry"])).to_string();
    assert!(
        message.contains("`target_modules`: \"quarry\" matches no module"),
        "{message}"
    );
    assert!(message.contains("layers.0.query"), "{message}");
    // A parameter that no layer owns is no module.
    let message = refused(&config(["mix"])).to_string();
    assert!(message.contains("\"mix\" matches no module"), "{message}");
    let message = refused(&config(r"encoder\..*query")).to_string();
    assert!(message.contains("layers.0.query"), "{message}");
}

#[test]
fn strict_wants_every_pattern_and_lenient_one() {
    let config = config(["query", "key"]);
    assert!(
        refused(&config)
            .to_string()
            .contains("\"key\" matches no module")
    );
    let model = config
        .inject_lenient(Model::new(&training_device()))
        .unwrap();
    assert_eq!(adapted(&model), ["layers.0.query", "layers.1.query"]);
    let none = config.clone().with_target_modules(["key", "keys"]);
    let error = none
        .inject_lenient(Model::new(&training_device()))
        .unwrap_err();
    assert!(
        matches!(
            error,
            LoraError::NothingMatched {
                field: "target_modules",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn absent_targets_are_an_error() {
    let error = refused(&LoraConfig::new());
    assert!(matches!(&error, LoraError::NoTargetModules { nearest } if !nearest.is_empty()));
}

#[test]
fn what_has_no_weight_matrix_cannot_be_adapted() {
    for (target, kind) in [("norm", "LayerNorm"), ("layers", ""), ("layers.0", "")] {
        let error = refused(&config([target]));
        assert!(
            matches!(error, LoraError::UnsupportedTarget { .. }),
            "{target}: {error}"
        );
        assert!(error.to_string().contains(kind), "{error}");
    }
}

#[test]
fn adapters_are_not_stacked() {
    let config = config(["query"]);
    let model = config.inject(Model::new(&training_device())).unwrap();
    let error = config.inject(model).unwrap_err();
    assert!(
        matches!(&error, LoraError::AdapterExists { adapter } if adapter == "default"),
        "{error}"
    );
}

#[test]
fn dropout_needs_a_factored_forward() {
    let with_dropout = |target: &str| config([target]).with_lora_dropout(0.1);
    let error = refused(&with_dropout("query"));
    assert!(matches!(&error, LoraError::DropoutUnsupported { kind, .. } if kind == "Linear"));
    assert!(error.to_string().contains("`LoraLinear`"), "{error}");
    let model = with_dropout("value")
        .inject(Model::new(&training_device()))
        .unwrap();
    let adapter = model.layers[0]
        .value
        .weight
        .reparameterization::<LoraAdapters>()
        .and_then(|adapters| adapters.get("default"))
        .unwrap();
    assert_eq!(adapter.dropout.prob, 0.1);
}

#[test]
fn a_rank_above_the_dimension_is_a_warning() {
    let config = config(["up"]).with_r(7);
    let model = Model::new(&training_device());
    let plan = config.plan(&model).unwrap();
    assert_eq!(plan.warnings.len(), 2);
    assert!(
        plan.warnings[0].contains("layers.0.up, 6"),
        "{}",
        plan.warnings[0]
    );
    assert_eq!(
        ParameterReport::of(&config.inject(model).unwrap()).lora,
        2 * 7 * (WIDTH + INNER)
    );
    assert!(
        config
            .with_r(6)
            .plan(&Model::new(&training_device()))
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn a_saved_name_that_means_nothing_is_an_error() {
    let error = refused(&config(["query"]).with_modules_to_save(["clasifier"])).to_string();
    assert!(
        error.contains("`modules_to_save`: \"clasifier\""),
        "{error}"
    );
    assert!(error.contains("classifier"), "{error}");
    // PEFT writes both names it knows for a head, though a model has one of them.
    let written = config(["query"])
        .with_task_type(TaskType::SequenceClassification)
        .with_modules_to_save(["classifier", "score"]);
    let plan = written.plan(&Model::new(&training_device())).unwrap();
    assert_eq!(plan.saved_modules, ["classifier"]);
}

#[test]
fn a_plan_lists_what_it_matches() {
    let config = config(["query", "absent"]).with_modules_to_save(["classifier"]);
    let plan = config.plan(&Model::new(&training_device())).unwrap();
    assert_eq!(plan.adapter_count(), 2);
    assert_eq!(plan.patterns[0].1, ["layers.0.query", "layers.1.query"]);
    let text = plan.to_string();
    assert!(
        text.contains("query: 2 modules, layers.0.query … layers.1.query"),
        "{text}"
    );
    assert!(text.contains("absent: nothing"), "{text}");
    assert!(text.contains("trained in full: classifier"), "{text}");
}

#[test]
fn a_plan_for_all_linear_layers_is_one_line() {
    let all = config("all-linear").with_task_type(TaskType::SequenceClassification);
    let plan = all.plan(&Model::new(&training_device())).unwrap();
    let [(pattern, modules)] = plan.patterns.as_slice() else {
        panic!("{plan}")
    };
    assert_eq!(
        (pattern.as_str(), modules.len()),
        ("all-linear", plan.adapter_count())
    );
    assert!(plan.to_string().contains("\n  all-linear: "), "{plan}");
}

#[derive(Module, Debug)]
struct Lazy {
    dense: Linear,
    optional: Option<Linear>,
    pair: (Linear, Linear),
    array: [Linear; 2],
    dropout: Dropout,
    scale: Param<Tensor<1>>,
}

#[test]
fn every_shape_of_module_is_traversed() {
    let device = training_device();
    let linear = || LinearConfig::new(4, 4).init(&device);
    let model = Lazy {
        dense: linear(),
        optional: Some(linear()),
        pair: (linear(), linear()),
        array: [linear(), linear()],
        dropout: DropoutConfig::new(0.5).init(),
        scale: Param::from_tensor(Tensor::ones([1], &device)),
    };
    let model = config("all-linear").inject(model).unwrap();
    let report = ParameterReport::of(&model);
    assert_eq!(report.lora, 6 * 2 * 2 * 4);
    assert_eq!(report.frozen, 6 * (4 * 4 + 4) + 1);
    assert_eq!(model.dropout.prob, 0.5);
}

#[test]
fn a_whole_path_in_the_list_is_meant_in_any_layer() {
    // PEFT checks the layer of a name that matches as a suffix only.
    let modules = injected(
        &config(["layers.0.query", "value"])
            .with_layers_to_transform(1)
            .with_layers_pattern("layers"),
    );
    assert_eq!(modules, ["layers.0.query", "layers.1.value"]);
}

#[test]
fn parameters_of_any_number_of_dimensions_are_frozen_or_copied() {
    #[derive(Module, Debug)]
    struct Kernel<const D: usize> {
        weight: Param<Tensor<D>>,
    }
    #[derive(Module, Debug)]
    struct Network {
        dense: Linear,
        first: Kernel<5>,
        second: Kernel<8>,
    }
    let device = training_device();
    let model = Network {
        dense: LinearConfig::new(2, 2).with_bias(false).init(&device),
        first: Kernel {
            weight: Param::from_tensor(Tensor::ones([2, 1, 1, 1, 1], &device)),
        },
        second: Kernel {
            weight: Param::from_tensor(Tensor::ones([3, 1, 1, 1, 1, 1, 1, 1], &device)),
        },
    };
    let frozen = config(["dense"]).inject(model.clone()).unwrap();
    let factors = ["dense.lora_A.weight", "dense.lora_B.weight"];
    assert_eq!(trainable(&frozen), factors);
    let copied = config(["dense"]).with_modules_to_save(["first", "second"]);
    let copied = copied.inject(model).unwrap();
    let names = [&factors[..], &["first.weight", "second.weight"]].concat();
    assert_eq!(trainable(&copied), names);
    let loss = copied.first.weight.val().sum() + copied.second.weight.val().sum();
    let gradients = loss.backward();
    assert_eq!(with_gradient(&copied, &gradients), &names[2..]);
    let copies = copied.unload().unwrap();
    assert!(!copies.first.weight.val().is_require_grad());
}

#[test]
fn the_report_says_what_trains_at_the_moment() {
    let config = config(["query"]).with_modules_to_save(["classifier"]);
    let model = config.inject(Model::new(&training_device())).unwrap();
    let report = ParameterReport::of(&model);
    // As LoRA-FA does it.
    let all = parameters(&model).into_iter();
    let paths = all.filter(|p| p.role == Role::LoraA).map(|p| p.path);
    let group = ParamGroup::from_paths(paths.collect());
    let frozen = ParameterReport::of(&model.clone().set_require_grad_group(group, false));
    let a = 2 * 2 * WIDTH;
    assert_eq!(frozen.lora, report.lora - a);
    assert_eq!(frozen.frozen, report.frozen + a);
    assert_eq!(frozen.peft_all(), report.peft_all());
    // An original that is set to train does not, as long as a copy is in its place.
    let everything = ParameterReport::of(&model.set_require_grad(true));
    let head = WIDTH * CLASSES + CLASSES;
    assert_eq!(everything.replaced, head);
    assert_eq!((everything.frozen, everything.total()), (0, report.total()));
}
