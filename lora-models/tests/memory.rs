//! Loading a model takes little more memory than the model, and a step less if it computes again.

#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::process::Command;

use burn::tensor::{Int, Tensor};
use lora_core::quantization::{QuantizationConfig, WeightFormat, quantized};
use lora_core::state::initialize;
use lora_core::{LoraConfig, default_device};
use lora_models::bert::{BertConfig, EncoderInput, SequenceClassification};
use lora_models::{Precision, PretrainedModel, SequenceClassifier};

/// Set in the process that only loads, to the folder it loads.
const CHILD: &str = "LORA_MODELS_LOAD";

/// The largest memory this process has had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    1024 * line
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
}

/// What the test `name` says of its peak in a process of its own, in which `variable` is set.
fn peak_of(name: &str, variable: &str, value: impl AsRef<OsStr>) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(variable, value)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let peak = text.split("peak ").nth(1).unwrap();
    peak.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn loading_peaks_below_one_point_two_times_the_model() {
    if let Ok(folder) = std::env::var(CHILD) {
        let before = peak();
        let loaded = SequenceClassification::from_pretrained(&folder, &default_device());
        println!("peak {}", peak() - before);
        assert!(loaded.unwrap().report.fresh.is_empty());
        return;
    }
    let config = BertConfig {
        vocab_size: 20_000,
        hidden_size: 512,
        num_hidden_layers: 6,
        num_attention_heads: 8,
        intermediate_size: 2048,
        ..BertConfig::roberta_base()
    };
    let folder = tempfile::tempdir().unwrap();
    let model = SequenceClassification::new(&config, &default_device());
    model
        .save_pretrained(folder.path(), Precision::F32, true)
        .unwrap();
    let size = std::fs::metadata(folder.path().join("model.safetensors"))
        .unwrap()
        .len() as f64;

    let name = "loading_peaks_below_one_point_two_times_the_model";
    let ratio = peak_of(name, CHILD, folder.path()) / size;
    assert!(
        ratio > 0.9 && ratio < 1.2,
        "the peak is {ratio:.2} times the model"
    );
}

/// Set in the process that only trains, to whether it computes outputs again.
const STEP: &str = "LORA_MODELS_STEP";

#[test]
fn a_step_takes_less_memory_if_outputs_are_computed_again() {
    if let Ok(again) = std::env::var(STEP) {
        let device = default_device().autodiff();
        let device = match again.as_str() {
            "again" => device.gradient_checkpointing(),
            _ => device,
        };
        let config = BertConfig {
            vocab_size: 100,
            hidden_size: 256,
            num_hidden_layers: 6,
            num_attention_heads: 4,
            intermediate_size: 1024,
            ..BertConfig::roberta_base()
        };
        let model = SequenceClassification::new(&config, &device);
        let lora = LoraConfig::new().with_target_modules(vec!["query".into(), "value".into()]);
        let model = lora.inject(model).unwrap();
        initialize(&model);
        let before = peak();
        let ids = Tensor::<2, Int>::full([16, 256], 7, &device);
        let logits = model.logits(EncoderInput::new(ids));
        let _ = logits.sum().backward();
        println!("peak {}", peak() - before);
        return;
    }
    let name = "a_step_takes_less_memory_if_outputs_are_computed_again";
    // In matrices of a value for each feature of each token.
    let peak = |mode| peak_of(name, STEP, mode) / (16.0 * 256.0 * 256.0 * 4.0);
    let (again, kept) = (peak("again"), peak("kept"));
    // A layer keeps its input, what it attends with (3), the first norm's output and GELU's input (4);
    // or, if it computes them again, the keys and the two norms' outputs. There are six layers; above
    // them, a few matrices come and go. Blocks that are scattered over the heap would take more.
    assert!((27.0..60.0).contains(&kept), "{kept} matrices");
    assert!((9.0..34.0).contains(&again), "{again} matrices");
}

/// Set in the process that only quantizes.
const QUANTIZE: &str = "LORA_MODELS_QUANTIZE";

/// A graph that may compute again had kept each weight that was read.
#[test]
fn quantizing_on_a_device_that_computes_again_keeps_no_dense_weight() {
    let config = BertConfig {
        vocab_size: 100,
        hidden_size: 512,
        num_hidden_layers: 12,
        num_attention_heads: 8,
        intermediate_size: 2048,
        ..BertConfig::roberta_base()
    };
    if std::env::var(QUANTIZE).is_ok() {
        let device = default_device().autodiff().gradient_checkpointing();
        let before = peak();
        let model = SequenceClassification::new(&config, &device);
        let nf4 = QuantizationConfig::new(WeightFormat::Nf4);
        let model = nf4.quantize(model).unwrap();
        println!("peak {}", peak() - before);
        assert!(!quantized(&model).is_empty());
        return;
    }
    let name = "quantizing_on_a_device_that_computes_again_keeps_no_dense_weight";
    let peak = peak_of(name, QUANTIZE, "yes");
    let dense = (4 * 12 * 12 * 512 * 512) as f64;
    assert!(peak < 0.5 * dense, "{peak} bytes, {dense} of dense weights");
}
