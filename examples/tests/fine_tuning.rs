//! Fine-tuning runs as they are started in a terminal, of a few steps.

use std::path::Path;
use std::process::Command;

use lora_core::LoraConfig;
use lora_train::RunMetrics;

/// Runs `sst2`, and gives what it says on standard error if it fails.
fn sst2(out: &Path, options: &str) -> Result<(), String> {
    let tests = std::env::current_exe().unwrap();
    let programs = tests.parent().unwrap().parent().unwrap().join("examples");
    let output = Command::new(programs.join("sst2"))
        .args([
            "--limit",
            "16",
            "--batch-size",
            "4",
            "--max-steps",
            "2",
            "--out",
        ])
        .arg(out)
        .args(options.split_whitespace())
        .output()
        .expect("the examples are built, as `cargo test` without `--test` does");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn a_run_goes_on_with_the_same_adapters_only() {
    let folder = tempfile::tempdir().unwrap();
    sst2(folder.path(), "--alpha 16").unwrap();
    let error = sst2(folder.path(), "--alpha 64 --resume").unwrap_err();
    assert!(
        error.contains("config.json is of another run: its lora"),
        "{error}"
    );
    let error = sst2(folder.path(), "--method head --resume").unwrap_err();
    assert!(error.contains("its method is \"lora\""), "{error}");
    sst2(folder.path(), "--alpha 16 --resume").unwrap();
    let config = LoraConfig::from_file(folder.path().join("adapter/adapter_config.json")).unwrap();
    let base = config.base_model_name_or_path.unwrap();
    assert!(base.ends_with("roberta-tiny"), "{base}");
}

#[test]
fn the_model_that_a_run_starts_from_stays() {
    let folder = tempfile::tempdir().unwrap();
    sst2(folder.path(), "--method head").unwrap();
    let model = folder.path().join("model");
    let options = format!("--overwrite --model {}", model.display());
    let error = sst2(folder.path(), &options).unwrap_err();
    assert!(error.contains("lies in the folder to write to"), "{error}");
    assert!(model.join("model.safetensors").exists());
}

#[test]
fn a_measure_that_there_is_not_costs_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let error = sst2(folder.path(), "--metric-for-best-model f2").unwrap_err();
    assert!(error.contains("f2"), "{error}");
    assert!(folder.path().join("checkpoint-2").exists());
    sst2(folder.path(), "--metric-for-best-model accuracy --resume").unwrap();
    let metrics = RunMetrics::read(folder.path()).unwrap();
    assert_eq!((metrics.best_step, metrics.steps()), (Some(2), 2));
}

#[test]
fn the_head_alone_has_no_settings_of_adapters() {
    let folder = tempfile::tempdir().unwrap();
    let first = "--method head-then-lora --loraplus-lr-ratio 4";
    sst2(folder.path(), first).unwrap();
    let metrics = RunMetrics::read(folder.path()).unwrap();
    assert_eq!(metrics.training.loraplus_lr_ratio, Some(4.0));
    let last: f64 = metrics
        .evaluations
        .iter()
        .map(|record| record.seconds)
        .sum();
    assert!(metrics.seconds > last);
}

#[test]
fn a_start_that_needs_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let text = r#"{"peft_type": "LORA", "r": 4, "init_lora_weights": "eva"}"#;
    std::fs::write(&config, text).unwrap();
    let options = format!("--config {}", config.display());
    let error = sst2(&folder.path().join("out"), &options).unwrap_err();
    assert!(error.contains("initialize_eva"), "{error}");
}
