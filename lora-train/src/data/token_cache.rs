//! Token ids on disk, for the next run on the same data.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lora_core::file::write_atomically;
use lora_models::{TextConfig, Tokenizer};
use sha2::{Digest, Sha256};

use super::encode::TextPair;
use crate::TrainError;

/// What a file begins with; the number is the format's.
const MAGIC: &[u8] = b"burn-lora tokens 1\n";
/// The length of a SHA-256.
const HASH: usize = 32;

/// What is kept of a text.
pub(crate) trait Cached: Sized {
    /// Adds it to the bytes of a file.
    fn write(&self, to: &mut Vec<u8>);

    /// Reads it from what is left of a file; `None` if that is nothing that [`write`](Self::write)
    /// made.
    fn read(from: &mut Rest<'_>) -> Option<Self>;
}

/// The file of one data set.
pub(super) struct TokenCache {
    path: PathBuf,
    /// The hash of all that the tokens are made from.
    key: [u8; HASH],
}

impl TokenCache {
    /// The file for these texts in `folder`, which is made if needed. The numbers say how they are
    /// cut.
    pub fn of(
        folder: &Path,
        texts: &[TextPair],
        tokenizer: &Tokenizer,
        config: &impl TextConfig,
        numbers: &[usize],
    ) -> Result<Self, TrainError> {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        let mut part = |bytes: &[u8]| {
            // Without the length, a text could begin where another ends.
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(&tokenizer_json(tokenizer)?);
        // What the model has no embedding for is an error: what is kept is right for this one.
        let segments = config.segments().unwrap_or_default();
        let sizes = [config.vocab_size(), segments, texts.len(), numbers.len()];
        for number in sizes.iter().chain(numbers) {
            part(&(*number as u64).to_le_bytes());
        }
        for (text, pair) in texts {
            part(text.as_bytes());
            part(if pair.is_some() { b"pair" } else { b"" });
            part(pair.unwrap_or_default().as_bytes());
        }
        let key: [u8; HASH] = hash.finalize().into();
        let name: String = key[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let cache = Self {
            path: folder.join(format!("{name}.tokens")),
            key,
        };
        // Better known now than after an hour.
        std::fs::create_dir_all(folder)
            .and_then(|()| tempfile::tempfile_in(folder))
            .map_err(|e| cache.unwritable(e))?;
        Ok(cache)
    }

    /// What the file has, if there is one and it is whole.
    pub fn read<E: Cached>(&self, count: usize) -> Option<Vec<E>> {
        let reason = match std::fs::read(&self.path) {
            Ok(bytes) => match self.parse(&bytes, count) {
                Some(encoded) => return Some(encoded),
                None => "it is damaged or of another origin".to_string(),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => return None,
            Err(e) => e.to_string(),
        };
        log::warn!(
            "{} cannot be used and is made anew: {reason}",
            self.path.display()
        );
        None
    }

    /// Writes the file, in one step.
    pub fn write<E: Cached>(&self, encoded: &[E]) -> Result<(), TrainError> {
        write_atomically(&self.path, &self.format(encoded)).map_err(|e| self.unwritable(e))
    }

    fn unwritable(&self, error: impl ToString) -> TrainError {
        TrainError::TokenCache {
            path: self.path.clone(),
            message: error.to_string(),
        }
    }

    /// The format, in little endian: the head, the key, the number of texts; what is kept of each; the
    /// hash of all that.
    fn format<E: Cached>(&self, encoded: &[E]) -> Vec<u8> {
        let mut bytes = [MAGIC, &self.key].concat();
        bytes.extend((encoded.len() as u64).to_le_bytes());
        for encoded in encoded {
            encoded.write(&mut bytes);
        }
        let hash = Sha256::digest(&bytes);
        bytes.extend(hash);
        bytes
    }

    /// `None` for anything but what [`format`](Self::format) made from the same key.
    fn parse<E: Cached>(&self, bytes: &[u8], count: usize) -> Option<Vec<E>> {
        let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
        if Sha256::digest(content).as_slice() != hash {
            return None;
        }
        let content = content.strip_prefix(MAGIC)?;
        let mut rest = Rest(content.strip_prefix(&self.key)?);
        if rest.length()? != count {
            return None;
        }
        let encoded: Option<Vec<E>> = (0..count).map(|_| E::read(&mut rest)).collect();
        encoded.filter(|_| rest.0.is_empty())
    }
}

/// What of a file is not read yet.
pub(crate) struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[cfg(test)]
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn length(&mut self) -> Option<usize> {
        let bytes = self.take(8)?.try_into().ok()?;
        u64::from_le_bytes(bytes).try_into().ok()
    }

    pub(crate) fn numbers(&mut self, count: usize) -> Option<Vec<i32>> {
        let (numbers, _) = self.take(count.checked_mul(4)?)?.as_chunks();
        Some(
            numbers
                .iter()
                .map(|bytes| i32::from_le_bytes(*bytes))
                .collect(),
        )
    }
}

/// The tokenizer as it would be saved.
fn tokenizer_json(tokenizer: &Tokenizer) -> Result<Vec<u8>, TrainError> {
    let temporary = std::env::temp_dir();
    let folder = tempfile::tempdir().map_err(|e| TrainError::io("write", &temporary, e))?;
    tokenizer.save(folder.path())?;
    let path = folder.path().join("tokenizer.json");
    std::fs::read(&path).map_err(|e| TrainError::io("read", &path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Tokens;
    use crate::data::encode::Encoded;
    use crate::testing::{tiny_config, tokenizer};
    use lora_models::bert::BertConfig;
    use lora_models::tokenizer::train_byte_level_bpe;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn cache(key: u8) -> TokenCache {
        TokenCache {
            path: PathBuf::from("no/such/folder/x.tokens"),
            key: [key; HASH],
        }
    }

    fn encoded(ids: Vec<i32>, cut: bool) -> Encoded {
        let type_ids = ids.iter().map(|id| id % 2).collect();
        let tokens = Tokens { ids, type_ids };
        Encoded { tokens, cut }
    }

    #[test]
    fn the_key_is_all_that_matters() {
        let folder = tempfile::tempdir().unwrap();
        let (config, tokens) = (tiny_config(), tokenizer());
        let key =
            |texts: &[TextPair], tokens: &Tokenizer, config: &BertConfig, numbers: &[usize]| {
                let cache = TokenCache::of(folder.path(), texts, tokens, config, numbers).unwrap();
                cache.key
            };
        let texts = [("ab", None), ("c", None)];
        let other = train_byte_level_bpe(["another"].into_iter(), 300, 1).unwrap();
        let small = BertConfig {
            vocab_size: 299,
            ..config.clone()
        };
        let segments = BertConfig {
            type_vocab_size: 2,
            ..config.clone()
        };
        let keys = [
            key(&texts, &tokens, &config, &[16]),
            key(&[("a", None), ("bc", None)], &tokens, &config, &[16]),
            key(&[("ab", Some("c"))], &tokens, &config, &[16]),
            key(&[("ab", Some("")), ("c", None)], &tokens, &config, &[16]),
            key(&[("c", None), ("ab", None)], &tokens, &config, &[16]),
            key(&texts, &other, &config, &[16]),
            key(&texts, &tokens, &config, &[15]),
            key(&texts, &tokens, &config, &[16, 4]),
            key(&texts, &tokens, &small, &[16]),
            key(&texts, &tokens, &segments, &[16]),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        assert_eq!(key(&texts, &tokenizer(), &tiny_config(), &[16]), keys[0]);
    }

    #[test]
    fn another_key_or_count_is_not_taken() {
        let one = [encoded(vec![1, 2], true)];
        let bytes = cache(1).format(&one);
        assert_eq!(cache(1).parse::<Encoded>(&bytes, 1).unwrap(), one);
        assert!(cache(2).parse::<Encoded>(&bytes, 1).is_none());
        assert!(cache(1).parse::<Encoded>(&bytes, 2).is_none());
        // A right checksum does not make up for wrong content.
        for content in [
            &b"burn-lora tokens 2\n"[..],
            MAGIC,
            &[MAGIC, &[1; 40]].concat(),
        ] {
            let bytes = [content, Sha256::digest(content).as_slice()].concat();
            assert!(cache(1).parse::<Encoded>(&bytes, 0).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_unless_it_is_damaged(
            all in prop::collection::vec(
                (prop::collection::vec(any::<i32>(), 0..9), any::<bool>()),
                0..9,
            ),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let all: Vec<Encoded> = all.into_iter().map(|(ids, cut)| encoded(ids, cut)).collect();
            let cache = cache(7);
            let mut bytes = cache.format(&all);
            let read = cache.parse::<Encoded>(&bytes, all.len());
            prop_assert_eq!(read.as_ref(), Some(&all));
            let at = at.index(bytes.len());
            prop_assert!(cache.parse::<Encoded>(&bytes[..at], all.len()).is_none());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(cache.parse::<Encoded>(&bytes, all.len()).is_none());
        }

        #[test]
        fn foreign_files_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(cache(0).parse::<Encoded>(&bytes, 0).is_none());
            let summed = [bytes.as_slice(), Sha256::digest(&bytes).as_slice()].concat();
            prop_assert!(cache(0).parse::<Encoded>(&summed, 0).is_none());
            let headed = [MAGIC, &[0; HASH], &bytes].concat();
            let summed = [headed.as_slice(), Sha256::digest(&headed).as_slice()].concat();
            if let Some(encoded) = cache(0).parse::<Encoded>(&summed, 1) {
                prop_assert_eq!(encoded.len(), 1);
            }
        }
    }
}
