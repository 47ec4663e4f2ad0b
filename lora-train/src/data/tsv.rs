//! GLUE's tab-separated files.

use std::path::Path;

use super::Example;
use super::content::{content, lines, utf8};
use super::raw::{RawTable, Rows};
use super::read::{Format, ReadOptions, read_file};
use crate::TrainError;

/// Reads a file with one example a line, its fields separated by tabs.
///
/// With a header, the columns are found by name: `sentence` (or `sentence1`, or `text`),
/// `sentence2` for pairs, and `label`; others are skipped. Without one, a line is text and label,
/// or text, second text and label. [`ReadOptions`] can say otherwise. As in GLUE, nothing is
/// quoted. Empty lines are skipped.
///
/// A label is a class index below the number of labels, or any number if that is 1; or a name, see
/// [`LabelNames`](super::LabelNames).
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Line`] for invalid UTF-8, a wrong number of columns or a
/// label that is no number, out of range or unknown; [`TrainError::Empty`].
pub fn read_tsv(path: &Path, options: impl Into<ReadOptions>) -> Result<Vec<Example>, TrainError> {
    read_file(path, Format::Tsv, &options.into())
}

pub(super) fn tsv_rows(path: &Path, mut rows: Rows) -> Result<RawTable, TrainError> {
    for (number, line) in lines(&content(path)?) {
        let line = utf8(line, "line").map_err(|message| rows.error(number, message))?;
        let cells: Vec<&str> = line.split('\t').collect();
        rows.push(number, &cells)?;
    }
    Ok(rows.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;
    use crate::testing::example as single;
    use proptest::prelude::*;

    fn read(bytes: &[u8], num_labels: usize) -> Result<Vec<Example>, TrainError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.tsv");
        std::fs::write(&path, bytes).unwrap();
        read_tsv(&path, num_labels)
    }

    fn message(bytes: &[u8], num_labels: usize) -> String {
        read(bytes, num_labels).unwrap_err().to_string()
    }

    #[test]
    fn with_and_without_header() {
        let expected = vec![single("a fine film", 1), single("\"dull\"", 0)];
        assert_eq!(read(b"a fine film\t1\n\"dull\"\t0\n", 2).unwrap(), expected);
        assert_eq!(
            read(b"sentence\tlabel\na fine film\t1\n\"dull\"\t0", 2).unwrap(),
            expected
        );
        let windows = b"\xEF\xBB\xBFsentence\tlabel\r\na fine film\t1\r\n\r\n\"dull\"\t0\r\n";
        assert_eq!(read(windows, 2).unwrap(), expected);
    }

    #[test]
    fn a_header_may_name_columns_in_any_order() {
        let examples = read(b"index\tlabel\tsentence1\tsentence2\n7\t1\tone\ttwo\n", 2).unwrap();
        let expected = [Example {
            pair: Some("two".into()),
            ..single("one", 1)
        }];
        assert_eq!(examples, expected);
        assert_eq!(read(b"one\ttwo\t1\n", 2).unwrap(), expected);
    }

    #[test]
    fn one_label_is_regression() {
        let examples = read(b"warm\t0.75\ncold\t-1\n", 1).unwrap();
        assert_eq!(examples[0].label, Label::Value(0.75));
        assert_eq!(examples[1].label, Label::Value(-1.0));
        assert!(message(b"warm\tNaN\n", 1).contains("label \"NaN\" is not a number"));
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let missing = read_tsv(Path::new("no/such/train.tsv"), 2)
            .unwrap_err()
            .to_string();
        assert!(
            missing.starts_with("cannot read no/such/train.tsv: "),
            "{missing}"
        );
        for (bytes, expected) in [
            (&b""[..], "dev.tsv has no examples"),
            (b"sentence\tlabel\n", "dev.tsv has no examples"),
            (
                b"good\t1\nbad \xFF\t0\n",
                "dev.tsv, line 2: invalid UTF-8: byte 0xFF at byte 5 of the line",
            ),
            (
                b"good\t1\n\nlost\n",
                "dev.tsv, line 3: 1 column(s), expected 2",
            ),
            (
                b"only one\n",
                "dev.tsv, line 1: 1 column(s) (only one), expected a column each for",
            ),
            (
                b"good\tpositive\n",
                "line 1: column 2: label \"positive\" is not a whole number",
            ),
            (
                b"good\t1\nbad\t2\n",
                "line 2: column 2: label 2 is out of range, expected 0 to 1",
            ),
            (
                b"good\t-1\n",
                "line 1: column 2: label -1 is out of range, expected 0 to 1",
            ),
        ] {
            let message = message(bytes, 2);
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            rows in prop::collection::vec(("[^\t\r\n]{0,12}", "[^\t\r\n]{0,12}", 0..3usize), 1..9),
        ) {
            let line = |(a, b, class): &(String, String, usize)| format!("{a}\t{b}\t{class}\n");
            let lines: String = rows.iter().map(line).collect();
            let header = format!("sentence1\tsentence2\tlabel\n{lines}");
            let examples = read(header.as_bytes(), 3).unwrap();
            prop_assert_eq!(examples.len(), rows.len());
            for (example, (text, pair, class)) in examples.iter().zip(&rows) {
                prop_assert_eq!(&example.text, text);
                prop_assert_eq!(example.pair.as_ref(), Some(pair));
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
        fn any_table_is_read_or_refused(table in "([a01\"\t\n\r,.é-]|sentence|label){0,60}") {
            for num_labels in [0, 1, 2] {
                if let Ok(examples) = read(table.as_bytes(), num_labels) {
                    prop_assert!(!examples.is_empty());
                }
            }
        }
    }
}
