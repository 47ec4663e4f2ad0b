//! Files that are not what they should be: every answer is an error, never a panic.

use std::collections::HashMap;
use std::fs;
use std::sync::LazyLock;

use lora_core::adapter_file::WEIGHTS_NAME;
use lora_core::tensor_file::TensorFile;
use lora_core::{DEFAULT_ADAPTER, LoraConfig, LoraError, LoraModule};
use lora_core_tests::{Model, fill_adapters, training_device};
use proptest::collection::vec;
use proptest::prelude::*;

const CONFIG: &str = r#"{
  "peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none",
  "target_modules": ["query", "value"], "exclude_modules": null, "use_rslora": false,
  "modules_to_save": ["classifier", "score"], "task_type": "SEQ_CLS", "rank_pattern": {},
  "loftq_config": {}, "init_lora_weights": true, "inference_mode": true, "revision": null
}"#;

fn config() -> LoraConfig {
    LoraConfig::new().with_r(2).with_target_modules(["query"])
}

/// The bytes of a valid adapter file.
static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let model = fill_adapters(config().inject(Model::new(&training_device())).unwrap());
    model
        .save_adapter(DEFAULT_ADAPTER, folder.path(), false)
        .unwrap();
    fs::read(folder.path().join(WEIGHTS_NAME)).unwrap()
});

#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    // Half of the changes hit the length and the start of the header.
    let at = || prop_oneof![0usize..64, any::<usize>()];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(i, b)| Change::Set(i, b)),
        2 => (at(), prop_oneof!["[0-9\"{},:\\[\\]]"]).prop_map(|(i, c)| Change::Set(i, c.as_bytes()[0])),
        1 => at().prop_map(Change::Cut),
        1 => (at(), vec(any::<u8>(), 1..9)).prop_map(|(i, b)| Change::Insert(i, b)),
        1 => (at(), 1usize..40).prop_map(|(i, n)| Change::Repeat(i, n)),
    ]
}

fn apply(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let at = |i: usize| i % bytes.len().max(1);
        match change.clone() {
            _ if bytes.is_empty() => break,
            Change::Set(i, value) => {
                let i = at(i);
                bytes[i] = value;
            }
            Change::Cut(i) => bytes.truncate(at(i)),
            Change::Insert(i, more) => {
                let i = at(i);
                bytes.splice(i..i, more);
            }
            Change::Repeat(i, count) => {
                let i = at(i);
                let part = bytes[i..(i + count).min(bytes.len())].to_vec();
                bytes.splice(i..i, part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn tensor_files_never_panic(changes in vec(change(), 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WEIGHTS_NAME);
        fs::write(&path, apply(&VALID, &changes)).unwrap();
        if let Ok(file) = TensorFile::open(&path) {
            for name in file.names() {
                let shape = file.shape(&name).map(<[usize]>::to_vec);
                prop_assert!(shape.is_some());
                let _ = file.read_floats(&name);
                prop_assert!(file.read(&name, &[1, 2, 3, 4, 5]).is_err());
            }
        }
    }

    #[test]
    fn configurations_never_panic(changes in vec(change(), 1..6)) {
        let bytes = apply(CONFIG.as_bytes(), &changes);
        if let Ok(config) = LoraConfig::from_json(&String::from_utf8_lossy(&bytes)) {
            // What is accepted can be used.
            prop_assert!(config.validate().is_ok());
            prop_assert_eq!(LoraConfig::from_json(&config.to_json()).unwrap(), config);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("adapter_config.json"), &bytes).unwrap();
        let _ = LoraConfig::from_file(folder.path());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn loading_an_adapter_never_panics(changes in vec(change(), 1..3)) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(WEIGHTS_NAME), apply(&VALID, &changes)).unwrap();
        let model = config().inject(Model::new(&training_device())).unwrap();
        let _ = model.hotswap_adapter(DEFAULT_ADAPTER, folder.path());
    }

    #[test]
    fn patterns_never_panic(pattern in "[a-z.*+?()\\[\\]|\\\\{}0-9^$]{0,12}") {
        let config = LoraConfig::new().with_target_modules(pattern.as_str());
        let _ = config.plan(&Model::new(&training_device()));
    }
}

#[test]
fn a_rank_that_is_not_the_files_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let huge = i32::MAX as usize;
    let mut config = config();
    let load = |config: &LoraConfig| {
        let base = Model::new(&training_device());
        fs::write(folder.path().join(WEIGHTS_NAME), &*VALID).unwrap();
        fs::write(folder.path().join("adapter_config.json"), config.to_json()).unwrap();
        base.load_adapter("huge", folder.path())
    };
    assert!(load(&config).is_ok());
    config.r = huge;
    let error = load(&config).unwrap_err();
    assert!(
        matches!(&error, LoraError::Shape { found, expected, .. }
            if found[0] == 2 && expected[0] == huge),
        "{error}"
    );
    // `value` is not in the file.
    let config = config.with_target_modules(["query", "value"]);
    let config = config.with_rank_pattern("query", 2);
    let error = load(&config).unwrap_err();
    assert!(
        matches!(&error, LoraError::Keys { missing, .. } if missing[0].contains("value")),
        "{error}"
    );
    // With a rank that could be, all that is missing is listed.
    let error = load(&config.with_r(2)).unwrap_err();
    assert!(
        matches!(&error, LoraError::Keys { missing, .. } if missing.len() == 4),
        "{error}"
    );
}

/// A file with this header and this many bytes after it.
fn with_header(header: &str, data: usize) -> LoraError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.safetensors");
    let length = (header.len() as u64).to_le_bytes();
    fs::write(
        &path,
        [&length[..], header.as_bytes(), &vec![0; data]].concat(),
    )
    .unwrap();
    TensorFile::open(&path).unwrap_err()
}

#[test]
fn headers_that_lie_are_refused() {
    let tensor = |shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |shape: &str, from: u64, to: u64| format!(r#"{{"a":{}}}"#, tensor(shape, from, to));
    for (what, header) in [
        ("not JSON", "{".to_string()),
        ("an array", "[]".to_string()),
        ("more than the file has", one("[2]", 0, 8)),
        ("backwards", one("[1]", 4, 0)),
        ("a hole", one("[1]", 4, 8)),
        ("another shape", one("[2]", 0, 4)),
        (
            "a shape that overflows",
            one("[4294967296,4294967296,4]", 0, 4),
        ),
        ("a negative shape", one("[-1]", 0, 4)),
        (
            "a type that does not exist",
            one("[1]", 0, 4).replace("F32", "F31"),
        ),
    ] {
        let error = with_header(&header, 4);
        assert!(
            matches!(error, LoraError::Safetensors { .. }),
            "{what}: {error}"
        );
    }
}

#[test]
fn lengths_that_overflow_are_refused() {
    // Fifteen tensors of 2^60 bytes and one that ends just below 2^64.
    let size = 1u64 << 60;
    let mut header = HashMap::new();
    for i in 0..16 {
        let end = if i == 15 {
            u64::MAX - 7
        } else {
            (i + 1) * size
        };
        let shape = [end - i * size];
        let offsets = [i * size, end];
        let entry = serde_json::json!({"dtype": "U8", "shape": shape, "data_offsets": offsets});
        header.insert(format!("t{i}"), entry);
    }
    let error = with_header(&serde_json::to_string(&header).unwrap(), 0);
    assert!(matches!(error, LoraError::Safetensors { .. }), "{error}");
}
