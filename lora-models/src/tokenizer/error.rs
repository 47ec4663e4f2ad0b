//! What can go wrong with a tokenizer.

use std::io;
use std::path::PathBuf;

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
    /// A text leaves no room for windows of a second one.
    #[error(
        "{text:?} has {tokens} tokens, which leaves no room in {max_len} for windows of a second \
         text that share {stride} tokens: shorten it, raise the maximum length or lower the stride"
    )]
    NoRoom {
        /// The first text.
        text: String,
        /// Its tokens, without special ones.
        tokens: usize,
        /// The longest sequence.
        max_len: usize,
        /// How many tokens windows share.
        stride: usize,
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
    /// A file could not be written whole.
    #[error(transparent)]
    Write(#[from] lora_core::LoraError),
}
