//! Training a tokenizer.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{BYTES, Family, Tokenizer, TokenizerError};

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
    train(
        Family::Roberta { cls: 0, sep: 2 },
        texts,
        vocab_size,
        min_frequency,
    )
}

/// Trains a GPT-2-style byte-level BPE: as [`train_byte_level_bpe`], but with `<|endoftext|>`, id 0,
/// as the only special token, and nothing around a text.
///
/// # Errors
///
/// [`TokenizerError::VocabTooSmall`] if `vocab_size` is below 257 and [`TokenizerError::Failed`]
/// if a text cannot be split into words.
pub fn train_gpt2_bpe<I, S>(
    texts: I,
    vocab_size: usize,
    min_frequency: u64,
) -> Result<Tokenizer, TokenizerError>
where
    I: Iterator<Item = S> + Send,
    S: AsRef<str> + Send,
{
    train(Family::Gpt2, texts, vocab_size, min_frequency)
}

fn train<I, S>(
    family: Family,
    texts: I,
    vocab_size: usize,
    min_frequency: u64,
) -> Result<Tokenizer, TokenizerError>
where
    I: Iterator<Item = S> + Send,
    S: AsRef<str> + Send,
{
    let special = family.special_tokens();
    let least = special.len() + BYTES;
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
            .special_tokens(special)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build(),
    );
    let mut inner = family.around(BPE::default(), false);
    inner
        .train(&mut trainer, texts)
        .map_err(|e| TokenizerError::Failed {
            action: "train the tokenizer",
            reason: e.to_string(),
        })?;
    Ok(Tokenizer(inner))
}
