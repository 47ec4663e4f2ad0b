//! Reading examples from files of any format.

use std::path::Path;

use super::csv_file::csv_rows;
use super::json_lines::json_rows;
use super::parquet_file::parquet_rows;
use super::raw::{RawTable, Rows};
use super::tsv::tsv_rows;
use super::{Columns, Example, LabelNames, Labels};
use crate::TrainError;

/// A format of data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Fields separated by tabs, nothing quoted, as in GLUE.
    Tsv,
    /// Comma-separated values with quotes (RFC 4180).
    Csv,
    /// A JSON object a line.
    JsonLines,
    /// The hub's.
    Parquet,
}

impl Format {
    /// What the name of a file says, without `.gz`: `.csv`; `.jsonl`, `.ndjson` or `.json`;
    /// `.parquet`. Everything else is separated by tabs.
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".gz").unwrap_or(&name).to_lowercase();
        match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "csv" => Self::Csv,
            "jsonl" | "ndjson" | "json" => Self::JsonLines,
            "parquet" => Self::Parquet,
            _ => Self::Tsv,
        }
    }
}

/// How data files are read.
///
/// Wherever these are asked for, the number of a model's labels, [`Labels`] or [`LabelNames`] do
/// as well.
///
/// ```
/// use lora_train::data::{Columns, LabelNames, ReadOptions};
///
/// let names = LabelNames::new(["negative", "positive"])?;
/// let options = ReadOptions::new(names).with_columns(Columns::named("review", "opinion"));
/// # Ok::<(), lora_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// What the labels are.
    pub labels: Labels,
    /// Which columns hold what.
    pub columns: Columns,
    /// The format; absent: what the file's name says.
    pub format: Option<Format>,
    /// Whether rows of a table with too few columns are left out, with a warning in the log;
    /// otherwise they are errors.
    pub skip_short_rows: bool,
}

impl ReadOptions {
    /// Reads the usual columns.
    pub fn new(labels: impl Into<Labels>) -> Self {
        Self {
            labels: labels.into(),
            columns: Columns::default(),
            format: None,
            skip_short_rows: false,
        }
    }

    /// Reads these columns.
    #[must_use]
    pub fn with_columns(mut self, columns: Columns) -> Self {
        self.columns = columns;
        self
    }

    /// Reads this format, whatever the files are called.
    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Leaves out rows of a table that have too few columns, as broken lines do.
    #[must_use]
    pub fn with_skip_short_rows(mut self, skip: bool) -> Self {
        self.skip_short_rows = skip;
        self
    }
}

impl From<usize> for ReadOptions {
    fn from(num_labels: usize) -> Self {
        Self::new(num_labels)
    }
}

impl From<Labels> for ReadOptions {
    fn from(labels: Labels) -> Self {
        Self::new(labels)
    }
}

impl From<LabelNames> for ReadOptions {
    fn from(names: LabelNames) -> Self {
        Self::new(names)
    }
}

/// Reads all examples of a split's files, each in the format that its name says (see
/// [`Format::of`]); what is compressed with gzip is unpacked. A byte order mark is skipped.
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Line`] (of a text file) and [`TrainError::Row`] (of a parquet
/// file) for a row with too few columns, text that is not UTF-8 and a label that is unknown or no
/// number; [`TrainError::Parquet`] for a damaged file or other columns; [`TrainError::Empty`] for a
/// file without examples.
pub fn read_examples<P: AsRef<Path>>(
    files: &[P],
    options: impl Into<ReadOptions>,
) -> Result<Vec<Example>, TrainError> {
    let options = options.into();
    let mut examples = Vec::new();
    for path in files {
        let path = path.as_ref();
        let format = options.format.unwrap_or_else(|| Format::of(path));
        examples.extend(read_file(path, format, &options)?);
    }
    match examples.is_empty() {
        true => Err(TrainError::Empty {
            place: "the list of data files".to_string(),
        }),
        false => Ok(examples),
    }
}

/// Reads one file in this format.
pub(super) fn read_file(
    path: &Path,
    format: Format,
    options: &ReadOptions,
) -> Result<Vec<Example>, TrainError> {
    let skip = options.skip_short_rows;
    let table = read_raw(path, Some(format), &options.columns, skip)?;
    if table.skipped > 0 {
        log::warn!(
            "{}: {} row(s) with too few columns were left out",
            path.display(),
            table.skipped
        );
    }
    let mut examples = Vec::with_capacity(table.rows.len());
    for row in table.rows {
        let label = options.labels.label(&row.label);
        examples.push(Example {
            text: row.text,
            pair: row.pair,
            label: label.map_err(|message| {
                let message = format!("{}: {message}", table.label);
                table.unit.error(path, row.at, message)
            })?,
        });
    }
    Ok(examples)
}

/// Reads what a file says, before anything is known of its labels.
pub(super) fn read_raw(
    path: &Path,
    format: Option<Format>,
    columns: &Columns,
    skip_short_rows: bool,
) -> Result<RawTable, TrainError> {
    let table = match format.unwrap_or_else(|| Format::of(path)) {
        Format::Tsv => tsv_rows(path, Rows::new(path, columns, skip_short_rows))?,
        Format::Csv => csv_rows(path, Rows::new(path, columns, skip_short_rows))?,
        Format::JsonLines => json_rows(path, columns)?,
        Format::Parquet => parquet_rows(path, columns)?,
    };
    match table.rows.is_empty() {
        true => Err(TrainError::Empty {
            place: path.display().to_string(),
        }),
        false => Ok(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;
    use crate::testing::example;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_name_says_the_format() {
        for (name, format) in [
            ("train.tsv", Format::Tsv),
            ("train.tsv.gz", Format::Tsv),
            ("msr_paraphrase_train.txt", Format::Tsv),
            ("train", Format::Tsv),
            ("train.CSV", Format::Csv),
            ("a.b/train.csv.gz", Format::Csv),
            ("dev.jsonl", Format::JsonLines),
            ("dev.json.gz", Format::JsonLines),
            ("dev-0.parquet", Format::Parquet),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn every_format_says_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let expected = [example("a fine film", 1), example("dull", 0)];
        for (name, content) in [
            ("a.tsv", "sentence\tlabel\na fine film\tgood\ndull\tbad\n"),
            ("a.csv", "sentence,label\na fine film,good\n\"dull\",bad\n"),
            (
                "a.jsonl",
                "{\"sentence\": \"a fine film\", \"label\": \"good\"}\n\
                 {\"label\": 0, \"sentence\": \"dull\"}\n",
            ),
        ] {
            let plain = folder.path().join(name);
            std::fs::write(&plain, content).unwrap();
            let packed = folder.path().join(format!("{name}.gz"));
            std::fs::write(&packed, gzip(content.as_bytes())).unwrap();
            let names = LabelNames::new(["bad", "good"]).unwrap();
            for path in [plain, packed] {
                assert_eq!(read_examples(&[path], names.clone()).unwrap(), expected);
            }
        }
    }

    #[test]
    fn an_unknown_label_says_where_it_is_and_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.csv");
        std::fs::write(&path, "sentence,label\n\"two\nlines\",good\nx,odd\n").unwrap();
        let names = LabelNames::new(["bad", "good"]).unwrap();
        let message = read_examples(&[&path], names).unwrap_err().to_string();
        let expected = "dev.csv, line 4: column 2: label \"odd\" is unknown, expected bad, good, \
                        or 0 to 1";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn the_format_may_be_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sts.csv");
        std::fs::write(&path, "4.5\ta \"b\", c\td\textra\n0\te\tf\n").unwrap();
        let columns = Columns::placed(1, 0).with_pair_placed(2);
        let options = ReadOptions::new(Labels::Values)
            .with_columns(columns)
            .with_format(Format::Tsv);
        let examples = read_examples(&[path], options).unwrap();
        assert_eq!(examples[0].text, "a \"b\", c");
        assert_eq!(examples[1].pair.as_deref(), Some("f"));
        assert_eq!(examples[0].label, Label::Value(4.5));
    }

    #[test]
    fn short_rows_are_errors_unless_they_are_to_be_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.tsv");
        std::fs::write(&path, "sentence\tlabel\na\t1\nbroken\nb\t0\n").unwrap();
        let options = ReadOptions::new(2);
        let message = read_examples(&[&path], options.clone())
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with("train.tsv, line 3: 1 column(s), expected 2"),
            "{message}"
        );
        let skipping = options.with_skip_short_rows(true);
        assert_eq!(
            read_examples(&[&path], skipping.clone()).unwrap(),
            [example("a", 1), example("b", 0)]
        );
        let table = read_raw(&path, None, &skipping.columns, true).unwrap();
        assert_eq!(table.skipped, 1);
        // Too many are no accident.
        std::fs::write(&path, "sentence\tlabel\na\t1\t2\n").unwrap();
        let message = read_examples(&[&path], skipping).unwrap_err().to_string();
        assert!(message.ends_with("3 column(s), expected 2"), "{message}");
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        let none: [&Path; 0] = [];
        let message = read_examples(&none, 2).unwrap_err().to_string();
        assert_eq!(message, "the list of data files has no examples");
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.tsv.gz");
        let packed = gzip(b"a fine film\t1\n");
        for bytes in [&packed[..packed.len() - 5], b"no archive\t1\n"] {
            std::fs::write(&path, bytes).unwrap();
            let message = read_examples(&[&path], 2).unwrap_err().to_string();
            assert!(message.starts_with("cannot unpack "), "{message}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_archive_is_read_or_refused(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            rest in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("train.tsv");
            let mut packed = gzip(b"a fine film\t1\ndull\t0\n");
            let at = at.index(packed.len());
            packed[at] = byte;
            for bytes in [packed, [&b"\x1F\x8B\x08"[..], &rest].concat()] {
                std::fs::write(&path, bytes).unwrap();
                if let Ok(examples) = read_examples(&[&path], 2) {
                    prop_assert_eq!(examples.len(), 2);
                }
            }
        }
    }
}
