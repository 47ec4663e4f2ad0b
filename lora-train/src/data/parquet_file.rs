//! The hub's parquet files.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::{Columns, Example, Label, class_label};
use crate::TrainError;

/// Reads a parquet file with the columns `sentence` (or `sentence1`, or `text`), `sentence2` for
/// pairs, and `label`; others are skipped.
///
/// A label is a class index below `num_labels`, or any number if `num_labels` is 1.
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Parquet`] if the file is damaged or has other columns;
/// [`TrainError::Row`] for a field of another type or a label out of range (the hub's test splits
/// have -1 everywhere); [`TrainError::Empty`].
pub fn read_parquet(path: &Path, num_labels: usize) -> Result<Vec<Example>, TrainError> {
    let bad = |message: String| TrainError::Parquet {
        path: path.to_path_buf(),
        message,
    };
    let damaged = |e: parquet::errors::ParquetError| bad(format!("damaged parquet file: {e}"));
    let file = File::open(path).map_err(|e| TrainError::io("read", path, e))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<&str> = schema
        .get_fields()
        .iter()
        .map(|field| field.name())
        .collect();
    let Some(columns) = Columns::named(&names) else {
        return Err(bad(format!(
            "its columns are {}, expected `sentence` and `label`",
            names.join(", ")
        )));
    };
    let mut examples = Vec::new();
    for (index, row) in reader.get_row_iter(None).map_err(damaged)?.enumerate() {
        let error = |message| TrainError::Row {
            path: path.to_path_buf(),
            row: index + 1,
            message,
        };
        let fields = row.map_err(damaged)?.into_columns();
        examples.push(example(&fields, columns, num_labels).map_err(error)?);
    }
    if examples.is_empty() {
        return Err(TrainError::Empty {
            place: path.display().to_string(),
        });
    }
    Ok(examples)
}

fn example(
    fields: &[(String, Field)],
    columns: Columns,
    num_labels: usize,
) -> Result<Example, String> {
    let text = |column: usize| match &fields[column] {
        (_, Field::Str(text)) => Ok(text.clone()),
        (name, other) => Err(format!("column `{name}`: {other} is not a text")),
    };
    let (name, field) = &fields[columns.label];
    let label = match num_labels {
        1 => Label::Value(number(field).ok_or_else(|| wrong_label(name, field, "a number"))?),
        _ => {
            let index = integer(field).ok_or_else(|| wrong_label(name, field, "a whole number"))?;
            class_label(index, num_labels).map_err(|e| format!("column `{name}`: {e}"))?
        }
    };
    Ok(Example {
        text: text(columns.text)?,
        pair: columns.pair.map(text).transpose()?,
        label,
    })
}

fn wrong_label(column: &str, field: &Field, expected: &str) -> String {
    format!("column `{column}`: label {field} is not {expected}")
}

fn integer(field: &Field) -> Option<i64> {
    match *field {
        Field::Byte(value) => Some(value.into()),
        Field::Short(value) => Some(value.into()),
        Field::Int(value) => Some(value.into()),
        Field::Long(value) => Some(value),
        Field::UByte(value) => Some(value.into()),
        Field::UShort(value) => Some(value.into()),
        Field::UInt(value) => Some(value.into()),
        Field::ULong(value) => value.try_into().ok(),
        _ => None,
    }
}

fn number(field: &Field) -> Option<f32> {
    let value = match *field {
        Field::Float(value) => value,
        Field::Double(value) => value as f32,
        _ => integer(field)? as f32,
    };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
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
        let field = |(name, values): &(&str, Values)| match values {
            Values::Text(_) => format!("REQUIRED BYTE_ARRAY {name} (UTF8);"),
            Values::Integers(_) => format!("REQUIRED INT64 {name};"),
            Values::Numbers(_) => format!("REQUIRED DOUBLE {name};"),
        };
        let fields: String = columns.iter().map(field).collect();
        let schema = parse_message_type(&format!("message schema {{ {fields} }}")).unwrap();
        let properties = Arc::new(WriterProperties::builder().build());
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

    fn read(columns: &[(&str, Values)], num_labels: usize) -> Result<Vec<Example>, TrainError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.parquet");
        write(&path, columns);
        read_parquet(&path, num_labels)
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
    fn errors_name_file_row_and_column() {
        let message = |columns: &[(&str, Values)]| read(columns, 2).unwrap_err().to_string();
        let other = message(&[
            ("review", Values::Text(&["x"])),
            ("label", Values::Integers(&[0])),
        ]);
        assert!(
            other.ends_with(
                "train.parquet: its columns are review, label, expected `sentence` and `label`"
            ),
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
            kind.ends_with("row 1: column `label`: label 0.5 is not a whole number"),
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
}
