//! The text files that a checkpoint's tokenizer comes in.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use tokenizers::models::bpe::Merges;

use super::TokenizerError;

pub(super) fn special_id(
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

pub(super) fn parse_merges(path: &Path) -> Result<Merges, TokenizerError> {
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
pub(super) struct Settings(serde_json::Value);

impl Settings {
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer_config.json");
        if !path.is_file() {
            return Ok(Self(serde_json::Value::Null));
        }
        serde_json::from_str(&read_text(&path)?)
            .map(Self)
            .map_err(|e| invalid(&path, e))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }
}

pub(super) fn read_text(path: &Path) -> Result<String, TokenizerError> {
    let bytes = fs::read(path).map_err(|source| TokenizerError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|e| invalid(path, format!("it is not UTF-8 text ({e})")))
}

pub(super) fn invalid(path: &Path, reason: impl ToString) -> TokenizerError {
    TokenizerError::Invalid {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
