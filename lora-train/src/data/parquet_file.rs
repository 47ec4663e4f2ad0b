//! The hub's parquet files.

use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::columns::Places;
use super::raw::{RawLabel, RawRow, RawTable, Unit};
use super::read::{Format, ReadOptions, read_file};
use super::{Columns, Example};
use crate::TrainError;

/// Reads a parquet file with the columns `sentence` (or `sentence1`, or `text`), `sentence2` for
/// pairs, and `label`; others are skipped. [`ReadOptions`] can say otherwise.
///
/// A label is a class index below the number of labels, or any number if that is 1; or a name, see
/// [`LabelNames`](super::LabelNames).
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Parquet`] if the file is damaged or has other columns;
/// [`TrainError::Row`] for a field of another type or a label out of range (the hub's test splits
/// have -1 everywhere) or unknown; [`TrainError::Empty`].
pub fn read_parquet(
    path: &Path,
    options: impl Into<ReadOptions>,
) -> Result<Vec<Example>, TrainError> {
    read_file(path, Format::Parquet, &options.into())
}

pub(super) fn parquet_rows(path: &Path, columns: &Columns) -> Result<RawTable, TrainError> {
    // The reader panics on some damaged files.
    std::panic::catch_unwind(|| rows_of(path, columns)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        let reason = text.unwrap_or("its reader gave up");
        Err(TrainError::Parquet {
            path: path.to_path_buf(),
            message: format!("damaged parquet file: {reason}"),
        })
    })
}

fn rows_of(path: &Path, columns: &Columns) -> Result<RawTable, TrainError> {
    let bad = |message: String| TrainError::Parquet {
        path: path.to_path_buf(),
        message,
    };
    let damaged = |e: ParquetError| bad(format!("damaged parquet file: {e}"));
    let file = File::open(path).map_err(|e| TrainError::io("read", path, e))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<&str> = schema
        .get_fields()
        .iter()
        .map(|field| field.name())
        .collect();
    let places = columns.of_names(&names).map_err(bad)?;
    let (label, label_name) = (
        format!("column `{}`", names[places.label]),
        names[places.label],
    );
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let class_names = metadata.and_then(|entries| {
        let entry = entries.iter().find(|entry| entry.key == "huggingface")?;
        class_names(entry.value.as_deref()?, label_name)
    });
    let mut rows = Vec::new();
    for (at, row) in (1..).zip(reader.get_row_iter(None).map_err(damaged)?) {
        let fields = row.map_err(damaged)?.into_columns();
        let row = row_of(at, &fields, places);
        rows.push(row.map_err(|message| Unit::Row.error(path, at, message))?);
    }
    Ok(RawTable {
        unit: Unit::Row,
        label,
        rows,
        headless: false,
        skipped: 0,
        class_names,
    })
}

/// The names of the classes of a column, which Hugging Face's `datasets` writes into the metadata.
fn class_names(metadata: &str, column: &str) -> Option<Vec<String>> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    let names = &metadata["info"]["features"][column]["names"];
    let name = |name: &serde_json::Value| Some(name.as_str()?.to_string());
    names.as_array()?.iter().map(name).collect()
}

fn row_of(at: usize, fields: &[(String, Field)], places: Places) -> Result<RawRow, String> {
    let text = |column: usize| match &fields[column] {
        (_, Field::Str(text)) => Ok(text.clone()),
        (name, other) => Err(format!("column `{name}`: {other} is not a text")),
    };
    let (name, field) = &fields[places.label];
    Ok(RawRow {
        at,
        text: text(places.text)?,
        pair: places.pair.map(text).transpose()?,
        label: label(field).ok_or_else(|| format!("column `{name}`: {field} is not a label"))?,
    })
}

fn label(field: &Field) -> Option<RawLabel> {
    let integer = match field {
        Field::Str(text) => return Some(RawLabel::Text(text.clone())),
        Field::Float(value) => return Some(RawLabel::Number((*value).into())),
        Field::Double(value) => return Some(RawLabel::Number(*value)),
        Field::Bool(value) => i64::from(*value),
        Field::Byte(value) => i64::from(*value),
        Field::Short(value) => i64::from(*value),
        Field::Int(value) => i64::from(*value),
        Field::Long(value) => *value,
        Field::UByte(value) => i64::from(*value),
        Field::UShort(value) => i64::from(*value),
        Field::UInt(value) => i64::from(*value),
        Field::ULong(value) => i64::try_from(*value).ok()?,
        _ => return None,
    };
    Some(RawLabel::Integer(integer))
}

#[cfg(test)]
mod tests;
