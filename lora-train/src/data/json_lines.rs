//! JSON lines.

use std::path::Path;

use serde_json::{Map, Value};

use super::content::{content, lines};
use super::raw::{RawLabel, RawRow, RawTable, Unit};
use super::read::{Format, ReadOptions, read_file};
use super::{Columns, Example};
use crate::TrainError;

/// Reads a file with one JSON object a line, such as `{"sentence": "a fine film", "label": 1}`.
///
/// The names of [`read_tsv`](super::read_tsv)'s columns are its keys; others are skipped. A label
/// is a number or a string. Empty lines are skipped.
///
/// # Errors
///
/// As [`read_tsv`](super::read_tsv); [`TrainError::Line`] for a line that is no JSON object or
/// lacks a key, and for a text that is no string.
pub fn read_json_lines(
    path: &Path,
    options: impl Into<ReadOptions>,
) -> Result<Vec<Example>, TrainError> {
    read_file(path, Format::JsonLines, &options.into())
}

pub(super) fn json_rows(path: &Path, columns: &Columns) -> Result<RawTable, TrainError> {
    let mut rows = Vec::new();
    let mut keys: Option<Keys> = None;
    for (number, line) in lines(&content(path)?) {
        let error = |message| Unit::Line.error(path, number, message);
        let object: Map<String, Value> = serde_json::from_slice(line)
            .map_err(|e| error(format!("{e}: expected one JSON object a line")))?;
        let keys = match &keys {
            Some(keys) => keys,
            None => keys.insert(Keys::of(&object, columns).map_err(error)?),
        };
        rows.push(keys.row(number, object).map_err(error)?);
    }
    Ok(RawTable {
        unit: Unit::Line,
        label: keys.map_or_else(String::new, |keys| format!("`{}`", keys.label)),
        rows,
        headless: false,
        skipped: 0,
        class_names: None,
    })
}

/// The keys that the first object has.
struct Keys {
    text: String,
    pair: Option<String>,
    label: String,
}

impl Keys {
    fn of(object: &Map<String, Value>, columns: &Columns) -> Result<Self, String> {
        let names: Vec<&str> = object.keys().map(String::as_str).collect();
        let places = columns.of_names(&names)?;
        let name = |place: usize| names[place].to_string();
        Ok(Self {
            text: name(places.text),
            pair: places.pair.map(name),
            label: name(places.label),
        })
    }

    fn row(&self, at: usize, mut object: Map<String, Value>) -> Result<RawRow, String> {
        let mut take = |key: &str| {
            object.remove(key).ok_or_else(|| {
                let found: Vec<&str> = object.keys().map(String::as_str).collect();
                let found = found.join(", ");
                format!("no `{key}`, which the first line has: its keys are {found}")
            })
        };
        let text = |key: &str, value: Value| match value {
            Value::String(text) => Ok(text),
            other => Err(format!("`{key}`: {} is not a text", short(&other))),
        };
        Ok(RawRow {
            at,
            text: text(&self.text, take(&self.text)?)?,
            pair: match &self.pair {
                Some(pair) => Some(text(pair, take(pair)?)?),
                None => None,
            },
            label: label(take(&self.label)?)
                .map_err(|value| format!("`{}`: {value} is not a label", self.label))?,
        })
    }
}

fn label(value: Value) -> Result<RawLabel, String> {
    match value {
        Value::String(text) => Ok(RawLabel::Text(text)),
        Value::Bool(yes) => Ok(RawLabel::Integer(yes.into())),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Ok(RawLabel::Integer(integer)),
            (None, Some(number)) => Ok(RawLabel::Number(number)),
            (None, None) => Err(number.to_string()),
        },
        other => Err(short(&other)),
    }
}

/// A value may be a whole document.
fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Label, Labels};
    use crate::testing::example;
    use proptest::prelude::*;

    fn read(bytes: &[u8], options: impl Into<ReadOptions>) -> Result<Vec<Example>, TrainError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.jsonl");
        std::fs::write(&path, bytes).unwrap();
        read_json_lines(&path, options)
    }

    #[test]
    fn objects_may_have_more_and_in_any_order() {
        let lines = b"{\"id\": [1], \"text\": \"a \\u00e9\", \"label\": 1}\r\n\n\
                      {\"label\": \"0\", \"text\": \"b\"}\n";
        assert_eq!(
            read(lines, 2).unwrap(),
            [example("a é", 1), example("b", 0)]
        );
        let values = b"{\"premise\": \"a\", \"hypothesis\": \"b\", \"label\": 2.5}";
        let examples = read(values, Labels::Values).unwrap();
        assert_eq!(examples[0].pair.as_deref(), Some("b"));
        assert_eq!(examples[0].label, Label::Value(2.5));
        let boolean = b"{\"text\": \"a\", \"label\": true}";
        assert_eq!(read(boolean, 2).unwrap(), [example("a", 1)]);
    }

    #[test]
    fn errors_name_line_and_key() {
        for (bytes, expected) in [
            (&b"\n"[..], "dev.jsonl has no examples"),
            (b"[{\"text\": \"a\", \"label\": 1}]", "line 1: "),
            (b"\n{\"text\": \"a\",", "line 2: "),
            (b"{\"text\": \"\xFF\", \"label\": 1}", "line 1: "),
            (
                b"{\"review\": \"a\", \"label\": 1}",
                "line 1: its columns are review, label, expected a column each for `sentence1`",
            ),
            (
                b"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\"}",
                "line 2: no `label`, which the first line has: its keys are ",
            ),
            (
                b"{\"text\": [1], \"label\": 1}",
                "line 1: `text`: [1] is not a text",
            ),
            (
                b"{\"text\": \"a\", \"label\": null}",
                "line 1: `label`: null is not a label",
            ),
            (
                b"{\"text\": \"a\", \"label\": 2}",
                "line 1: `label`: label 2 is out of range, expected 0 to 1",
            ),
            (
                b"{\"text\": \"a\", \"label\": 0.5}",
                "line 1: `label`: label 0.5 is not a whole number",
            ),
        ] {
            let message = read(bytes, 2).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in prop::collection::vec((".{0,12}", 0..3usize), 1..9)) {
            let line = |(text, label): &(String, usize)| {
                format!("{}\n", serde_json::json!({ "text": text, "label": label }))
            };
            let lines: String = rows.iter().map(line).collect();
            let examples = read(lines.as_bytes(), 3).unwrap();
            for (example, (text, class)) in examples.iter().zip(&rows) {
                prop_assert_eq!(&example.text, text);
                prop_assert_eq!(example.label, Label::Class(*class));
            }
        }

        #[test]
        fn anything_is_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            json in "(\\{|\\}|\"text\":|\"label\":|\"a\"|[0-9.e-]|,|\n|null){0,30}",
        ) {
            for bytes in [bytes.as_slice(), json.as_bytes()] {
                if let Ok(examples) = read(bytes, 2) {
                    prop_assert!(!examples.is_empty());
                }
            }
        }
    }
}
