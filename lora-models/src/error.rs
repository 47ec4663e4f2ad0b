//! The error type of this crate.

use std::path::{Path, PathBuf};

use lora_core::LoraError;

use crate::generation::GenerationError;
use crate::hub::HubError;
use crate::tokenizer::TokenizerError;

/// Everything that can go wrong in `lora-models`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// `config.json` is not usable.
    #[error("{path}: `{field}` {message}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it, and what was expected.
        message: String,
    },
    /// A folder has no weights.
    #[error(
        "{folder} has no weights: expected model.safetensors, model.safetensors.index.json, \
         pytorch_model.bin or pytorch_model.bin.index.json", folder = folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A batch needs padding and the model has no token for it.
    #[error(
        "a batch of {batch} sequences without attention mask needs `pad_token_id`, which the \
         configuration does not set: set it (`with_pad_token_id`) or pass a mask"
    )]
    NoPadToken {
        /// The number of sequences.
        batch: usize,
    },
    /// An index of shards is not usable.
    #[error("{path}: {message}", path = path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file of weights is broken, or some are missing, or the model has no place for some.
    #[error(transparent)]
    Weights(#[from] LoraError),
    /// The model could not be had from the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The tokenizer could not be loaded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Text could not be generated.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}

impl ModelError {
    /// A [`ModelError::Io`] for `path`.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}
