//! Examples as files have them, before anything is known of their labels.

use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};

use super::Columns;
use super::columns::{Shape, counted};
use crate::TrainError;

/// A file's examples with their labels as they stand there.
pub(super) struct RawTable {
    /// What its rows are called.
    pub unit: Unit,
    /// What its column of labels is called.
    pub label: String,
    pub rows: Vec<RawRow>,
    /// Whether its first row is an example, as nothing names its columns.
    pub headless: bool,
    /// How many were left out.
    pub skipped: usize,
    /// The names of the classes, if the file has them apart from its rows.
    pub class_names: Option<Vec<String>>,
}

/// An example with its label as the file has it.
pub(super) struct RawRow {
    /// The line or row, counted from 1.
    pub at: usize,
    pub text: String,
    pub pair: Option<String>,
    pub label: RawLabel,
}

/// A label as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RawLabel {
    Text(String),
    Integer(i64),
    Number(f64),
}

impl RawLabel {
    /// As a whole number, which some programs write as `1.0`.
    pub fn integer(&self) -> Option<i64> {
        // Every whole number up to there is exact.
        let whole = |number: f64| {
            (number.fract() == 0.0 && number.abs() <= 2f64.powi(53)).then_some(number as i64)
        };
        match self {
            Self::Text(text) => {
                let text = text.trim();
                text.parse().ok().or_else(|| whole(text.parse().ok()?))
            }
            Self::Integer(integer) => Some(*integer),
            Self::Number(number) => whole(*number),
        }
    }

    /// As a finite number.
    pub fn number(&self) -> Option<f32> {
        let number = match self {
            Self::Text(text) => text.trim().parse().ok()?,
            Self::Integer(integer) => *integer as f32,
            Self::Number(number) => *number as f32,
        };
        number.is_finite().then_some(number)
    }

    /// As a name.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_string(),
            Self::Integer(integer) => integer.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Display for RawLabel {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => {
                // A broken file may have anything there.
                let short: String = text.chars().take(80).collect();
                write!(f, "{short:?}")
            }
            Self::Integer(integer) => integer.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// What a file's rows are called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Line,
    Row,
}

impl Unit {
    /// The error for a row that cannot be used.
    pub fn error(self, path: &Path, at: usize, message: String) -> TrainError {
        let path = path.to_path_buf();
        match self {
            Self::Line => TrainError::Line {
                path,
                line: at,
                message,
            },
            Self::Row => TrainError::Row {
                path,
                row: at,
                message,
            },
        }
    }
}

/// The rows of a table of text, as they are read.
pub(super) struct Rows<'a> {
    path: PathBuf,
    columns: &'a Columns,
    skip_short: bool,
    shape: Option<Shape>,
    rows: Vec<RawRow>,
    skipped: usize,
}

impl<'a> Rows<'a> {
    pub fn new(path: &Path, columns: &'a Columns, skip_short: bool) -> Self {
        Self {
            path: path.to_path_buf(),
            columns,
            skip_short,
            shape: None,
            rows: Vec::new(),
            skipped: 0,
        }
    }

    /// The error for this line.
    pub fn error(&self, line: usize, message: String) -> TrainError {
        Unit::Line.error(&self.path, line, message)
    }

    /// Takes the cells of the row that starts in this line.
    pub fn push<S: AsRef<str>>(&mut self, line: usize, cells: &[S]) -> Result<(), TrainError> {
        let Some(shape) = &self.shape else {
            let shape = self.columns.of_table(cells);
            let shape = shape.map_err(|message| self.error(line, message))?;
            let header = shape.header;
            self.shape = Some(shape);
            return match header {
                true => Ok(()),
                false => self.push(line, cells),
            };
        };
        if self.skip_short && cells.len() < *shape.counts.start() {
            self.skipped += 1;
            return Ok(());
        }
        if !shape.counts.contains(&cells.len()) {
            let (found, expected) = (cells.len(), counted(&shape.counts));
            return Err(self.error(line, format!("{found} column(s), expected {expected}")));
        }
        let places = shape.places;
        let cell = |place: usize| cells[place].as_ref().to_string();
        self.rows.push(RawRow {
            at: line,
            text: cell(places.text),
            pair: places.pair.map(cell),
            label: RawLabel::Text(cell(places.label)),
        });
        Ok(())
    }

    /// All of them.
    pub fn finish(self) -> RawTable {
        let headless = self.shape.as_ref().is_some_and(|shape| !shape.header);
        let label = self.shape.map_or(0, |shape| shape.places.label + 1);
        RawTable {
            unit: Unit::Line,
            label: format!("column {label}"),
            rows: self.rows,
            headless,
            skipped: self.skipped,
            class_names: None,
        }
    }
}
