//! Examples as token ids.

use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};
use lora_models::tokenizer::Encoding;
use lora_models::{TextConfig, Tokenizer};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedExample {
    /// The text.
    pub tokens: Tokens,
    /// The class.
    pub class: usize,
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
}

impl TokenizedDataset {
    /// Encodes `examples` for the model with the configuration `config`, each to at most `max_len`
    /// tokens.
    ///
    /// # Errors
    ///
    /// [`TrainError::MaxLen`] if the model has fewer positions; [`TrainError::TokenizerMismatch`]
    /// if it has no embedding for a token; [`TrainError::Label`] and [`TrainError::Regression`];
    /// [`TrainError::Tokenizer`]; [`TrainError::Empty`].
    pub fn encode(
        examples: &[Example],
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        max_len: usize,
    ) -> Result<Self, TrainError> {
        let classes = examples
            .iter()
            .enumerate()
            .map(|(index, example)| class(index, example, config.id2label().len()))
            .collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<_> = examples
            .iter()
            .map(|e| (e.text.as_str(), e.pair.as_deref()))
            .collect();
        let encodings = encode_checked(&texts, tokenizer, config, max_len)?;
        let examples = encodings
            .into_iter()
            .zip(classes)
            .map(|(tokens, class)| TokenizedExample { tokens, class })
            .collect();
        Self::new(examples)
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

fn class(index: usize, example: &Example, num_labels: usize) -> Result<usize, TrainError> {
    match example.label {
        Label::Class(class) if num_labels > 1 && class < num_labels => Ok(class),
        Label::Class(label) if num_labels > 1 => Err(TrainError::Label {
            index,
            text: example.text.clone(),
            label,
            num_labels,
        }),
        _ => Err(TrainError::Regression),
    }
}

/// The tokens of each text, all of which `config`'s model has embeddings for.
pub(crate) fn encode_checked(
    texts: &[(&str, Option<&str>)],
    tokenizer: &Tokenizer,
    config: &impl TextConfig,
    max_len: usize,
) -> Result<Vec<Tokens>, TrainError> {
    if max_len > config.max_tokens() {
        return Err(TrainError::MaxLen {
            max_len,
            max_tokens: config.max_tokens(),
        });
    }
    let mut encoded = Vec::with_capacity(texts.len());
    let encodings = encode_all(texts, tokenizer, max_len)?;
    for (index, (&(text, _), encoding)) in texts.iter().zip(encodings).enumerate() {
        if encoding.ids.is_empty() {
            return Err(TrainError::NoTokens {
                index,
                text: text.to_string(),
            });
        }
        let ids = embeddable(encoding.ids, "token", config.vocab_size(), text)?;
        let type_ids = match config.segments() {
            Some(segments) => embeddable(encoding.type_ids, "segment", segments, text)?,
            None => vec![0; ids.len()],
        };
        encoded.push(Tokens { ids, type_ids });
    }
    Ok(encoded)
}

/// Encodes on all cores where there are no pairs, or only pairs.
fn encode_all(
    texts: &[(&str, Option<&str>)],
    tokenizer: &Tokenizer,
    max_len: usize,
) -> Result<Vec<Encoding>, TrainError> {
    let singles: Vec<&str> = texts
        .iter()
        .filter(|t| t.1.is_none())
        .map(|t| t.0)
        .collect();
    if singles.len() == texts.len() {
        return Ok(tokenizer.encode_batch(&singles, max_len)?);
    }
    let pairs: Vec<(&str, &str)> = texts.iter().filter_map(|t| Some((t.0, t.1?))).collect();
    if pairs.len() == texts.len() {
        return Ok(tokenizer.encode_pairs(&pairs, max_len)?);
    }
    let encode = |&(text, pair): &(&str, Option<&str>)| tokenizer.encode(text, pair, max_len);
    Ok(texts.iter().map(encode).collect::<Result<_, _>>()?)
}

pub(super) fn embeddable(
    ids: Vec<u32>,
    what: &'static str,
    count: usize,
    text: &str,
) -> Result<Vec<i32>, TrainError> {
    let check = |id: u32| match i32::try_from(id) {
        Ok(signed) if (id as usize) < count => Ok(signed),
        _ => Err(TrainError::TokenizerMismatch {
            what,
            id,
            text: text.to_string(),
            count,
        }),
    };
    ids.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example, tiny_config, tokenizer};
    use lora_models::bert::BertConfig;

    fn encode(
        examples: &[Example],
        config: &BertConfig,
        max_len: usize,
    ) -> Result<TokenizedDataset, TrainError> {
        TokenizedDataset::encode(examples, &tokenizer(), config, max_len)
    }

    #[test]
    fn texts_become_ids_with_special_tokens() {
        let config = tiny_config();
        let examples = [example("good film", 1), example("a bad film", 0)];
        let data = encode(&examples, &config, 16).unwrap();
        assert_eq!((data.len(), data.examples()[0].class), (2, 1));
        let expected = tokenizer().encode("good film", None, 16).unwrap();
        let ids: Vec<u32> = data
            .get(0)
            .unwrap()
            .tokens
            .ids
            .iter()
            .map(|id| *id as u32)
            .collect();
        assert_eq!(ids, expected.ids);
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "good ".repeat(50);
        let data = encode(&[example(&long, 1)], &tiny_config(), 8).unwrap();
        assert_eq!(data.examples()[0].tokens.ids.len(), 8);
    }

    #[test]
    fn pairs_and_single_texts_mix() {
        let pair = Example {
            pair: Some("bad".into()),
            ..example("good", 1)
        };
        let data = encode(&[pair.clone(), example("good", 0)], &tiny_config(), 16).unwrap();
        let expected = tokenizer().encode("good", Some("bad"), 16).unwrap();
        assert_eq!(data.examples()[0].tokens.ids.len(), expected.ids.len());
        assert!(data.examples()[1].tokens.ids.len() < expected.ids.len());
        assert_eq!(
            encode(&[pair], &tiny_config(), 16).unwrap().examples()[0],
            data.examples()[0]
        );
    }

    #[test]
    fn what_the_model_cannot_take_is_an_error() {
        let config = tiny_config();
        let good = [example("good", 1)];
        let message = encode(&good, &config, 99).unwrap_err().to_string();
        assert!(
            message.contains("99 tokens") && message.contains("model's 32 positions"),
            "{message}"
        );
        let small = BertConfig {
            vocab_size: 10,
            ..config.clone()
        };
        let message = encode(&good, &small, 16).unwrap_err().to_string();
        assert!(
            message.contains("does not fit") && message.contains("0 to 9"),
            "{message}"
        );
        let message = encode(&[example("odd", 2)], &config, 16)
            .unwrap_err()
            .to_string();
        assert_eq!(message, "example 0 (\"odd\") has label 2, expected 0 to 1");
        assert!(matches!(
            encode(&[], &config, 16),
            Err(TrainError::Empty { .. })
        ));
        let value = Example {
            label: Label::Value(0.5),
            ..example("warm", 0)
        };
        assert!(matches!(
            encode(&[value], &config, 16),
            Err(TrainError::Regression)
        ));
        let message = encode(&good, &config, 1).unwrap_err().to_string();
        assert!(message.contains("raise it to at least"), "{message}");
    }

    #[test]
    fn a_text_without_tokens_is_an_error() {
        // Nothing goes around a text of GPT-2.
        let tokenizer = lora_models::tokenizer::train_gpt2_bpe(["a film"].into_iter(), 260, 1);
        let config = lora_models::gpt2::Gpt2Config {
            vocab_size: 260,
            n_positions: 16,
            ..lora_models::gpt2::Gpt2Config::small()
        };
        let examples = [example("a", 0), example("", 1)];
        let error = TokenizedDataset::encode(&examples, &tokenizer.unwrap(), &config, 8);
        let message = error.unwrap_err().to_string();
        assert_eq!(
            message,
            "text 1 (\"\") has no tokens: expected at least one"
        );
    }
}
