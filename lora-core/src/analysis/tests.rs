//! Against numpy's figures, which scripts/make_analysis_cases.py recorded.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use serde::Deserialize;

use super::{ModuleUpdate, Subspace};
use crate::state::{Role, load_state, parameters};
use crate::{LoraConfig, LoraError, LoraLinear, LoraLinearConfig, LoraModule};

#[derive(Deserialize)]
struct Cases {
    weight: Vec<Vec<f32>>,
    adapters: Vec<Adapter>,
    similarities: Similarities,
}

#[derive(Deserialize)]
struct Adapter {
    a: Vec<Vec<f32>>,
    b: Vec<Vec<f32>>,
    scaling: f64,
    singular_values: Vec<f64>,
    norm: f64,
    effective_rank: f64,
    weight_norm: f64,
    along_update: f64,
    along_weight: f64,
    factor: f64,
}

#[derive(Deserialize)]
struct Similarities {
    a: Vec<Vec<f64>>,
    input: Vec<Vec<f64>>,
    output: Vec<Vec<f64>>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("../../tests/analysis/cases.json")).unwrap()
}

fn data(rows: &[Vec<f32>]) -> TensorData {
    TensorData::new(rows.concat(), [rows.len(), rows[0].len()])
}

fn updates(cases: &Cases) -> Vec<ModuleUpdate> {
    let update = |adapter: &Adapter| {
        ModuleUpdate::new(
            "query",
            &data(&adapter.a),
            &data(&adapter.b),
            adapter.scaling,
        )
        .unwrap()
    };
    cases.adapters.iter().map(update).collect()
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    let near = 1e-9 * expected.abs().max(1.0);
    assert!((found - expected).abs() < near, "{found} is not {expected}");
}

#[test]
fn spectra_and_norms_are_numpys() {
    let cases = cases();
    for (update, expected) in updates(&cases).iter().zip(&cases.adapters) {
        assert_eq!(update.rank(), expected.a.len());
        assert_eq!(update.shape(), [expected.b.len(), expected.a[0].len()]);
        assert_eq!(
            update.singular_values().len(),
            expected.singular_values.len()
        );
        for (found, expected) in update
            .singular_values()
            .iter()
            .zip(&expected.singular_values)
        {
            assert_near(*found, *expected);
        }
        assert_near(update.norm(), expected.norm);
        assert_near(update.effective_rank(), expected.effective_rank);
        let found = update.amplification(&data(&cases.weight), 0).unwrap();
        assert_near(found.weight_norm, expected.weight_norm);
        assert_near(found.update_norm, expected.norm);
        assert_near(found.along_update, expected.along_update);
        assert_near(found.along_weight, expected.along_weight);
        assert_near(found.factor.unwrap(), expected.factor);
        assert!(found.along_random > 0.0 && found.along_random < found.weight_norm);
    }
}

#[test]
fn similarities_are_numpys() {
    let cases = cases();
    let [one, other] = &updates(&cases)[..] else {
        panic!("two adapters")
    };
    let of = |subspace: fn(&ModuleUpdate) -> Subspace| {
        subspace(one).similarities(&subspace(other)).unwrap()
    };
    let found = [
        (of(ModuleUpdate::a_subspace), &cases.similarities.a),
        (of(ModuleUpdate::input_subspace), &cases.similarities.input),
        (
            of(ModuleUpdate::output_subspace),
            &cases.similarities.output,
        ),
    ];
    for (found, expected) in found {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.concat().into_iter().zip(expected.concat()) {
            assert_near(found, expected);
        }
    }
}

#[derive(Module, Debug)]
struct Pair {
    query: LoraLinear,
    value: LoraLinear,
}

/// With an adapter of another rank and scaling on each of its layers, both with an effect.
fn adapted(device: &Device) -> Pair {
    let layer = || LoraLinearConfig::new(6, 4).init(device);
    let pair = Pair {
        query: layer(),
        value: layer(),
    };
    let config = LoraConfig::new()
        .with_r(2)
        .with_lora_alpha(3.0)
        .with_rank_pattern("value", 3)
        .with_target_modules("all-linear");
    let pair = config.inject(pair).unwrap();
    let device = device.clone();
    load_state(pair, |info| {
        let shape: [usize; 2] = info.shape.clone().try_into().unwrap_or([1, 1]);
        let random = Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        Ok((info.role == Role::LoraB).then(|| random.into_data()))
    })
    .unwrap()
}

#[test]
fn an_adapter_is_the_same_in_a_module_and_in_its_folder() {
    let device = crate::default_device();
    device.seed(4);
    let pair = adapted(&device);
    let live = ModuleUpdate::of(&pair, "default").unwrap();
    let summary: Vec<_> = live
        .iter()
        .map(|update| (update.module(), update.rank(), update.scaling()))
        .collect();
    assert_eq!(summary, [("query", 2, 1.5), ("value", 3, 1.0)]);
    // What the layer adds to its output, and nothing else.
    let delta =
        pair.query.weight.val() - pair.clone().disable_adapters().unwrap().query.weight.val();
    let norm = delta.powi_scalar(2).sum().sqrt().into_scalar::<f32>();
    assert!(
        (f64::from(norm) - live[0].norm()).abs() < 1e-5,
        "{norm} {}",
        live[0].norm()
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter");
    pair.save_adapter("default", &path, false).unwrap();
    let kept = ModuleUpdate::from_adapter(&path).unwrap();
    assert_eq!(kept.len(), live.len());
    for (kept, live) in kept.iter().zip(&live) {
        assert_eq!(kept.module(), live.module());
        assert_eq!(kept.singular_values(), live.singular_values());
    }
    assert!(matches!(
        ModuleUpdate::of(&pair, "none"),
        Err(LoraError::NoAdapter { .. })
    ));
    assert!(parameters(&pair).iter().any(|info| info.is_lora()));
}

#[test]
fn loralibs_checkpoints_are_read_alone() {
    let case = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peft/loralib/");
        ModuleUpdate::from_loralib(format!("{folder}{name}"), 16.0)
    };
    let linear = case("linear.bin").unwrap();
    assert!(!linear.is_empty());
    for update in &linear {
        assert_eq!(update.scaling(), 16.0 / update.rank() as f64);
        assert!(update.norm() > 0.0, "{}", update.module());
    }
    let merged = case("merged.bin").unwrap();
    let numbered = |update: &ModuleUpdate| update.module().ends_with(".1");
    assert!(merged.iter().any(numbered), "{merged:?}");
    assert!(matches!(
        case("expected.safetensors"),
        Err(LoraError::Pickle { .. })
    ));
}
