//! Tokenizers of RoBERTa and BERT checkpoints: loading them in every form the Hub ships them,
//! encoding with Hugging Face's truncation rules, and training a byte-level BPE from text.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer, Merges, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::parallelism::MaybeParallelRefIterator;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    AddedToken, PostProcessor, Tokenizer as Inner, TruncationParams, truncate_encodings,
};

/// RoBERTa's special tokens in the order of their ids in a freshly trained vocabulary.
const ROBERTA_SPECIAL: [&str; 5] = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
/// BERT's special tokens, as transformers registers them.
const BERT_SPECIAL: [&str; 5] = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
/// Every byte has a token of its own, so that no text is ever unknown.
const BYTES: usize = 256;

/// What can go wrong while loading, using, training or saving a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The folder holds none of the known tokenizer files.
    #[error(
        "no tokenizer in {}: it needs tokenizer.json, or vocab.json with merges.txt (RoBERTa), \
         or vocab.txt (BERT); copy one of them from the checkpoint's source into the folder",
        folder.display()
    )]
    Missing {
        /// The folder that was searched.
        folder: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file does not hold what its name promises.
    #[error("{} is damaged: {reason}; fetch the file again from the checkpoint's source", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line where one is known.
        reason: String,
    },
    /// The vocabulary lacks a special token that the model family needs.
    #[error(
        "{} has no token {token:?}, so it is not a {family} vocabulary; put the model's \
         tokenizer.json beside it",
        path.display()
    )]
    NoSpecialToken {
        /// The vocabulary file.
        path: PathBuf,
        /// The missing token.
        token: &'static str,
        /// `RoBERTa` or `BERT`.
        family: &'static str,
    },
    /// The requested length has no room for the special tokens.
    #[error(
        "a maximum length of {max_len} tokens cannot hold the {special} special tokens of one \
         input; raise it to at least {special}"
    )]
    MaxLenTooSmall {
        /// The requested maximum.
        max_len: usize,
        /// How many special tokens the input gets.
        special: usize,
    },
    /// The requested vocabulary has no room for the special tokens and the bytes.
    #[error(
        "a byte-level vocabulary needs at least {least} entries (the special tokens and every \
         byte), {asked} were asked for"
    )]
    VocabTooSmall {
        /// The requested size.
        asked: usize,
        /// The smallest possible size.
        least: usize,
    },
    /// The tokenizer itself refused the input.
    #[error("cannot {action}: {reason}")]
    Failed {
        /// `encode a text`, `decode ids` or the like.
        action: &'static str,
        /// The tokenizer's reason.
        reason: String,
    },
}

/// The tokens of one input, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Segment of each token: 0 or, in the second text of a BERT pair, 1.
    pub type_ids: Vec<u32>,
}

/// The tokenizer of one checkpoint.
///
/// Padding and truncation settings stored in a `tokenizer.json` are dropped on loading: the
/// maximum length is given with every call and padding is left to the batcher.
#[derive(Debug, Clone)]
pub struct Tokenizer(Inner);

impl Tokenizer {
    /// Loads the tokenizer of a checkpoint folder.
    ///
    /// Takes `tokenizer.json` where there is one; else `vocab.json` with `merges.txt` as RoBERTa's
    /// byte-level BPE; else `vocab.txt` as BERT's WordPiece. The last two follow the settings in
    /// `tokenizer_config.json` (`add_prefix_space`; `do_lower_case`, `strip_accents` and
    /// `tokenize_chinese_chars`) with the defaults of transformers.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Missing`] without any of these files, [`TokenizerError::Io`] and
    /// [`TokenizerError::Invalid`] for one that cannot be read or parsed, and
    /// [`TokenizerError::NoSpecialToken`] for a vocabulary of another model family.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let has = |name: &str| folder.join(name).is_file();
        if has("tokenizer.json") {
            Self::from_tokenizer_json(&folder.join("tokenizer.json"))
        } else if has("vocab.json") && has("merges.txt") {
            Self::roberta(folder)
        } else if has("vocab.txt") {
            Self::bert(folder)
        } else {
            Err(TokenizerError::Missing {
                folder: folder.to_owned(),
            })
        }
    }

    fn from_tokenizer_json(path: &Path) -> Result<Self, TokenizerError> {
        let text = read_text(path)?;
        let mut inner: Inner = text.parse().map_err(|e| invalid(path, e))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| invalid(path, e))?;
        Ok(Self(inner))
    }

    fn roberta(folder: &Path) -> Result<Self, TokenizerError> {
        let vocab_path = folder.join("vocab.json");
        let merges_path = folder.join("merges.txt");
        let vocab: HashMap<String, u32> =
            serde_json::from_str(&read_text(&vocab_path)?).map_err(|e| invalid(&vocab_path, e))?;
        let merges = parse_merges(&merges_path)?;
        let id = |token: &'static str| special_id(&vocab, token, &vocab_path, "RoBERTa");
        let (cls, sep) = (id("<s>")?, id("</s>")?);
        for token in ROBERTA_SPECIAL {
            id(token)?;
        }
        let prefix_space = Settings::read(folder)?
            .flag("add_prefix_space")
            .unwrap_or(false);
        let model = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<Vocab>(), merges)
            .build()
            .map_err(|e| invalid(&merges_path, e))?;
        let mut inner = byte_level(model, cls, sep, prefix_space);
        inner.add_special_tokens(&roberta_special_tokens());
        Ok(Self(inner))
    }

    fn bert(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("vocab.txt");
        let text = read_text(&path)?;
        let mut vocab = HashMap::new();
        for (line, id) in text.lines().zip(0u32..) {
            vocab.insert(line.to_owned(), id);
        }
        let id = |token: &'static str| special_id(&vocab, token, &path, "BERT");
        let (cls, sep) = (id("[CLS]")?, id("[SEP]")?);
        for token in BERT_SPECIAL {
            id(token)?;
        }
        let settings = Settings::read(folder)?;
        let normalizer = BertNormalizer::new(
            true,
            settings.flag("tokenize_chinese_chars").unwrap_or(true),
            settings.flag("strip_accents"),
            settings.flag("do_lower_case").unwrap_or(true),
        );
        let model = WordPiece::builder()
            .vocab(vocab.into_iter().collect::<Vocab>())
            .build()
            .map_err(|e| invalid(&path, e))?;
        let mut inner = Inner::new(model);
        inner
            .with_normalizer(Some(normalizer))
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_post_processor(Some(BertProcessing::new(
                ("[SEP]".into(), sep),
                ("[CLS]".into(), cls),
            )))
            .with_decoder(Some(WordPieceDecoder::default()));
        inner.add_special_tokens(&BERT_SPECIAL.map(|token| AddedToken::from(token, true)));
        Ok(Self(inner))
    }

    /// Encodes a text, or a pair of texts, with the model's special tokens.
    ///
    /// The result has at most `max_len` tokens, the special ones included. A pair is shortened as
    /// Hugging Face's `longest_first` does: the longer text first, then both evenly. An empty
    /// second text still makes a pair, as in the batches of transformers.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::MaxLenTooSmall`] if `max_len` cannot hold the special tokens and
    /// [`TokenizerError::Failed`] if the tokenizer refuses the text.
    pub fn encode(
        &self,
        text: &str,
        pair: Option<&str>,
        max_len: usize,
    ) -> Result<Encoding, TokenizerError> {
        let special = self
            .0
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(pair.is_some()));
        let room = max_len
            .checked_sub(special)
            .ok_or(TokenizerError::MaxLenTooSmall { max_len, special })?;
        self.encode_into(text, pair, room)
            .map_err(|e| TokenizerError::Failed {
                action: "encode a text",
                reason: e.to_string(),
            })
    }

    /// Does what `TokenizerImpl::encode` does, with a maximum length of this call instead of one
    /// stored in the (shared) tokenizer.
    fn encode_into(
        &self,
        text: &str,
        pair: Option<&str>,
        room: usize,
    ) -> tokenizers::Result<Encoding> {
        let first = self.0.encode_fast(text, false)?;
        let second = pair
            .map(|pair| self.0.encode_fast(pair, false))
            .transpose()?;
        let params = TruncationParams {
            max_length: room,
            ..TruncationParams::default()
        };
        let (mut first, mut second) = truncate_encodings(first, second, &params)?;
        // The cut-off parts come along as further windows, which nobody reads.
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
        }
        let encoding = self.0.post_process(first, second, true)?;
        Ok(Encoding {
            ids: encoding.get_ids().to_vec(),
            type_ids: encoding.get_type_ids().to_vec(),
        })
    }

    /// Encodes many texts at once, on all processor cores, in their order.
    ///
    /// # Errors
    ///
    /// Those of [`Tokenizer::encode`].
    pub fn encode_batch<S>(
        &self,
        texts: &[S],
        max_len: usize,
    ) -> Result<Vec<Encoding>, TokenizerError>
    where
        S: AsRef<str> + Sync,
    {
        texts
            .maybe_par_iter()
            .map(|text| self.encode(text.as_ref(), None, max_len))
            .collect()
    }

    /// Encodes many pairs of texts at once, on all processor cores, in their order.
    ///
    /// # Errors
    ///
    /// Those of [`Tokenizer::encode`].
    pub fn encode_pairs<S>(
        &self,
        pairs: &[(S, S)],
        max_len: usize,
    ) -> Result<Vec<Encoding>, TokenizerError>
    where
        S: AsRef<str> + Sync,
    {
        pairs
            .maybe_par_iter()
            .map(|(text, pair)| self.encode(text.as_ref(), Some(pair.as_ref()), max_len))
            .collect()
    }

    /// The text of token ids, with or without the special tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`] if the tokenizer's decoder refuses the tokens.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        self.0
            .decode(ids, skip_special)
            .map_err(|e| TokenizerError::Failed {
                action: "decode ids",
                reason: e.to_string(),
            })
    }

    /// How many tokens the vocabulary has, added tokens included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// The id of a token, if the vocabulary has it.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    /// The id of `<pad>` or `[PAD]`; where there is neither, use the model configuration's.
    #[must_use]
    pub fn pad_id(&self) -> Option<u32> {
        self.id_of("<pad>").or_else(|| self.id_of("[PAD]"))
    }

    /// The id of `<mask>` or `[MASK]`, if the vocabulary has one.
    #[must_use]
    pub fn mask_id(&self) -> Option<u32> {
        self.id_of("<mask>").or_else(|| self.id_of("[MASK]"))
    }

    /// Writes `tokenizer.json` into a folder, which is made if needed.
    ///
    /// A file of that name is replaced in one step: an interrupted call leaves the old one whole.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Io`] if the folder or the file cannot be written and
    /// [`TokenizerError::Failed`] if the tokenizer cannot be put into JSON.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        let path = folder.join("tokenizer.json");
        let json = self.0.to_string(true).map_err(|e| TokenizerError::Failed {
            action: "put the tokenizer into JSON",
            reason: e.to_string(),
        })?;
        write_atomically(folder, &path, json.as_bytes()).map_err(|source| TokenizerError::Io {
            action: "write",
            path,
            source,
        })
    }
}

/// Trains a RoBERTa-style byte-level BPE on an iterator of texts.
///
/// The special tokens take the ids 0 to 4 (`<s>`, `<pad>`, `</s>`, `<unk>`, `<mask>`), then come
/// the 256 bytes and the merges of pairs that occur at least `min_frequency` times. The vocabulary
/// stays smaller than `vocab_size` if the texts have too few such pairs. Equal texts give equal
/// vocabularies.
///
/// # Errors
///
/// [`TokenizerError::VocabTooSmall`] if `vocab_size` is below 261 and [`TokenizerError::Failed`]
/// if a text cannot be split into words.
pub fn train_byte_level_bpe<I, S>(
    texts: I,
    vocab_size: usize,
    min_frequency: u64,
) -> Result<Tokenizer, TokenizerError>
where
    I: Iterator<Item = S> + Send,
    S: AsRef<str> + Send,
{
    let least = ROBERTA_SPECIAL.len() + BYTES;
    if vocab_size < least {
        return Err(TokenizerError::VocabTooSmall {
            asked: vocab_size,
            least,
        });
    }
    // No progress bar: the crate's own ends with an empty line on standard output.
    let mut trainer = TrainerWrapper::from(
        BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(min_frequency)
            .special_tokens(roberta_special_tokens().to_vec())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build(),
    );
    let mut inner = byte_level(BPE::default(), 0, 2, false);
    inner
        .train(&mut trainer, texts)
        .map_err(|e| TokenizerError::Failed {
            action: "train the tokenizer",
            reason: e.to_string(),
        })?;
    Ok(Tokenizer(inner))
}

/// The parts that RoBERTa puts around its BPE.
fn byte_level(model: BPE, cls: u32, sep: u32, add_prefix_space: bool) -> Inner {
    let processor = RobertaProcessing::new(("</s>".into(), sep), ("<s>".into(), cls))
        .trim_offsets(true)
        .add_prefix_space(add_prefix_space);
    let mut inner = Inner::new(model);
    inner
        .with_pre_tokenizer(Some(ByteLevel::new(add_prefix_space, true, true)))
        .with_post_processor(Some(processor))
        .with_decoder(Some(ByteLevel::default()));
    inner
}

/// `<mask>` takes the space before it along, as in every RoBERTa: "a <mask>" has no lone space.
fn roberta_special_tokens() -> [AddedToken; 5] {
    ROBERTA_SPECIAL.map(|token| AddedToken::from(token, true).lstrip(token == "<mask>"))
}

fn special_id(
    vocab: &HashMap<String, u32>,
    token: &'static str,
    path: &Path,
    family: &'static str,
) -> Result<u32, TokenizerError> {
    vocab
        .get(token)
        .copied()
        .ok_or_else(|| TokenizerError::NoSpecialToken {
            path: path.to_owned(),
            token,
            family,
        })
}

fn parse_merges(path: &Path) -> Result<Merges, TokenizerError> {
    let text = read_text(path)?;
    // Only the first line is a comment: a later "#" is a token like any other.
    let header = usize::from(text.starts_with("#version"));
    let mut merges = Merges::new();
    for (number, line) in (1usize..).zip(text.lines()).skip(header) {
        if line.is_empty() {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() => {
                merges.push((left.to_owned(), right.to_owned()));
            }
            _ => {
                let reason = format!("line {number} is not two tokens with a space between");
                return Err(TokenizerError::Invalid {
                    path: path.to_owned(),
                    reason,
                });
            }
        }
    }
    Ok(merges)
}

/// The optional `tokenizer_config.json` of a folder.
struct Settings(serde_json::Value);

impl Settings {
    fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer_config.json");
        if !path.is_file() {
            return Ok(Self(serde_json::Value::Null));
        }
        serde_json::from_str(&read_text(&path)?)
            .map(Self)
            .map_err(|e| invalid(&path, e))
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }
}

fn read_text(path: &Path) -> Result<String, TokenizerError> {
    let bytes = fs::read(path).map_err(|source| TokenizerError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|e| invalid(path, format!("it is not UTF-8 text ({e})")))
}

fn invalid(path: &Path, reason: impl ToString) -> TokenizerError {
    TokenizerError::Invalid {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn write_atomically(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new();
    // Temporary files are private by default; this one becomes an ordinary file.
    #[cfg(unix)]
    file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = file.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    const TEXTS: [&str; 3] = [
        "the cat sat on the mat, the cat did",
        "and the mat was flat",
        "that's the cat's hat",
    ];

    fn fixture(family: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/tokenizers")
            .join(family)
    }

    /// A copy of a fixture's vocabulary, for tests that add or damage files.
    fn copy(family: &str) -> TempDir {
        let folder = TempDir::new().unwrap();
        for name in ["vocab.json", "merges.txt", "vocab.txt"] {
            let from = fixture(family).join(name);
            if from.exists() {
                fs::copy(from, folder.path().join(name)).unwrap();
            }
        }
        folder
    }

    fn ids(value: &Value) -> Vec<u32> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap() as u32)
            .collect()
    }

    /// Compares with what transformers gave, see scripts/make_tokenizer_cases.py.
    fn compare(family: &str) {
        let text = fs::read_to_string(fixture(family).join("cases.json")).unwrap();
        let groups: Value = serde_json::from_str(&text).unwrap();
        let mut compared = 0;
        for group in groups.as_array().unwrap() {
            let config = group["config"].to_string();
            let folder = copy(family);
            fs::write(folder.path().join("tokenizer_config.json"), &config).unwrap();
            let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
            for case in group["cases"].as_array().unwrap() {
                let max_len = case["max_len"].as_u64().unwrap() as usize;
                let text = case["text"].as_str().unwrap();
                let encoding = tokenizer
                    .encode(text, case["pair"].as_str(), max_len)
                    .unwrap();
                assert_eq!(encoding.ids, ids(&case["ids"]), "{config}: {case}");
                assert_eq!(
                    encoding.type_ids,
                    ids(&case["type_ids"]),
                    "{config}: {case}"
                );
                let decoded = tokenizer.decode(&encoding.ids, true).unwrap();
                assert_eq!(
                    decoded,
                    case["decoded"].as_str().unwrap(),
                    "{config}: {case}"
                );
                compared += 1;
            }
        }
        assert!(compared >= 38, "only {compared} cases");
    }

    #[test]
    fn roberta_gives_the_ids_of_transformers() {
        compare("roberta");
    }

    #[test]
    fn bert_gives_the_ids_of_transformers() {
        compare("bert");
    }

    #[test]
    fn special_tokens_are_found_in_both_families() {
        let roberta = Tokenizer::from_folder(&fixture("roberta")).unwrap();
        assert_eq!((roberta.pad_id(), roberta.mask_id()), (Some(1), Some(340)));
        assert_eq!(
            (roberta.id_of("</s>"), roberta.id_of("no such")),
            (Some(2), None)
        );
        assert_eq!(roberta.vocab_size(), 341);
        let bert = Tokenizer::from_folder(&fixture("bert")).unwrap();
        assert_eq!((bert.pad_id(), bert.mask_id()), (Some(0), Some(4)));
        assert_eq!(bert.vocab_size(), 145);
    }

    #[test]
    fn batches_keep_their_order() {
        let tokenizer = Tokenizer::from_folder(&fixture("bert")).unwrap();
        let texts: Vec<String> = (0..50).map(|i| format!("the {i} fox")).collect();
        let batch = tokenizer.encode_batch(&texts, 6).unwrap();
        for (text, encoding) in texts.iter().zip(&batch) {
            assert_eq!(*encoding, tokenizer.encode(text, None, 6).unwrap());
        }
        let pairs = [("the fox", "jumps"), ("a dog", "and a fox")];
        let batch = tokenizer.encode_pairs(&pairs, 7).unwrap();
        for ((text, pair), encoding) in pairs.iter().zip(&batch) {
            assert_eq!(*encoding, tokenizer.encode(text, Some(pair), 7).unwrap());
        }
        assert!(tokenizer.encode_batch(&texts, 1).is_err());
    }

    #[test]
    fn length_must_hold_the_special_tokens() {
        let roberta = Tokenizer::from_folder(&fixture("roberta")).unwrap();
        let error = roberta.encode("x", Some("y"), 3).unwrap_err();
        assert!(
            matches!(
                error,
                TokenizerError::MaxLenTooSmall {
                    max_len: 3,
                    special: 4
                }
            ),
            "{error}"
        );
        assert_eq!(roberta.encode("x", Some("y"), 4).unwrap().ids, [0, 2, 2, 2]);
        assert_eq!(roberta.encode("x", None, 2).unwrap().ids, [0, 2]);
    }

    #[test]
    fn training_gives_roberta_layout_and_the_same_result_each_time() {
        let tokenizer = train_byte_level_bpe(TEXTS.iter(), 268, 2).unwrap();
        for (id, token) in (0u32..).zip(ROBERTA_SPECIAL) {
            assert_eq!(tokenizer.id_of(token), Some(id));
        }
        assert_eq!(tokenizer.vocab_size(), 268);
        assert!(
            tokenizer.id_of("Ġthe").is_some(),
            "frequent words are whole"
        );
        let text = " Ünseen the cat's 漢字\n";
        let encoding = tokenizer.encode(text, Some("mat"), 100).unwrap();
        assert_eq!(encoding.ids.iter().filter(|id| **id == 2).count(), 3);
        assert!(!encoding.ids.contains(&3), "no text is unknown");
        let decoded = tokenizer.decode(&encoding.ids, false).unwrap();
        assert_eq!(decoded, format!("<s>{text}</s></s>mat</s>"));
        let masked = tokenizer.encode("the <mask>", None, 100).unwrap();
        let the = tokenizer.encode("the", None, 100).unwrap();
        assert_eq!(
            masked.ids[..masked.ids.len() - 2],
            the.ids[..the.ids.len() - 1]
        );

        let again = train_byte_level_bpe(TEXTS.map(str::to_owned).into_iter(), 268, 2).unwrap();
        assert_eq!(again.0.get_vocab(true), tokenizer.0.get_vocab(true));
        let rare = train_byte_level_bpe(TEXTS.iter(), 10_000, 2).unwrap();
        assert!(
            rare.vocab_size() < 300,
            "the texts have few pairs that occur twice"
        );
    }

    #[test]
    fn vocabulary_must_hold_every_byte() {
        let error = train_byte_level_bpe(TEXTS.iter(), 260, 2).unwrap_err();
        assert!(matches!(
            error,
            TokenizerError::VocabTooSmall {
                asked: 260,
                least: 261
            }
        ));
        let smallest = train_byte_level_bpe(TEXTS.iter(), 261, 2).unwrap();
        assert_eq!(smallest.vocab_size(), 261);
    }

    #[test]
    fn saved_tokenizer_is_the_same_and_forgets_foreign_padding_and_truncation() {
        let folder = TempDir::new().unwrap();
        let made = folder.path().join("new").join("folder");
        let tokenizer = train_byte_level_bpe(TEXTS.iter(), 300, 2).unwrap();
        tokenizer.save(&made).unwrap();
        let expected = tokenizer
            .encode("the cat <mask>", Some("flat"), 64)
            .unwrap();

        let path = made.join("tokenizer.json");
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        json["truncation"] = json!({
            "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
        });
        json["padding"] = json!({
            "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"
        });
        fs::write(&path, json.to_string()).unwrap();
        let loaded = Tokenizer::from_folder(&made).unwrap();
        assert_eq!(
            loaded.encode("the cat <mask>", Some("flat"), 64).unwrap(),
            expected
        );
        // Saving over it leaves one file, without the settings.
        loaded.save(&made).unwrap();
        assert_eq!(fs::read_dir(&made).unwrap().count(), 1);
        let json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(json["truncation"].is_null() && json["padding"].is_null());
    }

    #[test]
    fn errors_name_the_file_and_the_way_out() {
        let empty = TempDir::new().unwrap();
        let error = Tokenizer::from_folder(empty.path())
            .unwrap_err()
            .to_string();
        for part in ["tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(
            error.contains(&empty.path().display().to_string()),
            "{error}"
        );

        let damaged = |family: &str, name: &str, bytes: &[u8], expected: &str| {
            let folder = copy(family);
            fs::write(folder.path().join(name), bytes).unwrap();
            let error = Tokenizer::from_folder(folder.path())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(name) && error.contains(expected),
                "{name}: {error}"
            );
        };
        damaged("bert", "tokenizer.json", b"{\"version\": ", "line 1");
        damaged("bert", "tokenizer.json", b"{}", "damaged");
        damaged("bert", "vocab.txt", b"[PAD]\n\xff\xfe\n", "not UTF-8");
        damaged("bert", "vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n", "\"[SEP]\"");
        damaged("bert", "tokenizer_config.json", b"nonsense", "damaged");
        damaged("roberta", "vocab.json", b"{\"<s>\": -1}", "line 1");
        damaged("roberta", "vocab.json", b"{\"<s>\": 0}", "\"</s>\"");
        damaged(
            "roberta",
            "merges.txt",
            b"#version: 0.2\nh e\nlonely\n",
            "line 3",
        );
        damaged(
            "roberta",
            "merges.txt",
            b"#version: 0.2\nh nosuchtoken\n",
            "nosuchtoken",
        );
        // Half of a pair of files is no tokenizer.
        let folder = copy("roberta");
        fs::remove_file(folder.path().join("merges.txt")).unwrap();
        assert!(matches!(
            Tokenizer::from_folder(folder.path()),
            Err(TokenizerError::Missing { .. })
        ));
    }

    #[test]
    fn unwritable_folder_is_named() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let tokenizer = train_byte_level_bpe(TEXTS.iter(), 270, 2).unwrap();
        let error = tokenizer.save(&file).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write") && error.contains("tokenizer.json"),
            "{error}"
        );
    }
}
