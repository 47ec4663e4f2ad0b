//! Examples, from files to batches.
//!
//! [`read_examples`] reads tables (separated by tabs as GLUE's, or by commas), JSON lines and the
//! hub's parquet files, whose columns and labels [`ReadOptions`] describe; [`DataFiles`] finds them
//! in a folder or on the hub. [`TokenizedDataset`] has what a model reads, from there, from a data
//! set of Burn's or one's own, or from texts for a language model.
//!
//! ```
//! use lora_train::data::{Label, LabelNames, read_examples};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("reviews.csv");
//! std::fs::write(&path, "text,label\n\"Warm, and funny.\",good\nDull.,bad\n")?;
//!
//! let names = LabelNames::new(["bad", "good"])?;
//! let examples = read_examples(&[path], names)?;
//! assert_eq!(examples[0].text, "Warm, and funny.");
//! assert_eq!(examples[0].label, Label::Class(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod causal;
mod columns;
mod content;
mod csv_file;
mod encode;
mod encode_progress;
mod files;
mod json_lines;
mod label_names;
mod labels;
mod lengths;
mod loader;
mod order;
mod parquet_file;
mod place;
mod raw;
mod read;
mod token_cache;
mod tokenized;
mod tsv;

pub use batch::{ClassificationBatch, ClassificationBatcher, Targets};
pub use causal::{
    CausalBatch, CausalBatcher, CausalExample, PromptResponse, encode_prompts, group_by_prompt,
    read_e2e,
};
pub use columns::Columns;
pub(crate) use content::content;
pub use csv_file::read_csv;
pub use encode::EncodeOptions;
pub(crate) use encode::{TextPair, embeddable_tokens, encode_cached, encode_checked};
pub use encode_progress::EncodeProgress;
pub use files::DataFiles;
pub(crate) use files::choose;
pub use json_lines::read_json_lines;
pub use label_names::LabelNames;
pub use labels::Labels;
pub use lengths::{LengthBucket, LengthSummary};
pub use loader::MicroBatch;
pub(crate) use loader::RunLoader;
pub(crate) use order::mix;
pub use parquet_file::read_parquet;
pub(crate) use place::Place;
pub use read::{Format, ReadOptions, read_examples};
pub(crate) use token_cache::{Cached, Rest};
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

impl Label {
    /// The class, if it is one.
    #[must_use]
    pub fn class(self) -> Option<usize> {
        match self {
            Self::Class(class) => Some(class),
            Self::Value(_) => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn value(self) -> Option<f32> {
        match self {
            Self::Class(_) => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// At most `count` of the examples, drawn at random; the same ones for the same seed.
pub fn sample(mut examples: Vec<Example>, count: usize, seed: u64) -> Vec<Example> {
    if count < examples.len() {
        examples.shuffle(&mut StdRng::seed_from_u64(seed));
        examples.truncate(count);
    }
    examples
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
