//! A question with a window of its text, as a model reads it.

use std::ops::Range;
use std::sync::Arc;

use lora_models::tokenizer::Window;
use lora_models::{TextConfig, Tokenizer};

use super::{GoldAnswer, Question};
use crate::TrainError;
use crate::data::{
    Cached, EncodeOptions, Rest, TextPair, TokenizedDataset, Tokens, embeddable_tokens,
    encode_cached,
};

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

    fn new(question: usize, window: EncodedWindow, answer: Option<&GoldAnswer>) -> Self {
        let place = answer.and_then(|answer| locate(answer, &window.offsets));
        // The first token says that there is no answer here.
        let (start, end) = match place {
            Some((start, end)) => (window.start + start, window.start + end),
            None => (0, 0),
        };
        Self {
            tokens: window.tokens,
            question,
            start,
            end,
            context: window.start,
            offsets: window.offsets.into(),
        }
    }
}

/// The first and the last token of an answer, if all of it is among these tokens: the last token that
/// begins no later than it does, and the first that ends no earlier.
///
/// `run_qa.py` looks for the first one beyond the last token of the text, too, and takes the special
/// token behind it if the answer is in the last token. Here it is that last token.
fn locate(answer: &GoldAnswer, offsets: &[(u32, u32)]) -> Option<(usize, usize)> {
    let length = answer.text.chars().count();
    let start = u32::try_from(answer.start).ok()?;
    let end = u32::try_from(answer.start.checked_add(length)?).ok()?;
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
        let options = EncodeOptions::new(windows.max_len);
        Self::questions_with(questions, tokenizer, config, windows.doc_stride, &options)
    }

    /// As [`questions`](Self::questions), with a cache and with progress.
    ///
    /// # Errors
    ///
    /// Those of [`questions`](Self::questions), and [`TrainError::TokenCache`].
    pub fn questions_with(
        questions: &[Question],
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        doc_stride: usize,
        options: &EncodeOptions,
    ) -> Result<Self, TrainError> {
        let max_len = options.max_len;
        let mut texts: Vec<TextPair> = Vec::with_capacity(questions.len());
        for question in questions {
            texts.push((without_space(&question.question), Some(&question.context)));
        }
        let numbers = [max_len, doc_stride];
        let windows = encode_cached(&texts, tokenizer, config, &numbers, options, |texts, _| {
            let pairs: Vec<(&str, &str)> = texts
                .iter()
                .map(|(text, pair)| (*text, pair.unwrap_or_default()))
                .collect();
            let encoded = tokenizer.encode_windows(&pairs, max_len, doc_stride)?;
            let each = encoded.into_iter().zip(&pairs);
            each.map(|(windows, (text, _))| EncodedWindow::all(windows, config, text))
                .collect()
        })?;
        let mut features = Vec::with_capacity(questions.len());
        for (index, (windows, question)) in windows.into_iter().zip(questions).enumerate() {
            let answer = question.answers.first();
            let feature = |window| SquadFeature::new(index, window, answer);
            features.extend(windows.into_iter().map(feature));
        }
        Self::new(features)
    }
}

/// A window as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EncodedWindow {
    tokens: Tokens,
    /// The place of the text's first token.
    start: usize,
    /// Where each token of the text begins and ends in it.
    offsets: Vec<(u32, u32)>,
}

impl EncodedWindow {
    /// All windows of a question's text, whose tokens the model has embeddings for.
    fn all(
        windows: Vec<Window>,
        config: &impl TextConfig,
        question: &str,
    ) -> Result<Vec<Self>, TrainError> {
        let window = |window: Window| {
            let offset = |(start, end): &(usize, usize)| (*start as u32, *end as u32);
            Ok(Self {
                tokens: embeddable_tokens(window.encoding, config, question)?,
                start: window.start,
                offsets: window.offsets.iter().map(offset).collect(),
            })
        };
        windows.into_iter().map(window).collect()
    }
}

/// Their number; of each its tokens, the place of the text's first, how many these are, and where they
/// begin and end.
impl Cached for Vec<EncodedWindow> {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend((self.len() as u64).to_le_bytes());
        for window in self {
            window.tokens.write(to);
            for number in [window.start, window.offsets.len()] {
                to.extend((number as u64).to_le_bytes());
            }
            for (start, end) in &window.offsets {
                to.extend(start.to_le_bytes());
                to.extend(end.to_le_bytes());
            }
        }
    }

    fn read(from: &mut Rest<'_>) -> Option<Self> {
        let count = from.length()?;
        let window = |_| {
            let tokens = Tokens::read(from)?;
            let (start, count) = (from.length()?, from.length()?);
            let (offsets, _) = from.take(count.checked_mul(8)?)?.as_chunks::<8>();
            let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
            let offset = |bytes: &[u8; 8]| Some((number(&bytes[..4])?, number(&bytes[4..])?));
            let offsets: Option<_> = offsets.iter().map(offset).collect();
            // The text's tokens are among all of them.
            let within = start.checked_add(count)? <= tokens.ids.len();
            let offsets = offsets.filter(|_| within)?;
            Some(EncodedWindow {
                tokens,
                start,
                offsets,
            })
        };
        (0..count).map(window).collect()
    }
}

/// Without what Python's `lstrip` takes away, which are also the four separators of ASCII.
fn without_space(question: &str) -> &str {
    question.trim_start_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFSETS: [(u32, u32); 4] = [(10, 13), (14, 18), (18, 20), (21, 22)];

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

    fn bytes(windows: &Vec<EncodedWindow>) -> Vec<u8> {
        let mut bytes = Vec::new();
        windows.write(&mut bytes);
        bytes
    }

    fn window() -> impl Strategy<Value = EncodedWindow> {
        let number = || any::<i32>();
        let tokens = prop::collection::vec((number(), number()), 0..9);
        let offsets = prop::collection::vec(any::<(u32, u32)>(), 0..9);
        (tokens, offsets, any::<prop::sample::Index>()).prop_map(|(tokens, mut offsets, start)| {
            offsets.truncate(tokens.len());
            let (ids, type_ids) = tokens.iter().copied().unzip();
            EncodedWindow {
                tokens: Tokens { ids, type_ids },
                start: start.index(tokens.len() - offsets.len() + 1),
                offsets,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_of_a_text_is_read_again(
            windows in prop::collection::vec(window(), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = bytes(&windows);
            let read = |bytes| <Vec<EncodedWindow>>::read(&mut Rest::of(bytes));
            prop_assert_eq!(read(&bytes[..]), Some(windows));
            prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), None);
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(0u8..4, 0..200)) {
            if let Some(windows) = <Vec<EncodedWindow>>::read(&mut Rest::of(&bytes)) {
                for window in windows {
                    prop_assert!(window.start + window.offsets.len() <= window.tokens.ids.len());
                }
            }
        }
    }

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(without_space("\u{a0}\x1c \tWho ?"), "Who ?");
    }
}
