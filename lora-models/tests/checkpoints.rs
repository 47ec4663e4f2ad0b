//! Every form a checkpoint comes in loads to the same model, and broken ones say what is wrong.
//!
//! `scripts/make_checkpoints.py` wrote the files in `tests/checkpoints` with transformers, and
//! what transformers computes from them.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Int, Tensor, TensorData, Tolerance};
use lora_core::tensor_file::TensorFile;
use lora_core::{LoraConfig, default_device};
use lora_models::bert::{EncoderInput, MaskedLm, QuestionAnswering, SequenceClassification};
use lora_models::{ModelError, Precision, Pretrained, PretrainedModel};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/checkpoints")
        .join(name)
}

fn expected(name: &str) -> TensorData {
    TensorFile::open(folder("expected.safetensors"))
        .unwrap()
        .read_floats(name)
        .unwrap()
}

fn integers(name: &str) -> Tensor<2, Int> {
    let bytes = fs::read(folder("expected.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let values: Vec<i64> = view
        .data()
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b))
        .collect();
    Tensor::from_data(
        TensorData::new(values, view.shape().to_vec()),
        &default_device(),
    )
}

fn input() -> EncoderInput {
    EncoderInput {
        input_ids: integers("input_ids"),
        attention_mask: Some(integers("attention_mask")),
        token_type_ids: None,
    }
}

fn classifier(folder: &Path) -> Result<Pretrained<SequenceClassification>, ModelError> {
    SequenceClassification::from_pretrained(folder.to_str().unwrap(), &default_device())
}

fn close(found: TensorData, wanted: &TensorData) {
    found.assert_approx_eq::<f32>(wanted, Tolerance::absolute(2e-6));
}

#[test]
fn every_form_gives_transformers_logits() {
    for (name, logits) in [
        ("f32", "f32.logits"),
        ("f16", "f16.logits"),
        ("bf16", "bf16.logits"),
        ("sharded", "f32.logits"),
        ("bin", "f32.logits"),
        ("gamma-beta", "f32.logits"),
        ("position-ids", "f32.logits"),
    ] {
        let loaded = classifier(&folder(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(loaded.report.fresh.is_empty(), "{name}: {}", loaded.report);
        close(loaded.model.forward(input()).into_data(), &expected(logits));
    }
}

#[test]
fn a_tied_decoder_is_one_parameter() {
    let path = folder("tied-decoder");
    let loaded = MaskedLm::from_pretrained(path.to_str().unwrap(), &default_device()).unwrap();
    close(
        loaded.model.forward(input()).into_data(),
        &expected("tied-decoder.logits"),
    );
}

#[test]
fn a_base_without_prefix_and_head_gets_a_fresh_head() {
    let loaded = classifier(&folder("no-prefix")).unwrap();
    assert_eq!(
        loaded.report.fresh,
        [
            "classifier.dense.weight",
            "classifier.dense.bias",
            "classifier.out_proj.weight",
            "classifier.out_proj.bias"
        ]
    );
    let hidden = loaded.model.base.forward(input()).into_data();
    close(hidden, &expected("no-prefix.last_hidden_state"));
}

#[test]
fn another_tasks_head_is_left_out_and_said() {
    let path = folder("f32");
    let loaded =
        QuestionAnswering::from_pretrained(path.to_str().unwrap(), &default_device()).unwrap();
    assert_eq!(loaded.report.unused.len(), 4);
    assert_eq!(
        loaded.report.fresh,
        ["qa_outputs.weight", "qa_outputs.bias"]
    );
}

#[test]
fn what_is_saved_loads_bit_for_bit() {
    let model = classifier(&folder("f32")).unwrap().model;
    let out = tempfile::tempdir().unwrap();
    model
        .save_pretrained(out.path(), Precision::F32, true)
        .unwrap();
    let again = classifier(out.path()).unwrap().model;
    let logits = |m: &SequenceClassification| m.forward(input()).into_data();
    logits(&model).assert_eq(&logits(&again), true);
    let error = model
        .save_pretrained(out.path(), Precision::F32, false)
        .unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");

    let adapted = LoraConfig::new()
        .with_target_modules(["query"])
        .inject(model)
        .unwrap();
    let error = adapted
        .save_pretrained(out.path(), Precision::F32, true)
        .unwrap_err();
    assert!(error.to_string().contains("merge"), "{error}");
}

/// A copy of the f32 checkpoint with `change` made to it, and the error that loading it gives.
fn error_of(change: impl FnOnce(&Path)) -> String {
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(folder("f32").join(file), copy.path().join(file)).unwrap();
    }
    change(copy.path());
    classifier(copy.path()).unwrap_err().to_string()
}

fn rewrite(path: PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn broken_folders_name_file_and_field() {
    let says = |error: String, parts: &[&str]| {
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    };
    let missing = error_of(|d| fs::remove_file(d.join("model.safetensors")).unwrap());
    says(missing, &["has no weights", "model.safetensors"]);
    let missing = error_of(|d| fs::remove_file(d.join("config.json")).unwrap());
    says(missing, &["config.json", "cannot read"]);
    let truncated = error_of(|d| {
        let path = d.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 100]).unwrap();
    });
    says(truncated, &["model.safetensors", "complete", "bytes"]);
    let empty = error_of(|d| fs::write(d.join("model.safetensors"), b"").unwrap());
    says(empty, &["model.safetensors", "too few"]);
    let other = error_of(|d| rewrite(d.join("config.json"), "\"roberta\"", "\"t5\""));
    says(other, &["config.json", "model_type", "t5", "roberta"]);
    let shape = error_of(|d| {
        rewrite(
            d.join("config.json"),
            "\"vocab_size\": 19",
            "\"vocab_size\": 20",
        )
    });
    says(
        shape,
        &["model.safetensors", "word_embeddings", "[19, 8]", "[20, 8]"],
    );
    let depth = error_of(|d| {
        rewrite(
            d.join("config.json"),
            "\"num_hidden_layers\": 1",
            "\"num_hidden_layers\": 2",
        )
    });
    says(
        depth,
        &[
            "missing",
            "roberta.encoder.layer.1.attention.self.query.weight",
        ],
    );
    let shallow = error_of(|d| {
        rewrite(
            d.join("config.json"),
            "\"num_hidden_layers\": 1",
            "\"num_hidden_layers\": 0",
        )
    });
    says(
        shallow,
        &[
            "unexpected",
            "roberta.encoder.layer.0.attention.self.query.weight",
        ],
    );
    let act = error_of(|d| rewrite(d.join("config.json"), "\"gelu\"", "\"swish\""));
    says(act, &["config.json", "hidden_act", "swish"]);
    let heads = error_of(|d| {
        rewrite(
            d.join("config.json"),
            "\"num_attention_heads\": 2",
            "\"num_attention_heads\": 3",
        )
    });
    says(heads, &["num_attention_heads", "divisor of 8"]);
    let utf8 =
        error_of(|d| fs::write(d.join("config.json"), b"{\"model_type\": \"\xff\"}").unwrap());
    says(utf8, &["config.json"]);
    let dtype = error_of(|d| {
        let path = d.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(5).position(|w| w == b"\"F32\"").unwrap();
        let mut broken = bytes.clone();
        broken[at..at + 5].copy_from_slice(b"\"I32\"");
        fs::write(path, broken).unwrap();
    });
    says(dtype, &["model.safetensors", "I32", "expected F32"]);
    let wrong_labels = SequenceClassification::from_pretrained_with(
        folder("f32").to_str().unwrap(),
        |config| config.with_num_labels(5),
        &default_device(),
    );
    says(
        wrong_labels.unwrap_err().to_string(),
        &["classifier.out_proj", "[5, 8]"],
    );
}

#[test]
fn a_lost_shard_is_named() {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder("sharded")).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let shard = fs::read_dir(copy.path())
        .unwrap()
        .map(|f| f.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .unwrap();
    fs::remove_file(&shard).unwrap();
    let error = classifier(copy.path()).unwrap_err().to_string();
    assert!(
        error.contains(shard.file_name().unwrap().to_str().unwrap()),
        "{error}"
    );
}
