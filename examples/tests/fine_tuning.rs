//! Fine-tuning runs as they are started in a terminal, of a few steps.

use std::path::Path;
use std::process::Command;

use lora_core::LoraConfig;
use lora_train::RunMetrics;

/// Runs `sst2`, and gives what it says on standard error.
fn sst2(out: &Path, options: &str) -> Result<String, String> {
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
    let said = String::from_utf8(output.stderr).unwrap();
    match output.status.success() {
        true => Ok(said),
        false => Err(said),
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
}

#[test]
fn time_is_that_of_all_stages_before_a_run_was_resumed_too() {
    let folder = tempfile::tempdir().unwrap();
    sst2(folder.path(), "--method head-then-lora").unwrap();
    for stage in ["head/checkpoint-2", "checkpoint-2"] {
        let path = folder.path().join(stage).join("trainer_state.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
        let seconds: f64 = state["seconds"].as_str().unwrap().parse().unwrap();
        assert!(seconds > 0.0);
        state["seconds"] = "1000".into();
        std::fs::write(&path, state.to_string()).unwrap();
    }
    sst2(folder.path(), "--method head-then-lora --resume").unwrap();
    let metrics = RunMetrics::read(folder.path()).unwrap();
    assert!(metrics.seconds > 2000.0, "{}", metrics.seconds);
}

#[test]
fn what_the_libraries_warn_of_is_shown_once() {
    let folder = tempfile::tempdir().unwrap();
    let said = sst2(
        folder.path(),
        "--rank 200 --targets layer.0.attention.self.query",
    )
    .unwrap();
    assert_eq!(
        said.matches("warning: rank 200 is above").count(),
        1,
        "{said}"
    );
}

#[test]
fn a_start_that_needs_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let text = r#"{"peft_type": "LORA", "r": 4, "init_lora_weights": "eva"}"#;
    std::fs::write(&config, text).unwrap();
    let options = format!("--method head-then-lora --config {}", config.display());
    let error = sst2(&folder.path().join("out"), &options).unwrap_err();
    assert!(error.contains("initialize_eva"), "{error}");
    assert!(
        !folder.path().join("out/head").exists(),
        "before the first stage"
    );
}
