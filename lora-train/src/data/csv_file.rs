//! Comma-separated values.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::Example;
use super::content::{content, utf8};
use super::raw::{RawTable, Rows};
use super::read::{Format, ReadOptions, read_file};
use crate::TrainError;

/// Reads comma-separated values (RFC 4180): a field in quotes may have commas, line breaks and, if
/// doubled, quotes.
///
/// Columns and labels are those of [`read_tsv`](super::read_tsv). An error names the line in which
/// its row starts.
///
/// # Errors
///
/// As [`read_tsv`](super::read_tsv); [`TrainError::Line`] for a quote that is never closed.
pub fn read_csv(path: &Path, options: impl Into<ReadOptions>) -> Result<Vec<Example>, TrainError> {
    read_file(path, Format::Csv, &options.into())
}

pub(super) fn csv_rows(path: &Path, mut rows: Rows) -> Result<RawTable, TrainError> {
    let bytes = content(path)?;
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        // Rows are counted here, with the line and what is expected.
        .flexible(true)
        .from_reader(bytes.as_slice());
    let mut record = ByteRecord::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let mut start = reader.position().byte() as usize;
        let more = reader
            .read_byte_record(&mut record)
            .map_err(|e| rows.error(line, e.to_string()))?;
        // The reader passes over empty lines on its way.
        while matches!(bytes.get(start), Some(b'\r' | b'\n')) {
            start += 1;
        }
        line += breaks(&bytes[counted..start]);
        counted = start;
        if !more {
            return Ok(rows.finish());
        }
        let end = reader.position().byte() as usize;
        if end == bytes.len() && ends_in_quotes(&bytes[start..end]) {
            return Err(rows.error(line, "a quote (\") is never closed".to_string()));
        }
        let field = |(index, bytes)| {
            let what = format!("field in column {}", index + 1);
            utf8(bytes, &what)
        };
        let cells: Vec<&str> = record
            .iter()
            .enumerate()
            .map(field)
            .collect::<Result<_, _>>()
            .map_err(|message| rows.error(line, message))?;
        rows.push(line, &cells)?;
    }
}

fn breaks(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Whether a row stops inside a field in quotes, which the reader takes for its end.
fn ends_in_quotes(row: &[u8]) -> bool {
    #[derive(PartialEq)]
    enum In {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let step = |state, byte: &u8| match (state, byte) {
        (In::Quoted, b'"') => In::Closed,
        // A doubled quote closes the field and opens it again.
        (In::Quoted, _) | (In::Start | In::Closed, b'"') => In::Quoted,
        (_, b',') => In::Start,
        _ => In::Plain,
    };
    row.iter().fold(In::Start, step) == In::Quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Columns, Label};
    use crate::testing::example;
    use proptest::prelude::*;

    fn read(bytes: &[u8], options: impl Into<ReadOptions>) -> Result<Vec<Example>, TrainError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.csv");
        std::fs::write(&path, bytes).unwrap();
        read_csv(&path, options)
    }

    fn message(bytes: &[u8]) -> String {
        read(bytes, 2).unwrap_err().to_string()
    }

    #[test]
    fn quotes_hold_commas_quotes_and_line_breaks() {
        let examples = read(b"sentence,label\n\"a, \"\"b\"\"\nc\",1\r\nplain,0", 2).unwrap();
        assert_eq!(examples, [example("a, \"b\"\nc", 1), example("plain", 0)]);
        let marked = b"\xEF\xBB\xBF\"sentence\",\"label\"\n\"\",\"1\"\n";
        assert_eq!(read(marked, 2).unwrap(), [example("", 1)]);
    }

    #[test]
    fn columns_may_be_named_or_placed() {
        let named = ReadOptions::new(2).with_columns(Columns::named("review", "stars"));
        let examples = read(b"stars,id,review\n1,7,fine\n", named).unwrap();
        assert_eq!(examples, [example("fine", 1)]);
        let placed = ReadOptions::new(2).with_columns(Columns::placed(2, 0).with_header());
        let examples = read(b"stars,id,review\n1,7,fine\n", placed).unwrap();
        assert_eq!(examples, [example("fine", 1)]);
    }

    #[test]
    fn errors_name_the_line_in_which_the_row_starts() {
        for (bytes, expected) in [
            (&b""[..], "dev.csv has no examples"),
            (
                b"\n\n\"two\nlines\",1\n\n\nshort\n",
                "line 7: 1 column(s), expected 2",
            ),
            (b"a,1\n\"b,0\n", "line 2: a quote (\") is never closed"),
            (b"a,1\n\"b\"\"\",0\n\"c\"\",1\n", "line 3: a quote"),
            (
                b"a,1\nb\xFF,0\n",
                "line 2: invalid UTF-8: byte 0xFF at byte 2 of the field in column 1",
            ),
            (b"a,1\nb,2\n", "line 2: column 2: label 2 is out of range"),
        ] {
            let message = message(bytes);
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
        // No quotes around it: a measure, not a quotation.
        for text in ["5\" wide", "5\"\"", "a\"\"b\""] {
            let line = format!("{text},1");
            assert_eq!(read(line.as_bytes(), 2).unwrap(), [example(text, 1)]);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in prop::collection::vec((".{0,12}", 0..3usize), 1..9)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["label", "text"]).unwrap();
            for (text, class) in &rows {
                writer.write_record([&class.to_string(), text]).unwrap();
            }
            let examples = read(&writer.into_inner().unwrap(), 3).unwrap();
            prop_assert_eq!(examples.len(), rows.len());
            for (example, (text, class)) in examples.iter().zip(&rows) {
                prop_assert_eq!(&example.text, text);
                prop_assert_eq!(example.label, Label::Class(*class));
            }
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for num_labels in [0, 1, 2] {
                if let Ok(examples) = read(&bytes, num_labels) {
                    prop_assert!(!examples.is_empty());
                }
            }
        }

        #[test]
        fn any_table_is_read_or_refused(table in "([a01\"\n\r,é-]|text|label){0,60}") {
            for num_labels in [0, 1, 2] {
                if let Ok(examples) = read(table.as_bytes(), num_labels) {
                    prop_assert!(!examples.is_empty());
                }
            }
        }
    }
}
