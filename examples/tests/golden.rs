//! Every parity case of the repository passes, and the runner is able to fail.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use burn_lora_examples::golden::case::{Array, Values};
use burn_lora_examples::golden::files::Scratch;
use burn_lora_examples::golden::{Case, Report, run, run_all};
use lora_core::tensor_file::{Precision, TensorFile, write_tensors};

fn device() -> Device {
    lora_core::default_device().autodiff()
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora-models/tests/golden")
}

fn case(name: &str) -> Case {
    Case::open(&cases().join(name)).unwrap()
}

/// The one problem that the runner finds.
#[track_caller]
fn problem(case: &Case) -> String {
    let report = run(case, &device());
    assert!(!report.passed() && report.skipped.is_none(), "{report}");
    report.problems.join("\n")
}

fn values<'a>(case: &'a mut Case, name: &str) -> &'a mut Vec<f32> {
    match case.io.get_mut(name) {
        Some(Array {
            values: Values::Floats(values),
            ..
        }) => values,
        _ => panic!("no floats {name}"),
    }
}

#[test]
fn every_case_passes() {
    let mut names = Vec::new();
    let summary = run_all(&[cases()], &device(), |report| {
        assert!(report.passed(), "{report}");
        let expected = if report.case.ends_with("-base") {
            1
        } else {
            11
        };
        assert_eq!(report.parts.len(), expected, "{report}");
        names.push(report.case.clone());
    });
    assert_eq!((summary.failed, summary.skipped), (0, 0));
    assert_eq!(summary.passed, 26);
    assert!(
        names.contains(&"roberta-embedding".to_string()),
        "{names:?}"
    );
}

#[test]
fn a_change_of_any_result_is_seen() {
    let case = case("roberta-qv");
    let query = "roberta.encoder.layer.1.attention.self.query";
    let factor = format!("{query}.lora_B.weight");
    for (name, change) in [
        ("base.logits".to_string(), 3e-5),
        ("base.loss".to_string(), -3e-5),
        ("init.logits".to_string(), 3e-5),
        ("lora.logits".to_string(), 3e-5),
        ("lora.loss".to_string(), 3e-5),
        (format!("grad.{factor}"), 2e-4),
        ("grad.classifier.out_proj.bias".to_string(), -2e-4),
        ("train.losses".to_string(), 2e-4),
        ("trained.logits".to_string(), 2e-4),
        ("trained.loss".to_string(), 2e-4),
        (format!("trained.param.{factor}"), 2e-4),
        ("trained.param.classifier.dense.weight".to_string(), -2e-4),
        ("merged.logits".to_string(), 2e-4),
        (format!("merged.param.{query}.weight"), 2e-4),
        ("base.logits".to_string(), f32::NAN),
        (format!("trained.param.{factor}"), f32::NAN),
    ] {
        let mut changed = case.clone();
        values(&mut changed, &name)[1.min(case.io[&name].shape.iter().product::<usize>() - 1)] +=
            change;
        let problem = problem(&changed);
        assert!(
            problem.starts_with(&format!("{name} differs by")),
            "{problem}"
        );
        assert!(!problem.contains('\n'), "{problem}");
    }
}

#[test]
fn results_that_are_missing_or_too_many_are_seen() {
    let case = case("roberta-qv");
    let removed = |name: &str| {
        let mut case = case.clone();
        case.io.remove(name).unwrap();
        problem(&case)
    };
    assert!(removed("base.logits").contains("has no base.logits"));
    assert!(removed("grad.classifier.dense.bias").contains("parameters with a gradient: expected"));
    assert!(removed("trained.param.classifier.dense.bias").contains("has no trained.param."));
    assert!(removed("merged.logits").contains("has no merged.logits"));
    assert!(removed("train.losses").contains("has no train.losses"));
    let added = |name: &str| {
        let mut case = case.clone();
        let array = Array {
            shape: vec![1],
            values: Values::Floats(vec![0.0]),
        };
        case.io.insert(name.to_string(), array);
        problem(&case)
    };
    assert!(added("grad.roberta.embeddings.LayerNorm.bias").contains("with a gradient: expected"));
    assert!(added("merged.param.score.weight").contains("there is no merged.param.score.weight"));
    let mut reshaped = case.clone();
    let array = reshaped
        .io
        .get_mut("trained.param.classifier.dense.weight")
        .unwrap();
    array.shape = vec![array.shape.iter().product()];
    assert!(problem(&reshaped).contains("has shape [16, 16], expected [256]"));
}

#[test]
fn other_counts_are_seen() {
    let mut case = case("roberta-qv");
    case.description.trainable = case.description.trainable.map(|count| count + 1);
    assert!(problem(&case).starts_with("trainable: expected Some("));
    case.description.trainable = case.description.trainable.map(|count| count - 1);
    case.description.total = None;
    assert!(problem(&case).starts_with("total: expected None"));
}

#[test]
fn answers_are_compared_up_to_a_constant_and_no_more() {
    let mut case = case("roberta-qa");
    values(&mut case, "trained.start_logits")
        .iter_mut()
        .for_each(|logit| *logit += 0.5);
    assert!(run(&case, &device()).passed());
    values(&mut case, "trained.start_logits")[3] += 3e-4;
    assert!(problem(&case).starts_with("trained.start_logits differs by"));
    let mut case = self::case("roberta-qa");
    // Before training, nothing is arbitrary.
    values(&mut case, "lora.end_logits")
        .iter_mut()
        .for_each(|logit| *logit += 3e-5);
    assert!(problem(&case).starts_with("lora.end_logits differs by"));
}

#[test]
fn rounding_excuses_only_what_it_moves() {
    // What is seen below 1e-4 is accepted as it is; above, our own run would have to move as far.
    let mut case = case("roberta-qa");
    let name = "trained.param.roberta.encoder.layer.0.attention.self.query.lora_A.weight";
    let all: Vec<f32> = values(&mut case, name).clone();
    let reports = (0..all.len()).step_by(13).map(|index| {
        values(&mut case, name).copy_from_slice(&all);
        values(&mut case, name)[index] += 1.5e-4;
        run(&case, &device())
    });
    for report in reports {
        assert!(!report.passed(), "{report}");
    }
}

/// A copy of a case with its adapter.
fn copied(name: &str, scratch: &Scratch) -> PathBuf {
    let (from, to) = (cases().join(name), scratch.folder(name));
    for folder in ["", "base", "adapter"] {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, to.join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    to
}

#[test]
fn another_adapter_is_seen() {
    let scratch = Scratch::new().unwrap();
    let folder = copied("roberta-qv", &scratch);
    let path = folder.join("adapter/adapter_model.safetensors");
    let file = TensorFile::open(&path).unwrap();
    let all = file
        .names()
        .into_iter()
        .map(|name| (name.clone(), file.read_floats(&name).unwrap()));
    let mut all: Vec<(String, TensorData)> = all.collect();
    let write = |all: &Vec<_>| write_tensors(&path, all.clone(), Precision::F32).unwrap();

    write(&all);
    assert!(run(&Case::open(&folder).unwrap(), &device()).passed());
    let (name, data) = all.pop().unwrap();
    write(&all);
    assert!(problem(&Case::open(&folder).unwrap()).contains("1 missing: "));
    let other: Vec<f32> = data.iter::<f32>().map(|value| value + 0.5).collect();
    all.push((name, TensorData::new(other, data.shape().clone())));
    write(&all);
    assert!(problem(&Case::open(&folder).unwrap()).contains("lora.logits differs by"));
    // A file in half precision says the same in other bytes.
    write_tensors(&path, all, Precision::F16).unwrap();
    assert!(problem(&Case::open(&folder).unwrap()).contains("not bit for bit"));
}

#[test]
fn what_is_not_supported_is_skipped_unless_it_is_named() {
    let scratch = Scratch::new().unwrap();
    let folder = copied("roberta-qv", &scratch);
    let path = folder.join("adapter/adapter_config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("\"use_qalora\": false", "\"use_qalora\": true"),
    )
    .unwrap();
    let of = |path: PathBuf| {
        let mut reports: Vec<Report> = Vec::new();
        let summary = run_all(&[path], &device(), |report| reports.push(report.clone()));
        (
            summary.passed,
            summary.failed,
            summary.skipped,
            reports.remove(0).to_string(),
        )
    };
    let parent = folder.parent().unwrap().to_path_buf();
    let (passed, failed, skipped, text) = of(parent.clone());
    assert_eq!((passed, failed, skipped), (0, 0, 1));
    assert!(
        text.starts_with("SKIP roberta-qv: ") && text.contains("`use_qalora`"),
        "{text}"
    );
    let (passed, failed, skipped, text) = of(folder.clone());
    assert_eq!((passed, failed, skipped), (0, 1, 0));
    assert!(
        text.starts_with("FAIL") && text.contains("`use_qalora`"),
        "{text}"
    );

    let path = folder.join("case.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"roberta\"", "\"t5\"")).unwrap();
    assert!(of(parent).3.contains("SKIP roberta-qv: architecture t5"));
    // A folder without cases, or with a broken one, is no success.
    let (_, failed, _, text) = of(folder.join("base"));
    assert!(failed == 1 && text.contains("neither a case"), "{text}");
    fs::write(folder.join("io.safetensors"), b"broken").unwrap();
    let (_, failed, _, text) = of(folder);
    assert!(failed == 1 && text.contains("io.safetensors"), "{text}");
}
