//! Adapters that took their start out of the base, as plain LoRA of the original.

use std::path::Path;

use burn::module::Module;
use lora_core::state::{Role, values};
use lora_core::tensor_file::TensorFile;
use lora_core::{InitLoraWeights, LoraConfig, LoraError, LoraModule};

use super::{Layers, bits, path, starting, tensor, with_table};
use lora_core_tests::{difference, fill_adapters};

/// The folder that the adapter converts to.
fn converted<M: LoraModule>(model: &M, name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    model
        .save_adapter_as_lora(name, folder.path(), false)
        .unwrap();
    folder
}

fn keys(folder: &Path) -> Vec<(String, Vec<usize>)> {
    let file = TensorFile::open(folder.join("adapter_model.safetensors")).unwrap();
    let mut names = file.names();
    names.sort();
    let shape = |name: &String| file.shape(name).unwrap().to_vec();
    names
        .iter()
        .map(|name| (name.clone(), shape(name)))
        .collect()
}

#[test]
fn is_pefts_conversion() {
    for case in ["pissa", "pissa-rslora", "olora"] {
        let peft = path(case).join("converted");
        let model = Layers::base();
        let model = model
            .load_adapter("trained", path(case).join("trained"))
            .unwrap();
        let folder = converted(&model, "trained");
        assert_eq!(keys(folder.path()), keys(&peft), "{case}");
        let config = |folder: &Path| LoraConfig::from_file(folder).unwrap();
        assert_eq!(config(folder.path()), config(&peft), "{case}");
        let expected = tensor(&format!("{case}/output.safetensors"), "output");
        for folder in [folder.path(), &peft] {
            let plain = Layers::base().load_adapter("plain", folder).unwrap();
            assert_eq!(bits(&plain), bits(&Layers::base()), "{case}");
            let off = difference(&plain.output(), &expected);
            assert!(off < 1e-5, "{case}: {off}");
        }
    }
}

#[test]
fn what_was_trained_in_full_and_magnitudes_are_kept() {
    let config = starting(InitLoraWeights::Pissa).with_target_modules(["first", "second"]);
    let config = config.with_use_dora(true).with_modules_to_save(["third"]);
    let model = fill_adapters(config.inject(Layers::base()).unwrap());
    let folder = converted(&model, "default");
    let plain = Layers::base().load_adapter("plain", folder.path()).unwrap();
    assert!(difference(&plain.output(), &model.output()) < 1e-5);
    let magnitudes = values(&plain, |info| info.role == Role::Magnitude);
    assert_eq!(magnitudes.len(), 2);
}

#[test]
fn an_embedding_beside_it_keeps_its_update() {
    let config = starting(InitLoraWeights::Olora).with_target_modules(["table", "dense"]);
    let base = with_table();
    let model = fill_adapters(config.inject(base.clone()).unwrap());
    let folder = converted(&model, "default");
    let plain = base.load_adapter("plain", folder.path()).unwrap();
    assert_eq!(plain.adapter_config("plain").unwrap().r, 8);
    for (ours, theirs) in [
        (&plain.table.weight, &model.table.weight),
        (&plain.dense.weight, &model.dense.weight),
    ] {
        assert!(difference(&ours.val(), &theirs.val()) < 1e-5);
    }
}

#[test]
fn works_in_every_state_of_the_adapter() {
    let config = starting(InitLoraWeights::Pissa);
    let model = fill_adapters(config.inject(Layers::base()).unwrap());
    let plain = |model: &Layers| {
        let folder = converted(model, "default");
        Layers::base()
            .load_adapter("plain", folder.path())
            .unwrap()
            .output()
    };
    let expected = model.output();
    for model in [
        model.clone().merge().unwrap(),
        model.clone().disable_adapters().unwrap(),
        model.clone().set_active(&[]).unwrap(),
        model.valid().train(),
        model,
    ] {
        assert!(difference(&plain(&model), &expected) < 1e-5);
    }
}

#[test]
fn adapters_without_such_a_form_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |config: LoraConfig| {
        let model = config.inject(Layers::base()).unwrap();
        let error = model
            .save_adapter_as_lora("default", folder.path(), false)
            .unwrap_err();
        assert!(matches!(error, LoraError::NotConvertible { .. }), "{error}");
        error.to_string()
    };
    for init in [
        InitLoraWeights::Kaiming,
        InitLoraWeights::Orthogonal,
        InitLoraWeights::Eva,
    ] {
        assert!(refused(starting(init)).contains("did not change the base"));
    }
    let loftq = starting(InitLoraWeights::LoftQ).with_loftq_config(Default::default());
    assert!(refused(loftq).contains("quantized"));
    let rslora = starting(InitLoraWeights::Pissa).with_use_rslora(true);
    assert!(refused(rslora.with_rank_pattern("first", 2)).contains("`use_rslora`"));
    assert!(folder.path().read_dir().unwrap().next().is_none());
    let model = starting(InitLoraWeights::Pissa)
        .inject(Layers::base())
        .unwrap();
    let error = model
        .save_adapter_as_lora("other", folder.path(), false)
        .unwrap_err();
    assert!(matches!(error, LoraError::NoAdapter { .. }), "{error}");
    std::fs::write(folder.path().join("something"), "").unwrap();
    let error = model
        .save_adapter_as_lora("default", folder.path(), false)
        .unwrap_err();
    assert!(matches!(error, LoraError::AlreadyExists { .. }), "{error}");
    model
        .save_adapter_as_lora("default", folder.path(), true)
        .unwrap();
}
