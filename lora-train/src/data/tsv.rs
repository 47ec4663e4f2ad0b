//! GLUE's tab-separated files.

use std::path::Path;

use super::{Columns, Example, Label, class_label};
use crate::TrainError;

/// Reads a file with one example a line, its fields separated by tabs.
///
/// With a header, the columns are found by name: `sentence` (or `sentence1`, or `text`),
/// `sentence2` for pairs, and `label`; others are skipped. Without one, a line is text and label,
/// or text, second text and label. As in GLUE, nothing is quoted. Empty lines are skipped.
///
/// A label is a class index below `num_labels`, or any number if `num_labels` is 1.
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Line`] for invalid UTF-8, a wrong number of columns or a
/// label that is no number or out of range; [`TrainError::Empty`].
pub fn read_tsv(path: &Path, num_labels: usize) -> Result<Vec<Example>, TrainError> {
    let bytes = std::fs::read(path).map_err(|e| TrainError::io("read", path, e))?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut layout: Option<Layout> = None;
    let mut examples = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let error = |message| TrainError::Line {
            path: path.to_path_buf(),
            line: index + 1,
            message,
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let line = std::str::from_utf8(line).map_err(|e| error(invalid_utf8(line, &e)))?;
        let cells: Vec<&str> = line.split('\t').collect();
        let layout = match layout {
            Some(layout) => layout,
            None => {
                let found = Layout::of(&cells).map_err(error)?;
                layout = Some(found);
                if found.header {
                    continue;
                }
                found
            }
        };
        examples.push(layout.example(&cells, num_labels).map_err(error)?);
    }
    if examples.is_empty() {
        return Err(TrainError::Empty {
            place: path.display().to_string(),
        });
    }
    Ok(examples)
}

fn invalid_utf8(line: &[u8], error: &std::str::Utf8Error) -> String {
    let at = error.valid_up_to();
    format!(
        "invalid UTF-8: byte 0x{:02X} at byte {} of the line",
        line[at],
        at + 1
    )
}

/// The shape that the first line gives the file.
#[derive(Clone, Copy)]
struct Layout {
    header: bool,
    count: usize,
    columns: Columns,
}

impl Layout {
    fn of(cells: &[&str]) -> Result<Self, String> {
        let count = cells.len();
        let layout = |header, columns| {
            Ok(Self {
                header,
                count,
                columns,
            })
        };
        match (Columns::named(cells), cells) {
            (Some(columns), _) => layout(true, columns),
            (None, [_, _]) => layout(
                false,
                Columns {
                    text: 0,
                    pair: None,
                    label: 1,
                },
            ),
            (None, [_, _, _]) => layout(
                false,
                Columns {
                    text: 0,
                    pair: Some(1),
                    label: 2,
                },
            ),
            _ => Err(format!(
                "{count} column(s), expected text and label, or text, second text and label, \
                 or a header with `sentence` and `label`"
            )),
        }
    }

    fn example(&self, cells: &[&str], num_labels: usize) -> Result<Example, String> {
        if cells.len() != self.count {
            return Err(format!(
                "{} column(s), expected {}",
                cells.len(),
                self.count
            ));
        }
        let Columns { text, pair, label } = self.columns;
        let (cell, column) = (cells[label], label + 1);
        let label = if num_labels == 1 {
            cell.trim()
                .parse()
                .ok()
                .filter(|v: &f32| v.is_finite())
                .map(Label::Value)
                .ok_or_else(|| format!("column {column}: label {cell:?} is not a number"))?
        } else {
            let index = cell
                .trim()
                .parse()
                .map_err(|_| format!("column {column}: label {cell:?} is not a whole number"))?;
            class_label(index, num_labels).map_err(|e| format!("column {column}: {e}"))?
        };
        let pair = pair.map(|pair| cells[pair].to_string());
        Ok(Example {
            text: cells[text].to_string(),
            pair,
            label,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], num_labels: usize) -> Result<Vec<Example>, TrainError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.tsv");
        std::fs::write(&path, bytes).unwrap();
        read_tsv(&path, num_labels)
    }

    fn message(bytes: &[u8], num_labels: usize) -> String {
        read(bytes, num_labels).unwrap_err().to_string()
    }

    fn single(text: &str, class: usize) -> Example {
        Example {
            text: text.into(),
            pair: None,
            label: Label::Class(class),
        }
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
                "dev.tsv, line 1: 1 column(s), expected text and label",
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
}
