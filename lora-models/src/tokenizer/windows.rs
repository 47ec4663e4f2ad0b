//! A question with a text that is too long for the model, a window of it at a time.

use tokenizers::parallelism::MaybeParallelRefIterator;
use tokenizers::{PostProcessor, Tokenizer as Inner, TruncationParams, TruncationStrategy};

use super::{Encoding, Tokenizer, TokenizerError};

/// The tokens of a pair of texts, of whose second text this is a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// All tokens, special ones included.
    pub encoding: Encoding,
    /// The place of the first token of the second text.
    pub start: usize,
    /// Where each token of the second text begins and ends in it, in characters (Unicode scalar
    /// values), whatever the tokenizer's normalizer does to them.
    pub offsets: Vec<(usize, usize)>,
}

impl Tokenizer {
    /// Encodes pairs of texts, of which the second is cut into windows: each result has at most
    /// `max_len` tokens, special ones included, begins with the whole first text, and shares `stride`
    /// tokens of the second text with the window before it. They are what Hugging Face's
    /// `truncation="only_second"` with `return_overflowing_tokens` and `return_offsets_mapping`
    /// gives. Every pair has at least one window.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoRoom`] if a first text leaves no more than `stride` tokens for a second
    /// text that has to be cut; [`TokenizerError::Failed`] if the tokenizer refuses a text.
    pub fn encode_windows<S>(
        &self,
        pairs: &[(S, S)],
        max_len: usize,
        stride: usize,
    ) -> Result<Vec<Vec<Window>>, TokenizerError>
    where
        S: AsRef<str> + Sync,
    {
        let special = self
            .0
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(true));
        let least = special.saturating_add(stride);
        let mut cutting = self.0.clone();
        // Less would be refused before any text is seen; whether it is enough depends on the texts.
        let params = TruncationParams {
            max_length: max_len.max(least),
            strategy: TruncationStrategy::OnlySecond,
            stride,
            ..TruncationParams::default()
        };
        cutting.with_truncation(Some(params)).map_err(failed)?;
        let windows = |(first, second): &(S, S)| {
            let (first, second) = (first.as_ref(), second.as_ref());
            let count = |text: &str| -> Result<usize, TokenizerError> {
                Ok(self.0.encode_fast(text, false).map_err(failed)?.len())
            };
            let taken = count(first)?;
            if max_len.saturating_sub(special + taken) > stride {
                return windows(&cutting, first, second);
            }
            match special + taken + count(second)? <= max_len {
                true => windows(&self.0, first, second),
                false => Err(TokenizerError::NoRoom {
                    text: first.to_string(),
                    tokens: taken,
                    max_len,
                    stride,
                }),
            }
        };
        pairs.maybe_par_iter().map(windows).collect()
    }
}

fn windows(tokenizer: &Inner, first: &str, second: &str) -> Result<Vec<Window>, TokenizerError> {
    let whole = tokenizer.encode_char_offsets((first, second), true);
    let mut whole = whole.map_err(failed)?;
    let further = whole.take_overflowing();
    let window = |encoding: &tokenizers::Encoding| {
        let texts = encoding.get_sequence_ids();
        let of_second = |text: &Option<usize>| *text == Some(1);
        // Without tokens it begins at the end.
        let start = texts.iter().position(of_second).unwrap_or(texts.len());
        let count = texts[start..].iter().take_while(|text| of_second(text));
        let end = start + count.count();
        Window {
            encoding: Encoding {
                ids: encoding.get_ids().to_vec(),
                type_ids: encoding.get_type_ids().to_vec(),
            },
            start,
            offsets: encoding.get_offsets()[start..end].to_vec(),
        }
    };
    Ok(std::iter::once(&whole)
        .chain(&further)
        .map(window)
        .collect())
}

fn failed(error: impl std::fmt::Display) -> TokenizerError {
    TokenizerError::Failed {
        action: "encode a text in windows",
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CONTEXT: &str =
        "Ünseen, the quick brown fox jumps over the lazy dog and the 漢字 mind it.";

    fn tokenizer(family: &str) -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers");
        Tokenizer::from_folder(&folder.join(family)).unwrap()
    }

    fn of(family: &str, question: &str, max_len: usize, stride: usize) -> Vec<Window> {
        let pairs = [(question, CONTEXT)];
        let windows = tokenizer(family).encode_windows(&pairs, max_len, stride);
        windows.unwrap().remove(0)
    }

    #[test]
    fn a_pair_that_fits_is_one_window() {
        for family in ["roberta", "bert"] {
            let windows = of(family, "Who jumps?", 512, 128);
            let expected = tokenizer(family).encode("Who jumps?", Some(CONTEXT), 512);
            assert_eq!(windows.len(), 1);
            assert_eq!(windows[0].encoding, expected.unwrap());
        }
    }

    #[test]
    fn windows_share_the_stride_and_cover_the_text() {
        for family in ["roberta", "bert"] {
            let whole = &of(family, "Who jumps?", 512, 0)[0];
            for (max_len, stride) in [(20, 0), (20, 3), (26, 5)] {
                let windows = of(family, "Who jumps?", max_len, stride);
                assert!(windows.len() > 1);
                let mut offsets = windows[0].offsets.clone();
                for window in &windows[1..] {
                    assert_eq!(offsets[offsets.len() - stride..], window.offsets[..stride]);
                    offsets.extend(&window.offsets[stride..]);
                }
                assert_eq!(offsets, whole.offsets);
                let question = whole.start;
                for window in &windows {
                    assert!(window.encoding.ids.len() <= max_len);
                    assert_eq!(window.start, question);
                    assert_eq!(
                        window.encoding.ids[..question],
                        whole.encoding.ids[..question]
                    );
                }
            }
        }
    }

    #[test]
    fn offsets_are_characters_of_the_text_as_it_was() {
        let characters: Vec<char> = CONTEXT.chars().collect();
        let windows = of("bert", "", 512, 0);
        let words: Vec<String> = windows[0]
            .offsets
            .iter()
            .map(|&(start, end)| characters[start..end].iter().collect())
            .collect();
        assert!(words.contains(&"fox".to_string()) && words.contains(&"漢".to_string()));
        assert_eq!(words.last().unwrap(), ".");
    }

    #[test]
    fn a_question_that_leaves_no_room_is_named() {
        let tokenizer = tokenizer("bert");
        let question = "the quick brown fox";
        let error = |max_len, stride| {
            let pairs = [(question, CONTEXT)];
            let error = tokenizer
                .encode_windows(&pairs, max_len, stride)
                .unwrap_err();
            assert!(matches!(error, TokenizerError::NoRoom { .. }), "{error}");
            error.to_string()
        };
        let message = error(12, 5);
        assert!(
            message.contains(question) && message.contains("4 tokens"),
            "{message}"
        );
        assert!(error(2, 0).contains("no room in 2"));
        assert!(error(0, 0).contains("no room in 0"));
        // What has to be cut is not, but what fits needs no room.
        let pairs = [(question, "fox")];
        assert!(tokenizer.encode_windows(&pairs, 8, 100).is_ok());
        assert!(tokenizer.encode_windows(&pairs, 8, usize::MAX).is_err());
    }
}
