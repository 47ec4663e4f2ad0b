//! Texts as token ids that a model has embeddings for.

use std::path::PathBuf;

use lora_models::tokenizer::{Encoding, TokenizerError};
use lora_models::{TextConfig, Tokenizer};

use super::encode_progress::{EncodeProgress, Reporter};
use super::token_cache::{Cached, Rest, TokenCache};
use super::tokenized::Tokens;
use crate::TrainError;

/// How many texts are encoded between two reports of progress.
const CHUNK: usize = 1024;

/// How examples are made into token ids.
#[derive(Debug, Clone)]
pub struct EncodeOptions<'a> {
    /// The longest sequence in tokens, special ones included; what is longer is cut.
    pub max_len: usize,
    /// A folder that keeps the token ids for the next time. Each file is named for what it is made
    /// from: the texts, the tokenizer, the maximum length and what the model reads. One that is
    /// damaged, or from elsewhere, is made anew, with a warning in the log; a folder that cannot be
    /// written to is an error. Files that are out of use stay until somebody deletes them.
    pub cache: Option<PathBuf>,
    /// Who is told how far it is.
    pub progress: EncodeProgress<'a>,
}

impl<'a> EncodeOptions<'a> {
    /// Sequences of at most `max_len` tokens, no cache, nothing said.
    pub fn new(max_len: usize) -> Self {
        Self {
            max_len,
            cache: None,
            progress: EncodeProgress::Silent,
        }
    }

    /// Keeps the token ids in this folder, which is made if needed.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Says how far it is.
    #[must_use]
    pub fn with_progress(mut self, progress: EncodeProgress<'a>) -> Self {
        self.progress = progress;
        self
    }
}

/// The token ids of a text, and whether that is all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    pub tokens: Tokens,
    pub cut: bool,
}

/// The number of tokens, whether it was cut, the ids and the segments.
impl Cached for Encoded {
    fn write(&self, to: &mut Vec<u8>) {
        self.tokens.write(to);
        to.push(self.cut.into());
    }

    fn read(from: &mut Rest<'_>) -> Option<Self> {
        let tokens = Tokens::read(from)?;
        let cut = from.take(1)? == [1];
        Some(Self { tokens, cut })
    }
}

/// Their number, the ids and the segments.
impl Cached for Tokens {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend((self.ids.len() as u64).to_le_bytes());
        for number in self.ids.iter().chain(&self.type_ids) {
            to.extend(number.to_le_bytes());
        }
    }

    fn read(from: &mut Rest<'_>) -> Option<Self> {
        let length = from.length()?;
        let (ids, type_ids) = (from.numbers(length)?, from.numbers(length)?);
        Some(Self { ids, type_ids })
    }
}

/// A text, and the second one of a pair.
pub(crate) type TextPair<'a> = (&'a str, Option<&'a str>);

/// The tokens of each text, all of which `config`'s model has embeddings for.
pub(crate) fn encode_checked(
    texts: &[TextPair],
    tokenizer: &Tokenizer,
    config: &impl TextConfig,
    max_len: usize,
) -> Result<Vec<Tokens>, TrainError> {
    check_length(config, max_len)?;
    let encodings = encode_all(texts, tokenizer, max_len)?;
    check(texts, encodings, config, 0)
}

/// As [`encode_checked`], with a cache, with progress, and with what was cut.
pub(super) fn encode_with(
    texts: &[TextPair],
    tokenizer: &Tokenizer,
    config: &impl TextConfig,
    options: &EncodeOptions,
) -> Result<Vec<Encoded>, TrainError> {
    let numbers = [options.max_len];
    encode_cached(
        texts,
        tokenizer,
        config,
        &numbers,
        options,
        |chunk, start| {
            let encodings = encode_all(chunk, tokenizer, options.max_len)?;
            let cut = find_cut(chunk, &encodings, tokenizer, options.max_len)?;
            let tokens = check(chunk, encodings, config, start)?;
            let both = tokens.into_iter().zip(cut);
            Ok(both.map(|(tokens, cut)| Encoded { tokens, cut }).collect())
        },
    )
}

/// What `encode` makes of each of the texts, of some at a time and with the number of the first of them;
/// or what the cache has of it, of a time when the `numbers` that say how it is done were the same.
pub(crate) fn encode_cached<E: Cached>(
    texts: &[TextPair],
    tokenizer: &Tokenizer,
    config: &impl TextConfig,
    numbers: &[usize],
    options: &EncodeOptions,
    encode: impl Fn(&[TextPair], usize) -> Result<Vec<E>, TrainError>,
) -> Result<Vec<E>, TrainError> {
    check_length(config, options.max_len)?;
    let cache = match &options.cache {
        Some(folder) => {
            let cache = TokenCache::of(folder, texts, tokenizer, config, numbers)?;
            if let Some(encoded) = cache.read(texts.len()) {
                return Ok(encoded);
            }
            Some(cache)
        }
        None => None,
    };
    let reporter = Reporter::new(options.progress, texts.len());
    let mut encoded = Vec::with_capacity(texts.len());
    for chunk in texts.chunks(CHUNK) {
        encoded.extend(encode(chunk, encoded.len())?);
        reporter.done(encoded.len());
    }
    reporter.finish();
    if let Some(cache) = cache {
        cache.write(&encoded)?;
    }
    Ok(encoded)
}

fn check_length(config: &impl TextConfig, max_len: usize) -> Result<(), TrainError> {
    let max_tokens = config.max_tokens();
    match max_len > max_tokens {
        true => Err(TrainError::MaxLen {
            max_len,
            max_tokens,
        }),
        false => Ok(()),
    }
}

/// The tokens of texts, the first of which is number `start`.
fn check(
    texts: &[TextPair],
    encodings: Vec<Encoding>,
    config: &impl TextConfig,
    start: usize,
) -> Result<Vec<Tokens>, TrainError> {
    let mut checked = Vec::with_capacity(texts.len());
    for (index, (&(text, _), encoding)) in texts.iter().zip(encodings).enumerate() {
        if encoding.ids.is_empty() {
            return Err(TrainError::NoTokens {
                index: start + index,
                text: text.to_string(),
            });
        }
        checked.push(embeddable_tokens(encoding, config, text)?);
    }
    Ok(checked)
}

/// Which of the texts have more tokens than these encodings: only those of the full length can.
fn find_cut(
    texts: &[TextPair],
    encodings: &[Encoding],
    tokenizer: &Tokenizer,
    max_len: usize,
) -> Result<Vec<bool>, TokenizerError> {
    let full = |index: &usize| encodings[*index].ids.len() == max_len;
    let long: Vec<usize> = (0..texts.len()).filter(full).collect();
    let longer: Vec<_> = long.iter().map(|&index| texts[index]).collect();
    let mut cut = vec![false; texts.len()];
    for (index, encoding) in
        long.into_iter()
            .zip(encode_all(&longer, tokenizer, max_len.saturating_add(1))?)
    {
        cut[index] = encoding.ids.len() > max_len;
    }
    Ok(cut)
}

/// Encodes on all cores where there are no pairs, or only pairs.
fn encode_all(
    texts: &[TextPair],
    tokenizer: &Tokenizer,
    max_len: usize,
) -> Result<Vec<Encoding>, TokenizerError> {
    let singles: Vec<&str> = texts
        .iter()
        .filter(|t| t.1.is_none())
        .map(|t| t.0)
        .collect();
    if singles.len() == texts.len() {
        return tokenizer.encode_batch(&singles, max_len);
    }
    let pairs: Vec<(&str, &str)> = texts.iter().filter_map(|t| Some((t.0, t.1?))).collect();
    if pairs.len() == texts.len() {
        return tokenizer.encode_pairs(&pairs, max_len);
    }
    let encode = |&(text, pair): &TextPair| tokenizer.encode(text, pair, max_len);
    texts.iter().map(encode).collect()
}

/// The tokens of a text, all of which `config`'s model has embeddings for.
pub(crate) fn embeddable_tokens(
    encoding: Encoding,
    config: &impl TextConfig,
    text: &str,
) -> Result<Tokens, TrainError> {
    let ids = embeddable(encoding.ids, "token", config.vocab_size(), text)?;
    let type_ids = match config.segments() {
        Some(segments) => embeddable(encoding.type_ids, "segment", segments, text)?,
        None => vec![0; ids.len()],
    };
    Ok(Tokens { ids, type_ids })
}

/// These ids as the model reads them, which has embeddings for ids below `count`.
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
    use crate::testing::{tiny_config, tokenizer};

    fn encode(texts: &[TextPair], max_len: usize) -> Vec<Encoded> {
        let options = EncodeOptions::new(max_len);
        encode_with(texts, &tokenizer(), &tiny_config(), &options).unwrap()
    }

    #[test]
    fn what_is_cut_is_known() {
        let length = encode(&[("a good film", None)], 32)[0].tokens.ids.len();
        for (max_len, cut) in [(length - 1, true), (length, false), (length + 1, false)] {
            let encoded = &encode(&[("a good film", None)], max_len)[0];
            assert_eq!(encoded.cut, cut, "{max_len} of {length}");
            assert_eq!(encoded.tokens.ids.len(), max_len.min(length));
        }
    }

    #[test]
    fn pairs_are_cut_longest_first() {
        let words = |count| "good ".repeat(count);
        let (long, short) = (words(40), words(2));
        let long = long.trim_end();
        let whole = encode(&[(long, Some(short.trim_end()))], 32);
        assert!(whole[0].cut);
        // The second text is left whole: it and its end are the last of what is not cut.
        let second = encode(&[(short.trim_end(), None)], 32)[0]
            .tokens
            .ids
            .clone();
        let ids = &whole[0].tokens.ids;
        assert_eq!(ids.len(), 32);
        assert!(ids.ends_with(&second[1..]), "{ids:?} {second:?}");
    }

    #[test]
    fn chunks_change_nothing() {
        let texts: Vec<String> = (0..CHUNK + 10)
            .map(|i| format!("a good film {i}"))
            .collect();
        let pairs: Vec<TextPair> = texts.iter().map(|text| (text.as_str(), None)).collect();
        let all = encode(&pairs, 16);
        assert_eq!(all.len(), texts.len());
        for index in [0, CHUNK - 1, CHUNK, CHUNK + 9] {
            assert_eq!(all[index..=index], encode(&pairs[index..=index], 16));
        }
        let checked = encode_checked(&pairs, &tokenizer(), &tiny_config(), 16).unwrap();
        assert!(all.iter().map(|encoded| &encoded.tokens).eq(&checked));
    }
}
