//! Data sets of the Hub, from a small HTTP server on the loopback interface.

#[allow(dead_code, reason = "what the tests of models need")]
#[path = "../../lora-models/tests/common/hub_server.rs"]
mod hub_server;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use hub_server::{COMMIT, Server, State, options, repo};
use lora_models::hub::{Hub, HubError, HubOptions};
use lora_train::TrainError;
use lora_train::data::{DataFiles, Example, Label, read_examples};
use lora_train::glue::GlueTask;
use parquet::data_type::{ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

/// Set in the process that reads its environment, to the data set it looks for.
const CHILD: &str = "LORA_TRAIN_DATA_SET";

const TABLES: [(&str, &[u8]); 4] = [
    ("README.md", b"not needed"),
    ("dev.tsv", b"dull\t0\n"),
    ("test.tsv", b"not needed"),
    ("train.tsv", b"sentence\tlabel\na fine film\t1\ndull\t0\n"),
];

/// A server with one data set `owner/set`.
fn server(files: &[(&str, &[u8])]) -> Server {
    Server::start(State {
        repos: repo("datasets/owner/set", files),
        ..State::default()
    })
}

fn offline(server: &Server, cache: &TempDir) -> Hub {
    let options = HubOptions {
        offline: true,
        ..options(&server.endpoint, cache)
    };
    Hub::new(options).unwrap()
}

/// A parquet file with one example.
fn parquet(text: &str, class: i64) -> Vec<u8> {
    table(&[("sentence", text)], class)
}

/// A parquet file with one row: columns of text, and the label.
fn table(texts: &[(&str, &str)], class: i64) -> Vec<u8> {
    let field = |(name, _): &(&str, &str)| format!("REQUIRED BYTE_ARRAY {name} (UTF8);");
    let fields: String = texts.iter().map(field).collect();
    let schema = format!("message schema {{ {fields} REQUIRED INT64 label; }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, text) in texts {
        let mut column = group.next_column().unwrap().unwrap();
        let cells = column.typed::<ByteArrayType>();
        cells.write_batch(&[(*text).into()], None, None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    let labels = column.typed::<Int64Type>();
    labels.write_batch(&[class], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

fn read(files: &[PathBuf]) -> Vec<Example> {
    read_examples(files, 2).unwrap()
}

fn example(text: &str, class: usize) -> Example {
    Example {
        text: text.to_string(),
        pair: None,
        label: Label::Class(class),
    }
}

#[test]
fn tables_come_once_and_then_from_the_cache() {
    let server = server(&TABLES);
    let cache = TempDir::new().unwrap();
    let files = DataFiles::from_hub(&server.hub(&cache), "owner/set").unwrap();
    let expected = [example("a fine film", 1), example("dull", 0)];
    assert_eq!(read(&files.train), expected);
    assert_eq!(read(&files.dev), expected[1..]);
    assert_eq!(server.bodies(), ["train.tsv", "dev.tsv"]);

    for hub in [server.hub(&cache), offline(&server, &cache)] {
        assert_eq!(DataFiles::from_hub(&hub, "owner/set").unwrap(), files);
        let pinned = format!("owner/set@{COMMIT}");
        assert_eq!(DataFiles::from_hub(&hub, &pinned).unwrap(), files);
    }
    assert_eq!(
        server.bodies().len(),
        2,
        "cached files are not loaded again"
    );
}

#[test]
fn parquet_shards_of_training_and_validation_come_in_order() {
    let shards = [parquet("one", 1), parquet("two", 0), parquet("three", 1)];
    let server = server(&[
        // The hub's test split has no labels.
        ("data/test-00000-of-00001.parquet", b"not needed"),
        ("data/train-00001-of-00002.parquet", &shards[1]),
        ("data/train-00000-of-00002.parquet", &shards[0]),
        ("data/validation-00000-of-00001.parquet", &shards[2]),
    ]);
    let cache = TempDir::new().unwrap();
    let files = DataFiles::from_hub(&server.hub(&cache), "owner/set").unwrap();
    assert_eq!(read(&files.train), [example("one", 1), example("two", 0)]);
    assert_eq!(read(&files.dev), [example("three", 1)]);
    assert_eq!(
        server.bodies(),
        [
            "train-00000-of-00002.parquet",
            "train-00001-of-00002.parquet",
            "validation-00000-of-00001.parquet"
        ]
    );
}

#[test]
fn a_data_set_without_usable_files_says_what_was_expected() {
    for (files, expected) in [
        (
            &[("train.txt", &b"x"[..]), ("data/all.json", b"x")][..],
            "owner/set has no train data: expected train.tsv (or .csv, .jsonl, .ndjson, .json, each \
             maybe with .gz), or train-*.parquet",
        ),
        (
            &[("train.tsv", b"dull\t0\n"), ("trial.tsv", b"dull\t0\n")],
            "owner/set has no dev data: expected dev.tsv (or ",
        ),
    ] {
        let server = server(files);
        let cache = TempDir::new().unwrap();
        let error = DataFiles::from_hub(&server.hub(&cache), "owner/set").unwrap_err();
        assert!(matches!(error, TrainError::NoData { .. }), "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(server.bodies().is_empty(), "half a data set is of no use");
    }
}

#[test]
fn a_task_of_glue_comes_from_its_folder() {
    let nli = |text, class| table(&[("premise", text), ("hypothesis", "so")], class);
    let question = table(&[("question", "why"), ("sentence", "so")], 1);
    let sets = [nli("train", 0), nli("matched", 1), nli("mismatched", 2)];
    let server = server(&[
        ("README.md", b"not needed"),
        ("ax/test-00000-of-00001.parquet", b"not needed"),
        ("mnli/test_matched-00000-of-00001.parquet", b"not needed"),
        ("mnli/train-00000-of-00001.parquet", &sets[0]),
        ("mnli/validation_matched-00000-of-00001.parquet", &sets[1]),
        (
            "mnli/validation_mismatched-00000-of-00001.parquet",
            &sets[2],
        ),
        ("mnli_matched/train-00000-of-00001.parquet", b"not needed"),
        ("qnli/train-00000-of-00001.parquet", &question),
        ("qnli/validation-00000-of-00001.parquet", &question),
    ]);
    let cache = TempDir::new().unwrap();
    let hub = server.hub(&cache);
    let mnli = GlueTask::Mnli.from_hub(&hub, "owner/set").unwrap();
    let [matched, mismatched] = &mnli.dev[..] else {
        panic!("{} sets", mnli.dev.len())
    };
    assert_eq!((matched.0, mismatched.0), ("matched", "mismatched"));
    let all = [&mnli.train, &matched.1, &mismatched.1];
    for (class, (examples, text)) in all
        .into_iter()
        .zip(["train", "matched", "mismatched"])
        .enumerate()
    {
        let expected = Example {
            pair: Some("so".to_string()),
            ..example(text, class)
        };
        assert_eq!(*examples, [expected]);
    }
    let qnli = GlueTask::Qnli.from_hub(&hub, "owner/set").unwrap();
    assert_eq!(qnli.train[0].pair.as_deref(), Some("so"));
    assert_eq!(server.bodies().len(), 5);
    let error = GlueTask::Rte.from_hub(&hub, "owner/set").unwrap_err();
    let expected = "owner/set has no train data: expected the rte files train (";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn offline_mode_says_what_the_cache_lacks() {
    let server = server(&TABLES);
    let cache = TempDir::new().unwrap();
    let hub = offline(&server, &cache);
    let error = DataFiles::from_hub(&hub, "owner/set").unwrap_err();
    assert!(
        matches!(error, TrainError::Hub(HubError::Offline { .. })),
        "{error}"
    );
    let text = error.to_string();
    for part in ["owner/set", "HF_HUB_OFFLINE", "local data files"] {
        assert!(text.contains(part), "{text}");
    }

    // As an interrupted download leaves it.
    server
        .hub(&cache)
        .dataset_file("owner/set", "train.tsv")
        .unwrap();
    let before = server.requests().len();
    let text = DataFiles::from_hub(&hub, "owner/set")
        .unwrap_err()
        .to_string();
    let expected = "what is cached of owner/set (HF_HUB_OFFLINE is set) has no dev data";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(server.requests().len(), before, "offline mode asks nobody");
}

#[test]
fn an_id_is_looked_for_where_the_environment_says() {
    if let Ok(id) = std::env::var(CHILD) {
        println!("found {} files", DataFiles::find(&id).unwrap().train.len());
        return;
    }
    let server = server(&TABLES);
    let cache = TempDir::new().unwrap();
    // The environment is the process's, and other tests run in this one.
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "an_id_is_looked_for_where_the_environment_says",
            "--nocapture",
        ])
        .env(CHILD, "owner/set")
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HOME", cache.path())
        .env("HF_TOKEN", "secret")
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("found 1 files"),
        "{text}"
    );
    assert_eq!(server.bodies(), ["train.tsv", "dev.tsv"]);
    assert!(cache.path().join("hub/datasets--owner--set").is_dir());
    for request in server.requests() {
        assert_eq!(request.authorization.as_deref(), Some("Bearer secret"));
    }
}
