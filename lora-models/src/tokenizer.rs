//! Tokenizers of RoBERTa, BERT and GPT-2 checkpoints: loading them in every form the Hub ships
//! them, encoding with Hugging Face's truncation rules, and training a byte-level BPE from text.

mod error;
mod files;
#[cfg(test)]
mod tests;
mod train;
mod windows;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use lora_core::file::write_atomically;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
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

pub use error::TokenizerError;
use files::{Settings, invalid, parse_merges, read_text, special_id};
pub use train::{train_byte_level_bpe, train_gpt2_bpe};
pub use windows::Window;

/// RoBERTa's special tokens in the order of their ids in a freshly trained vocabulary.
const ROBERTA_SPECIAL: [&str; 5] = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
/// GPT-2's only special token, which ends a text and starts the next.
const GPT2_SPECIAL: &str = "<|endoftext|>";
/// BERT's special tokens, as transformers registers them.
const BERT_SPECIAL: [&str; 5] = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
/// Every byte has a token of its own, so that no text is ever unknown.
const BYTES: usize = 256;

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
    /// Takes `tokenizer.json` where there is one; else `vocab.json` with `merges.txt` as byte-level
    /// BPE, GPT-2's if the vocabulary has `<|endoftext|>` and not RoBERTa's `<s>`; else `vocab.txt`
    /// as BERT's WordPiece. The last two follow the settings in
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
            Self::byte_level_bpe(folder)
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

    fn byte_level_bpe(folder: &Path) -> Result<Self, TokenizerError> {
        let vocab_path = folder.join("vocab.json");
        let merges_path = folder.join("merges.txt");
        let vocab: HashMap<String, u32> =
            serde_json::from_str(&read_text(&vocab_path)?).map_err(|e| invalid(&vocab_path, e))?;
        let prefix_space = Settings::read(folder)?
            .flag("add_prefix_space")
            .unwrap_or(false);
        let family = match vocab.contains_key(GPT2_SPECIAL) && !vocab.contains_key("<s>") {
            true => Family::Gpt2,
            false => {
                let id = |token: &'static str| special_id(&vocab, token, &vocab_path, "RoBERTa");
                let (cls, sep) = (id("<s>")?, id("</s>")?);
                for token in ROBERTA_SPECIAL {
                    id(token)?;
                }
                Family::Roberta { cls, sep }
            }
        };
        let model = BPE::builder()
            .vocab_and_merges(
                vocab.into_iter().collect::<Vocab>(),
                parse_merges(&merges_path)?,
            )
            .build()
            .map_err(|e| invalid(&merges_path, e))?;
        let mut inner = family.around(model, prefix_space);
        inner.add_special_tokens(&family.special_tokens());
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

    /// The id of `<|endoftext|>` or `</s>`, which ends a text, if the vocabulary has one.
    #[must_use]
    pub fn eos_id(&self) -> Option<u32> {
        self.id_of(GPT2_SPECIAL).or_else(|| self.id_of("</s>"))
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
        fs::create_dir_all(folder).map_err(|source| TokenizerError::Io {
            action: "write",
            path: path.clone(),
            source,
        })?;
        Ok(write_atomically(&path, json.as_bytes())?)
    }
}

/// The families that share the byte-level BPE.
#[derive(Debug, Clone, Copy)]
enum Family {
    /// `<s> … </s>` around every text.
    Roberta { cls: u32, sep: u32 },
    /// Nothing around a text.
    Gpt2,
}

impl Family {
    /// The parts that go around the BPE.
    fn around(self, model: BPE, add_prefix_space: bool) -> Inner {
        let mut inner = Inner::new(model);
        inner
            .with_pre_tokenizer(Some(ByteLevel::new(add_prefix_space, true, true)))
            .with_decoder(Some(ByteLevel::default()));
        match self {
            Self::Roberta { cls, sep } => inner.with_post_processor(Some(
                RobertaProcessing::new(("</s>".into(), sep), ("<s>".into(), cls))
                    .trim_offsets(true)
                    .add_prefix_space(add_prefix_space),
            )),
            Self::Gpt2 => inner.with_post_processor(Some(ByteLevel::default().trim_offsets(false))),
        };
        inner
    }

    /// In the order of their ids in a freshly trained vocabulary.
    fn special_tokens(self) -> Vec<AddedToken> {
        match self {
            // `<mask>` takes the space before it along, as in every RoBERTa: "a <mask>" has no
            // lone space.
            Self::Roberta { .. } => ROBERTA_SPECIAL
                .map(|token| AddedToken::from(token, true).lstrip(token == "<mask>"))
                .to_vec(),
            Self::Gpt2 => vec![AddedToken::from(GPT2_SPECIAL, true)],
        }
    }
}
