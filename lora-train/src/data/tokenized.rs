//! Examples as token ids.

use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};
use lora_models::{TextConfig, Tokenizer};

use super::encode::{EncodeOptions, encode_with};
use super::{Example, Label};
use crate::TrainError;

/// A text, or pair of texts, as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub ids: Vec<i32>,
    /// The segment of each token.
    pub type_ids: Vec<i32>,
}

/// One example, ready for a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizedExample {
    /// The text.
    pub tokens: Tokens,
    /// What the model should say.
    pub label: Label,
    /// Whether the text has more tokens than these.
    pub cut: bool,
}

/// A data set in memory, every text encoded once.
#[derive(Debug, Clone)]
pub struct TokenizedDataset<E = TokenizedExample> {
    examples: Arc<Vec<E>>,
}

impl<E> TokenizedDataset<E> {
    /// A data set of these examples.
    ///
    /// # Errors
    ///
    /// [`TrainError::Empty`] if there are none.
    pub fn new(examples: Vec<E>) -> Result<Self, TrainError> {
        match examples.is_empty() {
            true => Err(TrainError::Empty {
                place: "the data set".to_string(),
            }),
            false => Ok(Self {
                examples: Arc::new(examples),
            }),
        }
    }

    /// All examples.
    pub fn examples(&self) -> &[E] {
        &self.examples
    }

    /// All examples, for somebody who keeps them.
    pub(crate) fn shared(&self) -> Arc<Vec<E>> {
        self.examples.clone()
    }
}

impl<E: Clone> TokenizedDataset<E> {
    /// The same examples in another order.
    pub(crate) fn sorted_by_key(&self, key: impl Fn(&E) -> usize) -> Self {
        let mut examples = self.examples.to_vec();
        examples.sort_by_key(key);
        Self {
            examples: Arc::new(examples),
        }
    }
}

impl TokenizedDataset {
    /// Encodes `examples` for the model with the configuration `config`, each to at most `max_len`
    /// tokens. Of a pair, the longer text is shortened first, then both evenly (Hugging Face's
    /// `longest_first`).
    ///
    /// # Errors
    ///
    /// [`TrainError::MaxLen`] if the model has fewer positions; [`TrainError::TokenizerMismatch`]
    /// if it has no embedding for a token; [`TrainError::Label`] for a class that the model does
    /// not have, and [`TrainError::LabelKind`] for a class where it predicts numbers (it has one
    /// label) or the other way round; [`TrainError::Tokenizer`]; [`TrainError::Empty`].
    pub fn encode(
        examples: &[Example],
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        max_len: usize,
    ) -> Result<Self, TrainError> {
        Self::encode_with(examples, tokenizer, config, &EncodeOptions::new(max_len))
    }

    /// As [`encode`](Self::encode), with progress and with a cache on disk.
    ///
    /// # Errors
    ///
    /// Those of [`encode`](Self::encode); [`TrainError::TokenCache`] if the cache cannot be
    /// written.
    pub fn encode_with(
        examples: &[Example],
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        options: &EncodeOptions,
    ) -> Result<Self, TrainError> {
        for (index, example) in examples.iter().enumerate() {
            check_label(index, example, config.id2label().len())?;
        }
        let texts: Vec<_> = examples
            .iter()
            .map(|e| (e.text.as_str(), e.pair.as_deref()))
            .collect();
        let encoded = encode_with(&texts, tokenizer, config, options)?;
        let tokenized = encoded
            .into_iter()
            .zip(examples)
            .map(|(encoded, example)| TokenizedExample {
                tokens: encoded.tokens,
                label: example.label,
                cut: encoded.cut,
            })
            .collect();
        Self::new(tokenized)
    }

    /// Encodes a data set of Burn's, or one's own; one of other items can be mapped with Burn's
    /// `MapperDataset`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Dataset`] if it fails to give an example, and those of
    /// [`encode`](Self::encode).
    pub fn from_dataset(
        dataset: &impl Dataset<Example>,
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        max_len: usize,
    ) -> Result<Self, TrainError> {
        let options = EncodeOptions::new(max_len);
        Self::from_dataset_with(dataset, tokenizer, config, &options)
    }

    /// As [`from_dataset`](Self::from_dataset), with progress and with a cache on disk.
    ///
    /// # Errors
    ///
    /// Those of [`from_dataset`](Self::from_dataset); [`TrainError::TokenCache`] if the cache
    /// cannot be written.
    pub fn from_dataset_with(
        dataset: &impl Dataset<Example>,
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        options: &EncodeOptions,
    ) -> Result<Self, TrainError> {
        let example = |index| {
            dataset.get(index).map_err(|e| TrainError::Dataset {
                index,
                message: e.to_string(),
            })
        };
        let examples: Vec<Example> = (0..dataset.len()).map(example).collect::<Result<_, _>>()?;
        Self::encode_with(&examples, tokenizer, config, options)
    }
}

impl<E: Clone + Send + Sync> Dataset<E> for TokenizedDataset<E> {
    fn get(&self, index: usize) -> Result<E, DatasetError> {
        Ok(self.examples[index].clone())
    }

    fn len(&self) -> usize {
        self.examples.len()
    }
}

/// Checks that a model with so many labels can learn this one.
fn check_label(index: usize, example: &Example, num_labels: usize) -> Result<(), TrainError> {
    let wrong = |found, expected| TrainError::LabelKind {
        index,
        text: example.text.clone(),
        found,
        num_labels,
        expected,
    };
    match example.label {
        Label::Value(value) if num_labels == 1 && value.is_finite() => Ok(()),
        Label::Value(value) if num_labels == 1 => Err(wrong(
            format!("the value {value}"),
            "leave the example out: the target of a regression is a finite number",
        )),
        Label::Value(value) => Err(wrong(
            format!("the value {value}"),
            "use class indices (`Label::Class`), or a model with one label for regression",
        )),
        Label::Class(class) if class < num_labels && num_labels > 1 => Ok(()),
        Label::Class(label) if num_labels > 1 => Err(TrainError::Label {
            index,
            text: example.text.clone(),
            label,
            num_labels,
        }),
        Label::Class(class) => Err(wrong(
            format!("class {class}"),
            "use numbers (`Label::Value`) for regression, or a model with two labels or more",
        )),
    }
}

#[cfg(test)]
mod tests;
