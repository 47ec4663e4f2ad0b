//! A question with a window of its text, as a model reads it.

use std::ops::Range;
use std::sync::Arc;

use lora_models::tokenizer::Window;
use lora_models::{TextConfig, Tokenizer};

use super::{GoldAnswer, Question};
use crate::TrainError;
use crate::data::{TokenizedDataset, Tokens, embeddable};

/// How the texts of questions are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// The longest sequence in tokens: the question, special tokens, and a window of the text.
    pub max_len: usize,
    /// How many tokens of the text two windows that follow each other share.
    pub doc_stride: usize,
}

impl Default for Windows {
    /// `run_qa.py`'s: 384 tokens, of which 128 are shared.
    fn default() -> Self {
        Self {
            max_len: 384,
            doc_stride: 128,
        }
    }
}

/// A question with a window of its text, and where the answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SquadFeature {
    tokens: Tokens,
    question: usize,
    start: usize,
    end: usize,
    context: usize,
    offsets: Arc<[(u32, u32)]>,
}

impl SquadFeature {
    /// What the model reads.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The number of its question in the data, from 0.
    pub fn question(&self) -> usize {
        self.question
    }

    /// The first token of the answer: 0, the first of all, if it is not in this window or there is
    /// none.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The last token of the answer, or 0.
    pub fn end(&self) -> usize {
        self.end
    }

    /// The tokens of the window.
    pub fn context(&self) -> Range<usize> {
        self.context..self.context + self.offsets.len()
    }

    /// Where a token begins and ends in the text, in characters; `None` if it is not of the text.
    pub fn offsets(&self, token: usize) -> Option<(usize, usize)> {
        let (start, end) = self.offsets.get(token.checked_sub(self.context)?)?;
        Some((*start as usize, *end as usize))
    }

    fn new(question: usize, tokens: Tokens, window: &Window, answer: Option<&GoldAnswer>) -> Self {
        let place = answer.and_then(|answer| locate(answer, &window.offsets));
        // The first token says that there is no answer here.
        let (start, end) = match place {
            Some((start, end)) => (window.start + start, window.start + end),
            None => (0, 0),
        };
        let offset = |(start, end): &(usize, usize)| (*start as u32, *end as u32);
        Self {
            tokens,
            question,
            start,
            end,
            context: window.start,
            offsets: window.offsets.iter().map(offset).collect(),
        }
    }
}

/// The first and the last token of an answer, if all of it is among these tokens: the last token that
/// begins no later than it does, and the first that ends no earlier.
///
/// `run_qa.py` looks for the first one beyond the last token of the text, too, and takes the special
/// token behind it if the answer is in the last token. Here it is that last token.
fn locate(answer: &GoldAnswer, offsets: &[(usize, usize)]) -> Option<(usize, usize)> {
    let (start, end) = (
        answer.start,
        answer.start.saturating_add(answer.text.chars().count()),
    );
    let within = offsets.first()?.0 <= start && offsets.last()?.1 >= end;
    if !within {
        return None;
    }
    let begins = offsets.iter().position(|(begin, _)| *begin > start);
    let begins = begins.unwrap_or(offsets.len()).saturating_sub(1);
    let ends_before = offsets.iter().rposition(|(_, stop)| *stop < end);
    let ends = ends_before.map_or(0, |last| last + 1);
    Some((begins, ends))
}

impl TokenizedDataset<SquadFeature> {
    /// Questions with windows of their texts: of each question all that there are, one after the
    /// other. White space before a question is left out. Of several answers the first counts.
    ///
    /// # Errors
    ///
    /// [`TrainError::MaxLen`] if the model has fewer positions; [`TrainError::Tokenizer`], with
    /// [`NoRoom`](lora_models::tokenizer::TokenizerError::NoRoom) for a question that leaves too few
    /// tokens for its text; [`TrainError::TokenizerMismatch`]; [`TrainError::Empty`].
    pub fn questions(
        questions: &[Question],
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        windows: Windows,
    ) -> Result<Self, TrainError> {
        let Windows {
            max_len,
            doc_stride,
        } = windows;
        if max_len > config.max_tokens() {
            return Err(TrainError::MaxLen {
                max_len,
                max_tokens: config.max_tokens(),
            });
        }
        let pairs: Vec<(&str, &str)> = questions
            .iter()
            .map(|question| (without_space(&question.question), &*question.context))
            .collect();
        let mut features = Vec::with_capacity(pairs.len());
        let encoded = tokenizer.encode_windows(&pairs, max_len, doc_stride)?;
        for (index, (windows, question)) in encoded.into_iter().zip(questions).enumerate() {
            for mut window in windows {
                let text = &question.question;
                let ids = std::mem::take(&mut window.encoding.ids);
                let ids = embeddable(ids, "token", config.vocab_size(), text)?;
                let type_ids = std::mem::take(&mut window.encoding.type_ids);
                let type_ids = match config.segments() {
                    Some(segments) => embeddable(type_ids, "segment", segments, text)?,
                    None => vec![0; ids.len()],
                };
                let tokens = Tokens { ids, type_ids };
                let answer = question.answers.first();
                features.push(SquadFeature::new(index, tokens, &window, answer));
            }
        }
        Self::new(features)
    }
}

/// Without what Python's `lstrip` takes away, which are also the four separators of ASCII.
fn without_space(question: &str) -> &str {
    question.trim_start_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSETS: [(usize, usize); 4] = [(10, 13), (14, 18), (18, 20), (21, 22)];

    fn place(start: usize, text: &str) -> Option<(usize, usize)> {
        let text = text.to_string();
        locate(&GoldAnswer { text, start }, &OFFSETS)
    }

    #[test]
    fn an_answer_is_all_tokens_that_it_touches() {
        assert_eq!(place(10, "abc"), Some((0, 0)));
        assert_eq!(place(11, "b defg"), Some((0, 1)));
        assert_eq!(place(14, "éßgh ij"), Some((1, 3)));
        // Where `run_qa.py` gives the token behind it.
        assert_eq!(place(21, "i"), Some((3, 3)));
    }

    #[test]
    fn an_answer_that_is_cut_is_none() {
        assert_eq!(place(9, "ab"), None);
        assert_eq!(place(21, "ij"), None);
        assert_eq!(place(0, "abc"), None);
        assert_eq!(
            locate(
                &GoldAnswer {
                    text: String::new(),
                    start: 0
                },
                &[]
            ),
            None
        );
    }

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(without_space("\u{a0}\x1c \tWho ?"), "Who ?");
    }
}
