//! Examples, from files to batches.

mod batch;
mod files;
mod parquet_file;
mod tokenized;
mod tsv;

pub use batch::{ClassificationBatch, ClassificationBatcher};
pub use files::{DataFiles, read_examples};
pub use parquet_file::read_parquet;
pub(crate) use tokenized::encode_checked;
pub use tokenized::{TokenizedDataset, TokenizedExample};
pub use tsv::read_tsv;

/// One labelled text, or pair of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// What the model should say.
    pub label: Label,
}

/// What a model should say about a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Label {
    /// A class, from 0.
    Class(usize),
    /// A number, for regression.
    Value(f32),
}

/// Where the fields of an example stand in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Columns {
    text: usize,
    pair: Option<usize>,
    label: usize,
}

impl Columns {
    /// Finds the columns by the names that GLUE and the hub use; `None` if one is not there.
    fn named<S: AsRef<str>>(names: &[S]) -> Option<Self> {
        let find = |wanted: &[&str]| {
            names
                .iter()
                .position(|name| wanted.contains(&name.as_ref()))
        };
        Some(Self {
            text: find(&["sentence", "sentence1", "text"])?,
            pair: find(&["sentence2"]),
            label: find(&["label"])?,
        })
    }
}

/// The label of a class index, checked against the number of classes.
fn class_label(index: i64, num_labels: usize) -> Result<Label, String> {
    match usize::try_from(index) {
        Ok(class) if class < num_labels => Ok(Label::Class(class)),
        _ => {
            let last = num_labels.saturating_sub(1);
            Err(format!(
                "label {index} is out of range, expected 0 to {last}"
            ))
        }
    }
}
