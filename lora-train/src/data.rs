//! Examples, from files to batches.

mod batch;
mod causal;
mod files;
mod parquet_file;
mod tokenized;
mod tsv;

pub use batch::{ClassificationBatch, ClassificationBatcher};
pub use causal::{
    CausalBatch, CausalBatcher, CausalExample, PromptResponse, encode_prompts, group_by_prompt,
    read_e2e,
};
pub use files::{DataFiles, read_examples};
pub use parquet_file::read_parquet;
pub(crate) use tokenized::encode_checked;
pub use tokenized::{TokenizedDataset, TokenizedExample, Tokens};
pub use tsv::read_tsv;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

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

/// At most `count` of the examples, drawn at random; the same ones for the same seed.
pub fn sample(mut examples: Vec<Example>, count: usize, seed: u64) -> Vec<Example> {
    if count < examples.len() {
        examples.shuffle(&mut StdRng::seed_from_u64(seed));
        examples.truncate(count);
    }
    examples
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::example;

    #[test]
    fn a_sample_is_drawn_without_repetition() {
        let all: Vec<_> = (0..50).map(|i| example(&i.to_string(), i % 2)).collect();
        let some = sample(all.clone(), 10, 1);
        assert_eq!(some, sample(all.clone(), 10, 1));
        assert_ne!(some, sample(all.clone(), 10, 2));
        let mut texts: Vec<_> = some.iter().map(|example| &example.text).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 10);
        assert_eq!(sample(all.clone(), 50, 1), all);
    }
}
