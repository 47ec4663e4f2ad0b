//! The combinations that `scripts/make_weighted_cases.py` had PEFT make; it says what is in the
//! files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use lora_core::tensor_file::TensorFile;
use lora_core::{Combination, CombinationType, LoraModule, MajoritySignMethod, ModulePattern};
use serde::Deserialize;

use super::{MODULES, TYPES, adapter, assert_loads_again, base};
use lora_core_tests::{Model, difference, training_device};

const ADAPTERS: [&str; 8] = [
    "one",
    "two",
    "three",
    "wide",
    "patterned",
    "alike",
    "by_regex",
    "other_regex",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peft/weighted")
}

/// A base with PEFT's adapters.
fn peft() -> Model {
    ADAPTERS.iter().fold(base(), |model, name| {
        model.load_adapter(name, folder().join(name)).unwrap()
    })
}

#[derive(Deserialize)]
struct Case {
    adapters: Vec<(String, f64)>,
    combination_type: String,
    density: Option<f64>,
    majority_sign_method: Option<String>,
    svd_rank: Option<usize>,
    result: Expected,
}

#[derive(Deserialize)]
struct Expected {
    r: usize,
    lora_alpha: f64,
    target_modules: ModulePattern,
}

impl Case {
    fn combination(&self) -> Combination {
        let named = |kind: &&CombinationType| kind.name() == self.combination_type;
        let mut combination = Combination::new(*TYPES.iter().find(named).unwrap());
        if let Some(density) = self.density {
            combination = combination.with_density(density);
        }
        if let Some(rank) = self.svd_rank {
            combination = combination.with_svd_rank(rank);
        }
        match self.majority_sign_method.as_deref() {
            None => combination,
            Some("total") => combination.with_majority_sign_method(MajoritySignMethod::Total),
            Some("frequency") => {
                combination.with_majority_sign_method(MajoritySignMethod::Frequency)
            }
            Some(other) => panic!("no method {other}"),
        }
    }

    fn adapters(&self) -> Vec<(&str, f64)> {
        let adapters = self.adapters.iter();
        adapters.map(|(name, w)| (name.as_str(), *w)).collect()
    }
}

fn cases() -> BTreeMap<String, Case> {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn of_file(file: &TensorFile, key: &str) -> Option<Tensor<2>> {
    let shape = file.shape(key)?.to_vec();
    let data = file.read(key, &shape).unwrap()?;
    Some(Tensor::from_data(data, &training_device()))
}

#[test]
fn updates_and_factors_are_pefts() {
    let file = TensorFile::open(folder().join("combined.safetensors")).unwrap();
    let model = peft();
    let cases = cases();
    let covered = |kind: &CombinationType| {
        let mut cases = cases.values();
        cases.any(|case| case.combination_type == kind.name() && case.adapters.len() > 1)
    };
    assert!(TYPES.iter().all(covered));
    for (name, case) in &cases {
        let combined = model
            .clone()
            .add_weighted_adapter("new", &case.adapters(), &case.combination())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for module in MODULES {
            let expected = |part: &str| of_file(&file, &format!("{name}.{module}.{part}"));
            let at = format!("{name}, {module}");
            let Some(new) = adapter(&combined, module, "new") else {
                assert!(expected("delta").is_none(), "{at} is missing");
                continue;
            };
            assert_eq!(new.scaling, 1.0, "{at}");
            let update = expected("delta").unwrap_or_else(|| panic!("{at} is too much"));
            let off = difference(&new.delta(), &update);
            assert!(off < 1e-5, "{at}: {off}");
            // PEFT fills the factors with zeros up to the largest rank; here they have their own.
            let rank = new.rank();
            for (part, found, axis) in [("a", &new.a, 1), ("b", &new.b, 0)] {
                let Some(whole) = expected(part) else {
                    continue;
                };
                let full = whole.dims()[axis];
                let off = difference(&found.val(), &whole.clone().narrow(axis, 0, rank));
                assert!(off < 1e-5, "{at}, {part}: {off}");
                if rank < full {
                    let rest = whole.narrow(axis, rank, full - rank);
                    assert_eq!(rest.abs().max().into_scalar::<f32>(), 0.0, "{at}, {part}");
                }
            }
        }
    }
}

#[test]
fn configurations_are_pefts_and_folders_load() {
    let model = peft();
    for (name, case) in cases() {
        let combined = model
            .clone()
            .add_weighted_adapter("new", &case.adapters(), &case.combination())
            .unwrap();
        let config = combined.adapter_config("new").unwrap();
        assert_eq!(config.r, case.result.r, "{name}");
        assert_eq!(config.lora_alpha, case.result.lora_alpha, "{name}");
        let targets = match config.target_modules.clone().unwrap().0 {
            ModulePattern::Names(mut names) => {
                names.sort();
                ModulePattern::Names(names)
            }
            regex => regex,
        };
        // For one adapter, too, PEFT puts a regular expression in parentheses.
        assert_eq!(targets, case.result.target_modules, "{name}");
        assert_loads_again(&combined, "new");
    }
}
