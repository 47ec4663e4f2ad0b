use std::sync::Arc;

use super::*;
use crate::data::{Label, LabelNames};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A column to write.
enum Values<'a> {
    Text(&'a [&'a str]),
    Integers(&'a [i64]),
    Numbers(&'a [f64]),
}

fn write(path: &Path, columns: &[(&str, Values)]) {
    write_with(path, columns, None);
}

fn write_with(path: &Path, columns: &[(&str, Values)], huggingface: Option<&str>) {
    let field = |(name, values): &(&str, Values)| match values {
        Values::Text(_) => format!("REQUIRED BYTE_ARRAY {name} (UTF8);"),
        Values::Integers(_) => format!("REQUIRED INT64 {name};"),
        Values::Numbers(_) => format!("REQUIRED DOUBLE {name};"),
    };
    let fields: String = columns.iter().map(field).collect();
    let schema = parse_message_type(&format!("message schema {{ {fields} }}")).unwrap();
    let entry = |value: &str| vec![KeyValue::new("huggingface".to_string(), value.to_string())];
    let properties = WriterProperties::builder()
        .set_key_value_metadata(huggingface.map(entry))
        .build();
    let properties = Arc::new(properties);
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, values) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        match values {
            Values::Text(texts) => {
                let texts: Vec<ByteArray> = texts.iter().map(|text| (*text).into()).collect();
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&texts, None, None)
                    .unwrap();
            }
            Values::Integers(values) => {
                column
                    .typed::<Int64Type>()
                    .write_batch(values, None, None)
                    .unwrap();
            }
            Values::Numbers(values) => {
                column
                    .typed::<DoubleType>()
                    .write_batch(values, None, None)
                    .unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn read(
    columns: &[(&str, Values)],
    options: impl Into<ReadOptions>,
) -> Result<Vec<Example>, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    write(&path, columns);
    read_parquet(&path, options)
}

#[test]
fn the_hubs_columns() {
    let columns = [
        ("idx", Values::Integers(&[7, 8])),
        ("sentence", Values::Text(&["a fine film", "dull"])),
        ("label", Values::Integers(&[1, 0])),
    ];
    let examples = read(&columns, 2).unwrap();
    assert_eq!(examples.len(), 2);
    assert_eq!(
        examples[0],
        Example {
            text: "a fine film".into(),
            pair: None,
            label: Label::Class(1)
        }
    );
    let columns = [
        ("sentence1", Values::Text(&["one"])),
        ("sentence2", Values::Text(&["two"])),
        ("label", Values::Numbers(&[2.5])),
    ];
    let examples = read(&columns, 1).unwrap();
    assert_eq!(examples[0].pair.as_deref(), Some("two"));
    assert_eq!(examples[0].label, Label::Value(2.5));
}

#[test]
fn labels_may_be_names_and_columns_other_ones() {
    let columns = [
        ("review", Values::Text(&["warm", "cold"])),
        ("said", Values::Text(&["good", "1"])),
    ];
    let names = LabelNames::new(["good", "bad"]).unwrap();
    let options = ReadOptions::new(names).with_columns(Columns::named("review", "said"));
    let examples = read(&columns, options.clone()).unwrap();
    assert_eq!(examples[0].label, Label::Class(0));
    assert_eq!(examples[1].label, Label::Class(1));
    let odd = [
        ("review", Values::Text(&["warm"])),
        ("said", Values::Text(&["odd"])),
    ];
    let message = read(&odd, options.clone()).unwrap_err().to_string();
    let expected = "row 1: column `said`: label \"odd\" is unknown, expected good, bad, or 0 to 1";
    assert!(message.ends_with(expected), "{message}");
    let placed = options.with_columns(Columns::placed(0, 1));
    let message = read(&odd, placed).unwrap_err().to_string();
    assert!(message.contains("expected a table"), "{message}");
}

#[test]
fn the_hubs_class_names_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let columns = [
        ("text", Values::Text(&["warm"])),
        ("label", Values::Integers(&[1])),
    ];
    let find = |metadata| {
        write_with(&path, &columns, Some(metadata));
        LabelNames::find(&[&path], &Columns::default()).unwrap()
    };
    let feature = r#"{"names": ["neg", "neutral", "pos"], "_type": "ClassLabel"}"#;
    let metadata = format!(r#"{{"info": {{"features": {{"label": {feature}}}}}}}"#);
    assert_eq!(find(&metadata).names(), ["neg", "neutral", "pos"]);
    for other in [
        "{}",
        "no JSON",
        r#"{"info": {"features": {"label": {"names": [1]}}}}"#,
    ] {
        assert_eq!(find(other).names(), ["0", "1"]);
    }
}

#[test]
fn errors_name_file_row_and_column() {
    let message = |columns: &[(&str, Values)]| read(columns, 2).unwrap_err().to_string();
    let other = message(&[
        ("review", Values::Text(&["x"])),
        ("label", Values::Integers(&[0])),
    ]);
    assert!(
        other.ends_with("`sentence` and `label` or `sentence1` and `label` or `text` and `label`")
            && other.contains("train.parquet: its columns are review, label, expected"),
        "{other}"
    );
    let test = message(&[
        ("sentence", Values::Text(&["a", "b"])),
        ("label", Values::Integers(&[0, -1])),
    ]);
    let expected = "row 2: column `label`: label -1 is out of range, expected 0 to 1";
    assert!(test.ends_with(expected), "{test}");
    let kind = message(&[
        ("sentence", Values::Text(&["a"])),
        ("label", Values::Numbers(&[0.5])),
    ]);
    assert!(
        kind.ends_with(
            "row 1: column `label`: label 0.5 is not a whole number (are these label names?)"
        ),
        "{kind}"
    );
    let kind = message(&[
        ("text", Values::Integers(&[1])),
        ("label", Values::Integers(&[0])),
    ]);
    assert!(
        kind.ends_with("row 1: column `text`: 1 is not a text"),
        "{kind}"
    );
    let empty = message(&[
        ("text", Values::Text(&[])),
        ("label", Values::Integers(&[])),
    ]);
    assert!(empty.ends_with("train.parquet has no examples"), "{empty}");
}

#[test]
fn a_damaged_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    std::fs::write(&path, b"PAR1 is not enough").unwrap();
    let message = read_parquet(&path, 2).unwrap_err().to_string();
    assert!(
        message.contains("train.parquet: damaged parquet file: "),
        "{message}"
    );
    let missing = read_parquet(&folder.path().join("none"), 2)
        .unwrap_err()
        .to_string();
    assert!(missing.starts_with("cannot read "), "{missing}");
}

#[test]
fn a_file_with_any_byte_changed_is_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let columns = [
        ("text", Values::Text(&["a fine film", "dull"])),
        ("label", Values::Integers(&[1, 0])),
    ];
    write(&path, &columns);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            std::fs::write(&path, &bytes).unwrap();
            read_parquet(&path, 2).ok();
        }
        std::fs::write(&path, &whole[..at]).unwrap();
        read_parquet(&path, 2).unwrap_err();
    }
}
