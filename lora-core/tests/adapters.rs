//! Several adapters on one base: switching, scaling, disabling, merging and taking them off.

use burn::module::Module;
use burn::tensor::{FloatDType, Tensor};
use lora_core::state::{Role, parameters, values};
use lora_core::{Bias, LoraAdapters, LoraConfig, LoraError, LoraModule, ParameterReport};
use lora_core_tests::{
    CLASSES, Model, WIDTH, difference, fill_adapters, trainable, training_device,
};

fn config(targets: &[&str]) -> LoraConfig {
    let targets: Vec<String> = targets.iter().map(|t| t.to_string()).collect();
    LoraConfig::new()
        .with_r(2)
        .with_lora_alpha(6.0)
        .with_target_modules(targets)
}

/// A base with the adapters `one` (query, value, embed) and `two` (query, down), not zero.
fn two() -> Model {
    let model = Model::new(&training_device())
        .add_adapter("one", &config(&["query", "value", "embed"]))
        .unwrap()
        .add_adapter("two", &config(&["query", "down"]).with_use_dora(true))
        .unwrap();
    fill_adapters(model)
}

fn on(model: &Model) -> Tensor<2> {
    model.on(&training_device())
}

fn bits(model: &Model) -> Vec<(String, Vec<u32>)> {
    values(model, |info| info.role == Role::Base)
        .into_iter()
        .map(|(info, data)| (info.path, data.iter::<f32>().map(f32::to_bits).collect()))
        .collect()
}

#[test]
fn the_first_adapter_is_active_and_the_others_wait() {
    let model = two();
    assert_eq!(model.adapter_names(), ["one", "two"]);
    assert_eq!(model.active_adapters(), ["one"]);
    assert!(trainable(&model).iter().all(|name| name.contains("lora_")));
    let of = |model: &Model, trained: bool| {
        let all = parameters(model).into_iter();
        let mut names: Vec<_> = all
            .filter(|p| p.trainable == trained)
            .filter_map(|p| p.adapter)
            .collect();
        names.dedup();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(
        (of(&model, true), of(&model, false)),
        (vec!["one".into()], vec!["two".into()])
    );
    let model = model.set_active(&["two"]).unwrap();
    assert_eq!(
        (of(&model, true), of(&model, false)),
        (vec!["two".into()], vec!["one".into()])
    );
    let model = model.set_adapter_require_grad("one", true).unwrap();
    assert_eq!(of(&model, true), ["one", "two"]);
}

#[test]
fn each_adapter_alone_is_as_if_the_other_were_not_there() {
    let model = two();
    for (name, other) in [("one", "two"), ("two", "one")] {
        let active = on(&model.clone().set_active(&[name]).unwrap());
        let alone = model.clone().delete_adapter(other).unwrap();
        assert_eq!(alone.adapter_names(), [name]);
        let alone = on(&alone.set_active(&[name]).unwrap());
        assert_eq!(difference(&active, &alone), 0.0, "{name}");
    }
}

#[test]
fn active_adapters_add_up() {
    let model = Model::new(&training_device())
        .add_adapter("one", &config(&["query", "value"]))
        .and_then(|model| model.add_adapter("two", &config(&["value", "down"])))
        .map(fill_adapters)
        .unwrap();
    let both = model.clone().set_active(&["one", "two"]).unwrap();
    let weight = &both.layers[0].value.weight;
    let adapters = weight.reparameterization::<LoraAdapters>().unwrap();
    let delta = |name| adapters.get(name).unwrap().delta();
    let sum = weight.base() + delta("one") + delta("two");
    assert!(difference(&weight.val(), &sum) < 1e-6);
    // The factored forward and the merged one say the same.
    let merged = both.clone().merge_and_unload().unwrap();
    assert!(difference(&on(&both), &on(&merged)) < 1e-5);
    assert!(difference(&on(&both), &on(&model)) > 1e-3);
}

#[test]
fn disabled_adapters_leave_the_base() {
    let base = Model::new(&training_device());
    let config = config(&["query", "value"]).with_modules_to_save(["classifier", "norm"]);
    let model = fill_adapters(config.inject(base.clone()).unwrap());
    let model = trained(model);
    assert!(difference(&on(&base), &on(&model)) > 1e-3);
    let plain = model.with_adapters_disabled(on).unwrap();
    assert_eq!(difference(&on(&base), &plain), 0.0);
    let disabled = model.clone().disable_adapters().unwrap();
    assert_eq!(difference(&on(&base), &on(&disabled)), 0.0);
    let enabled = disabled.enable_adapters().unwrap();
    assert_eq!(difference(&on(&model), &on(&enabled)), 0.0);
}

/// One optimizer step, so that copies of modules differ from their originals.
fn trained(model: Model) -> Model {
    use burn::optim::{GradientsParams, SgdConfig};
    let gradients = on(&model).square().sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    SgdConfig::new().init().step(0.1, model, gradients)
}

#[test]
fn merging_is_undone_bit_for_bit() {
    let model = two().set_active(&["one", "two"]).unwrap();
    let (output, before) = (on(&model), bits(&model));
    let merged = model.clone().merge().unwrap();
    assert_ne!(bits(&merged), before);
    assert!(difference(&output, &on(&merged)) < 1e-5);
    // Merging again adds nothing.
    let again = merged.clone().merge().unwrap();
    assert_eq!(bits(&again), bits(&merged));
    // It survives a turn in validation mode.
    let unmerged = merged.valid().train().unmerge().unwrap();
    assert_eq!(bits(&unmerged), before);
    assert_eq!(difference(&output, &on(&unmerged)), 0.0);
    assert_eq!(trainable(&unmerged), trainable(&model));
    // What is merged cannot be changed until it is taken out.
    let error = merged.clone().delete_adapter("one").unwrap_err();
    assert!(matches!(error, LoraError::AdapterMerged { .. }), "{error}");
    assert!(merged.clone().set_scale("one", 2.0).is_err());
    // Disabling takes it out.
    let disabled = merged.disable_adapters().unwrap();
    assert_eq!(bits(&disabled), before);
}

#[test]
fn adapters_are_merged_by_choice_and_one_after_the_other() {
    let model = two().set_active(&["one", "two"]).unwrap();
    let step = model.clone().merge_adapters(&["one"]).unwrap();
    let step = step.merge_adapters(&["two"]).unwrap();
    let at_once = model.clone().merge().unwrap();
    assert!(difference(&on(&step), &on(&at_once)) < 1e-5);
    assert_eq!(bits(&step.unmerge().unwrap()), bits(&model));
    assert!(model.merge_adapters(&["three"]).is_err());
}

#[test]
fn unloading_gives_the_base_back() {
    let base = Model::new(&training_device());
    let before = bits(&base);
    let config = config(&["query", "embed"]).with_modules_to_save(["classifier"]);
    let model = trained(fill_adapters(config.inject(base.clone()).unwrap()));
    for model in [model.clone(), model.merge().unwrap()] {
        let unloaded = model.unload().unwrap();
        assert_eq!(bits(&unloaded), before);
        assert!(unloaded.adapter_names().is_empty());
    }
    assert!(matches!(base.unload().unwrap_err(), LoraError::NotInjected));
}

#[test]
fn a_scale_of_zero_is_off_and_of_one_is_as_trained() {
    let model = two();
    let off = model.clone().set_scale("one", 0.0).unwrap();
    let plain = model.with_adapters_disabled(on).unwrap();
    assert_eq!(difference(&on(&off), &plain), 0.0);
    let on_again = off.set_scale("one", 1.0).unwrap();
    assert_eq!(difference(&on(&on_again), &on(&model)), 0.0);
    let half = model.clone().set_scale("one", 0.5).unwrap();
    let adapters = half.layers[0]
        .query
        .weight
        .reparameterization::<LoraAdapters>();
    assert_eq!(adapters.unwrap().get("one").unwrap().scaling, 1.5);
}

#[test]
fn each_adapter_has_its_copy_of_a_saved_module() {
    let saving = |module: &str| config(&["query"]).with_modules_to_save([module]);
    let model = Model::new(&training_device())
        .add_adapter("one", &saving("classifier"))
        .and_then(|model| model.add_adapter("two", &saving("classifier")))
        .and_then(|model| model.add_adapter("three", &saving("1.norm")))
        .map(fill_adapters)
        .unwrap();
    let untouched = on(&model.clone().set_active(&["two"]).unwrap());
    let one = trained(model);
    let report = ParameterReport::of(&one);
    let head = WIDTH * CLASSES + CLASSES;
    // What is trained is the active adapter's.
    assert_eq!(report.saved, head);
    assert_eq!(report.replaced, head + 2 * WIDTH);
    // Training the first left the second's copy alone.
    let two = on(&one.clone().set_active(&["two"]).unwrap());
    assert_eq!(difference(&two, &untouched), 0.0);
    assert!(one.clone().set_active(&["one", "three"]).is_ok());
    let error = one.clone().set_active(&["one", "two"]).unwrap_err();
    assert!(
        matches!(&error, LoraError::SavedByBoth { adapters, .. } if adapters == &["one", "two"]),
        "{error}"
    );
    // The active one's copy is what stays.
    let merged = one.clone().merge_and_unload().unwrap();
    assert!(difference(&on(&merged), &on(&one)) < 1e-5);
}

#[test]
fn a_parameter_is_adapted_or_copied_not_both() {
    let base = || Model::new(&training_device());
    let adapting = config(&["classifier", "query"]);
    let saving = config(&["query"]).with_modules_to_save(["classifier"]);
    for (first, second) in [(&adapting, &saving), (&saving, &adapting)] {
        let model = base().add_adapter("one", first).unwrap();
        let error = model.add_adapter("two", second).unwrap_err();
        assert!(
            matches!(&error, LoraError::AdaptedAndSaved { parameter, adapter }
                if parameter == "classifier.weight" && adapter == "one"),
            "{error}"
        );
    }
}

#[test]
fn names_come_in_the_order_of_adding() {
    // The later adapters are on weights that come first in the module.
    let model = Model::new(&training_device())
        .add_adapter("first", &config(&["down"]))
        .and_then(|model| model.add_adapter("second", &config(&["query"])))
        .and_then(|model| model.add_adapter("third", &config(&["embed", "down"])))
        .unwrap();
    assert_eq!(model.adapter_names(), ["first", "second", "third"]);
}

#[test]
fn the_report_counts_what_is_trained() {
    let report = ParameterReport::of(&two());
    let alone = ParameterReport::of(&two().delete_adapter("two").unwrap());
    assert_eq!(report.lora, alone.lora);
    let both = two().set_active(&["one", "two"]).unwrap();
    assert!(ParameterReport::of(&both).lora > report.lora);
    assert_eq!(ParameterReport::of(&both).total(), report.total());
}

#[test]
fn biases_are_trained_in_place_by_one_adapter_only() {
    let with = |bias| config(&["query"]).with_bias(bias);
    let model = with(Bias::LoraOnly)
        .inject(Model::new(&training_device()))
        .unwrap();
    let biases = |model: &Model| -> Vec<String> {
        let names = trainable(model).into_iter();
        names.filter(|name| name.ends_with(".bias")).collect()
    };
    assert_eq!(
        biases(&model),
        ["layers.0.query.bias", "layers.1.query.bias"]
    );
    let error = model.add_adapter("second", &with(Bias::None)).unwrap_err();
    assert!(matches!(error, LoraError::BiasShared { .. }), "{error}");
    let all = with(Bias::All)
        .inject(Model::new(&training_device()))
        .unwrap();
    // query, value, norm and down in each layer (`up` has none), and the classifier.
    assert_eq!(biases(&all).len(), 2 * 4 + 1);
    assert_eq!(ParameterReport::of(&all).bias, 2 * 4 * WIDTH + CLASSES);
    let error = two().add_adapter("third", &with(Bias::All)).unwrap_err();
    assert!(error.to_string().contains("`bias`"), "{error}");
}

#[test]
fn names_are_checked() {
    let base = || Model::new(&training_device());
    for name in ["", "a.b", "__base__"] {
        let error = base().add_adapter(name, &config(&["query"])).unwrap_err();
        assert!(matches!(error, LoraError::AdapterName { .. }), "{error}");
    }
    let error = two().set_active(&["three"]).unwrap_err().to_string();
    assert!(error.contains("\"three\"; it has one, two"), "{error}");
    assert!(two().delete_adapter("three").is_err());
    assert!(two().set_scale("three", 1.0).is_err());
    assert!(matches!(
        base().merge().unwrap_err(),
        LoraError::NotInjected
    ));
    assert!(matches!(
        base().disable_adapters().unwrap_err(),
        LoraError::NotInjected
    ));
}

#[test]
fn the_last_adapter_can_be_deleted() {
    let before = bits(&two().unload().unwrap()).len();
    let model = two()
        .delete_adapter("one")
        .and_then(|m| m.delete_adapter("two"))
        .unwrap();
    assert!(model.adapter_names().is_empty());
    assert_eq!(parameters(&model).len(), before);
    let model = model.add_adapter("one", &config(&["value"])).unwrap();
    assert_eq!(model.active_adapters(), ["one"]);
}

#[test]
fn the_first_by_name_takes_the_place_of_the_only_active_one() {
    let model = Model::new(&training_device())
        .add_adapter("c", &config(&["query"]))
        .and_then(|m| m.add_adapter("b", &config(&["query"])))
        .and_then(|m| m.add_adapter("a", &config(&["value"])))
        .unwrap();
    let deleted = |model: &Model, name| model.clone().delete_adapter(name).unwrap();
    let left = deleted(&model, "c");
    assert_eq!(left.active_adapters(), ["a"]);
    assert!(trainable(&left).iter().all(|name| name.contains(".value.")));
    // Nothing changes if another is active, or the deleted one is not.
    let both = model.clone().set_active(&["b", "c"]).unwrap();
    assert_eq!(deleted(&both, "b").active_adapters(), ["c"]);
    assert_eq!(deleted(&model, "a").active_adapters(), ["c"]);
}

#[test]
fn an_adapter_is_swapped_for_one_of_its_kind_only() {
    let folder = tempfile::tempdir().unwrap();
    let base = || Model::new(&training_device());
    let plain = config(&["value"]);
    let model = || plain.inject(base()).unwrap();
    let swapped = |config: &LoraConfig, model: Model| {
        let other = config.inject(base()).unwrap();
        other.save_adapter("default", folder.path(), true).unwrap();
        model.hotswap_adapter("default", folder.path())
    };
    assert!(swapped(&plain, model()).is_ok());
    for (config, field) in [
        (
            plain.clone().with_lora_dropout(0.1),
            "`lora_dropout` is 0.1 in the folder and 0",
        ),
        (
            plain.clone().with_bias(Bias::All),
            "`bias` is All in the folder and None",
        ),
    ] {
        let error = swapped(&config, model()).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    let error = swapped(&plain, model().merge().unwrap()).unwrap_err();
    assert!(matches!(error, LoraError::AdapterMerged { .. }), "{error}");
}

#[test]
fn folders_are_loaded_beside_each_other_and_swapped() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let base = Model::new(&training_device());
    let small = config(&["query"]).with_modules_to_save(["classifier"]);
    let louder = small.clone().with_lora_alpha(12.0);
    for (folder, config) in folders.iter().zip([&small, &louder]) {
        let model = trained(fill_adapters(config.inject(base.clone()).unwrap()));
        model.save_adapter("default", folder.path(), false).unwrap();
    }
    let load = |name, folder: &tempfile::TempDir| base.clone().load_adapter(name, folder.path());
    let (first, second) = (
        load("a", &folders[0]).unwrap(),
        load("b", &folders[1]).unwrap(),
    );
    let both = first.clone().load_adapter("b", folders[1].path()).unwrap();
    assert_eq!(both.adapter_config("b").unwrap(), louder);
    assert_eq!(difference(&on(&both), &on(&first)), 0.0);
    let switched = both.set_active(&["b"]).unwrap();
    assert_eq!(difference(&on(&switched), &on(&second)), 0.0);
    let swapped = first.hotswap_adapter("a", folders[1].path()).unwrap();
    assert_eq!(difference(&on(&swapped), &on(&second)), 0.0);
    assert_eq!(swapped.adapter_config("a").unwrap(), louder);
    let error = load("a", &folders[0])
        .unwrap()
        .load_adapter("a", folders[1].path())
        .unwrap_err();
    assert!(matches!(error, LoraError::AdapterExists { .. }), "{error}");
}

#[test]
fn sums_are_made_in_f32_whatever_the_type() {
    let device = training_device();
    let model = fill_adapters(config(&["value"]).inject(Model::new(&device)).unwrap());
    let exact = model.clone().merge_and_unload().unwrap();
    let half = model.merge_and_unload_as(FloatDType::F16).unwrap();
    let weight = half.layers[1].value.weight.val();
    assert_eq!(FloatDType::from(weight.dtype()), FloatDType::F16);
    assert_eq!(FloatDType::from(half.shift.val().dtype()), FloatDType::F16);
    let rounded = exact.layers[1].value.weight.val().cast(FloatDType::F16);
    assert_eq!(
        difference(
            &weight.cast(FloatDType::F32),
            &rounded.cast(FloatDType::F32)
        ),
        0.0
    );
}

#[test]
fn records_and_devices_keep_every_adapter() {
    let device = training_device();
    let model = two().set_active(&["one", "two"]).unwrap();
    let output = on(&model);
    let bytes = model.clone().into_record().into_bytes().unwrap();
    let other = Model::new(&device)
        .add_adapter("one", &config(&["query", "value", "embed"]))
        .and_then(|m| m.add_adapter("two", &config(&["query", "down"]).with_use_dora(true)))
        .and_then(|m| m.set_active(&["one", "two"]))
        .unwrap();
    let record = burn::store::ModuleRecord::from_bytes(bytes).unwrap();
    assert_eq!(difference(&output, &on(&other.load_record(record))), 0.0);
    assert_eq!(difference(&output, &on(&model.clone().fork(&device))), 0.0);
    assert_eq!(model.fork(&device).adapter_names(), ["one", "two"]);
}
