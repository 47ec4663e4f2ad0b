//! The base of an adapter that took its start out of it: always the right one of the two.

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Tensor;
use lora_core::{
    Combination, CombinationType, InitLoraWeights, LoftQConfig, LoraConfig, LoraError, LoraModule,
};

use super::{LAYERS, Layers, bits, path, starting, tensor};
use lora_core_tests::{difference, fill_adapters, normal, training_device};

/// Every initialisation that changes the base.
fn changing() -> [LoraConfig; 4] {
    [
        starting(InitLoraWeights::Pissa),
        starting(InitLoraWeights::PissaNiter(2)).with_use_dora(true),
        starting(InitLoraWeights::Olora),
        starting(InitLoraWeights::LoftQ).with_loftq_config(LoftQConfig::new().with_loftq_bits(2)),
    ]
}

fn plain() -> LoraConfig {
    starting(InitLoraWeights::Random).with_target_modules(["first", "third"])
}

#[test]
fn unloading_and_deleting_give_the_original_back() {
    for config in changing() {
        let base = Layers::base();
        let before = bits(&base);
        let model = fill_adapters(config.inject(base).unwrap());
        assert_ne!(bits(&model), before);
        let turned = model.valid().train().fork(&training_device());
        for model in [model.clone(), turned, model.clone().merge().unwrap()] {
            assert_eq!(bits(&model.unload().unwrap()), before);
        }
        let deleted = model.delete_adapter("default").unwrap();
        assert_eq!(bits(&deleted), before);
        assert!(deleted.adapter_names().is_empty());
    }
}

#[test]
fn disabling_gives_the_original_and_enabling_the_rest() {
    for config in changing() {
        let base = Layers::base();
        let (before, output) = (bits(&base), base.output());
        let model = fill_adapters(config.inject(base).unwrap());
        let rest = bits(&model);
        let plain = model.with_adapters_disabled(Layers::output).unwrap();
        assert_eq!(difference(&plain, &output), 0.0);
        let disabled = model.clone().disable_adapters().unwrap();
        assert_eq!(bits(&disabled), before);
        assert_eq!(bits(&disabled.clone().unload().unwrap()), before);
        let enabled = disabled.enable_adapters().unwrap();
        assert_eq!(bits(&enabled), rest);
        assert_eq!(difference(&enabled.output(), &model.output()), 0.0);
    }
}

#[test]
fn an_inactive_adapter_leaves_the_others_the_original() {
    for config in changing() {
        let base = Layers::base();
        let before = bits(&base);
        let alone = plain().inject(base.clone()).unwrap();
        let both = alone.clone().add_adapter("late", &config).unwrap();
        assert_eq!(bits(&both), before);
        assert_eq!(difference(&both.output(), &alone.output()), 0.0);
        let late = both.clone().set_active(&["late"]).unwrap();
        let expected = base.clone().add_adapter("late", &config).unwrap();
        if config.init_lora_weights != InitLoraWeights::PissaNiter(2) {
            assert_eq!(bits(&late), bits(&expected));
            assert_eq!(difference(&late.output(), &expected.output()), 0.0);
        }
        let back = late.set_active(&["default"]).unwrap();
        assert_eq!(bits(&back), before);
        let deleted = both.set_active(&["default", "late"]).unwrap();
        let deleted = deleted.delete_adapter("late").unwrap();
        assert_eq!(bits(&deleted), before);
        assert_eq!(difference(&deleted.output(), &alone.output()), 0.0);
    }
}

#[test]
fn merging_is_into_the_base_that_the_adapters_need() {
    for config in changing() {
        let base = Layers::base();
        let before = bits(&base);
        let plain = plain().with_target_modules(LAYERS);
        let model = base.add_adapter("late", &config).unwrap();
        let model = fill_adapters(model.add_adapter("plain", &plain).unwrap());
        let rest = bits(&model);
        let of = |names: &[&str]| model.clone().set_active(names).unwrap().output();
        let near = |merged: &Layers, output: Tensor<2>| {
            let off = difference(&merged.output(), &output);
            assert!(off < 1e-4, "{config:?}: {off}");
        };
        // DoRA's norms depend on the order of merging, which is another matter.
        let adds_up = !config.use_dora;
        for names in [&["plain"][..], &["late"], &["plain", "late"]] {
            if names.len() > 1 && !adds_up {
                continue;
            }
            let merged = model.clone().merge_adapters(names).unwrap();
            near(&merged, of(names));
            assert_eq!(bits(&merged.clone().unmerge().unwrap()), rest);
            assert_eq!(bits(&merged.unload().unwrap()), before);
        }
        if adds_up {
            let steps = model.clone().merge_adapters(&["plain"]).unwrap();
            let steps = steps.merge_adapters(&["late"]).unwrap();
            near(&steps, of(&["plain", "late"]));
            assert_eq!(bits(&steps.unmerge().unwrap()), rest);
            let last = model.clone().merge_adapters(&["plain"]).unwrap();
            near(&last.merge_and_unload().unwrap(), of(&["plain", "late"]));
        }
        let chosen = model.clone().set_active(&["plain"]).unwrap();
        near(&chosen.merge_and_unload().unwrap(), of(&["plain"]));
        // Choosing while merged takes effect when it is taken out.
        let merged = model.clone().merge_adapters(&["plain"]).unwrap();
        let merged = merged.set_active(&["plain"]).unwrap();
        near(&merged, of(&["plain"]));
        assert_eq!(bits(&merged.unmerge().unwrap()), before);
    }
}

#[test]
fn a_weight_has_one_start_taken_out() {
    let model = changing()[0].inject(Layers::base()).unwrap();
    for config in changing() {
        let error = model.clone().add_adapter("second", &config).unwrap_err();
        assert!(
            matches!(&error, LoraError::BaseTaken { adapter, .. } if adapter == "default"),
            "{error}"
        );
    }
    let merged = plain().inject(Layers::base()).unwrap().merge().unwrap();
    let error = merged.add_adapter("late", &changing()[0]).unwrap_err();
    assert!(matches!(error, LoraError::AdapterMerged { .. }), "{error}");
}

#[test]
fn a_record_of_the_same_base_is_loaded_and_of_another_is_noticed() {
    let config = starting(InitLoraWeights::Pissa);
    let trained = fill_adapters(config.inject(Layers::base()).unwrap());
    let record = || {
        let bytes = trained.clone().into_record().into_bytes().unwrap();
        ModuleRecord::from_bytes(bytes).unwrap()
    };
    let same = config.inject(Layers::base()).unwrap().load_record(record());
    assert_eq!(difference(&same.output(), &trained.output()), 0.0);
    assert_eq!(bits(&same.unload().unwrap()), bits(&Layers::base()));

    let other = config.inject(Layers::new(&training_device())).unwrap();
    let other = other.load_record(record());
    assert_eq!(difference(&other.output(), &trained.output()), 0.0);
    let folder = tempfile::tempdir().unwrap();
    for error in [
        other.clone().unload().unwrap_err(),
        other.clone().delete_adapter("default").unwrap_err(),
        other.clone().disable_adapters().unwrap_err(),
        other
            .save_adapter_as_lora("default", folder.path(), false)
            .unwrap_err(),
    ] {
        assert!(matches!(error, LoraError::BaseReplaced { .. }), "{error}");
    }
    // Merging needs nothing of the original.
    let merged = other.merge_and_unload().unwrap();
    assert!(difference(&merged.output(), &trained.output()) < 1e-5);
}

#[test]
fn calls_that_need_the_original_beside_the_rest_are_refused() {
    let model = starting(InitLoraWeights::Olora)
        .inject(Layers::base())
        .unwrap();
    let model = model.add_adapter("plain", &plain()).unwrap();
    let error = model.for_rows(&["default", "plain"]).unwrap_err();
    assert!(matches!(error, LoraError::StartTaken { .. }), "{error}");
    let combination = Combination::new(CombinationType::Cat);
    let both = [("default", 1.0), ("plain", 1.0)];
    let error = model
        .clone()
        .add_weighted_adapter("both", &both, &combination)
        .unwrap_err();
    assert!(matches!(error, LoraError::StartTaken { .. }), "{error}");
    // The plain one by itself is no concern of theirs.
    let own = [("plain", 0.5)];
    assert!(
        model
            .add_weighted_adapter("half", &own, &combination)
            .is_ok()
    );
}

#[test]
fn only_an_adapter_with_the_same_start_is_swapped_in() {
    let swap = |config: LoraConfig, case: &str| {
        let model = config.inject(Layers::base()).unwrap();
        model.hotswap_adapter("default", path(case).join("trained"))
    };
    let of = |case: &str| LoraConfig::from_file(path(case).join("trained")).unwrap();
    for case in ["pissa", "olora", "loftq-4"] {
        let swapped = swap(of(case), case).unwrap();
        let expected = tensor(&format!("{case}/output.safetensors"), "output");
        assert!(difference(&swapped.output(), &expected) < 1e-5, "{case}");
    }
    let refused = |config, case| {
        let error = swap(config, case).unwrap_err().to_string();
        assert!(error.contains("`init_lora_weights`"), "{case}: {error}");
    };
    refused(of("olora"), "pissa");
    refused(
        of("pissa").with_init_lora_weights(InitLoraWeights::Kaiming),
        "pissa",
    );
    refused(of("olora").with_lora_alpha(2.0), "olora");
    refused(of("loftq-4-alternating"), "loftq-4");
    refused(of("pissa-niter"), "pissa-niter");
    // PiSSA takes the same out whatever the scaling is.
    assert!(swap(of("pissa").with_lora_alpha(2.0), "pissa").is_ok());
}

#[test]
fn only_the_adapter_gets_gradients() {
    for config in changing() {
        let model = config.inject(Layers::base()).unwrap();
        let x = normal([3, 12], &training_device());
        let gradients = model.forward(x).square().sum().backward();
        let names = lora_core_tests::with_gradient(&model, &gradients);
        assert!(names.iter().all(|name| name.contains("lora_")), "{names:?}");
        let factors = names.iter().filter(|name| !name.contains("magnitude"));
        assert_eq!(factors.count(), 2 * 3);
    }
}
