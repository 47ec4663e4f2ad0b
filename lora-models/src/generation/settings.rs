//! What a call works with, once it is checked.

use super::config::GenerationConfig;
use super::error::GenerationError;
use super::output::FinishReason;
use super::unused::unused;
use crate::gpt2::Gpt2Config;

/// A valid configuration, with the model's tokens where it names none, and prompts that fit.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) config: &'a GenerationConfig,
    pub(super) prompts: Vec<&'a [u32]>,
    /// The tokens that end a text.
    pub(super) ends: Vec<u32>,
    /// The token that pads; what it is does not matter if all prompts have the same length.
    pub(super) pad: u32,
}

impl<'a> Settings<'a> {
    pub(super) fn new<P: AsRef<[u32]>>(
        config: &'a GenerationConfig,
        model: &Gpt2Config,
        prompts: &'a [P],
    ) -> Result<Self, GenerationError> {
        config.validate()?;
        for (field, user) in unused(config) {
            log::warn!("`{field}` has no effect without `{user}`");
        }
        let prompts: Vec<&[u32]> = prompts.iter().map(AsRef::as_ref).collect();
        for (prompt, tokens) in prompts.iter().enumerate() {
            check_prompt(prompt, tokens, config, model)?;
        }
        let lengths = || prompts.iter().map(|tokens| tokens.len());
        let (Some(shortest), Some(longest)) = (lengths().min(), lengths().max()) else {
            return Err(GenerationError::NoPrompts);
        };
        let ends = match &config.eos_token_id {
            Some(ends) => {
                for end in ends {
                    check_token("eos_token_id", *end, model)?;
                }
                ends.clone()
            }
            None => u32::try_from(model.eos_token_id).into_iter().collect(),
        };
        if let Some(pad) = config.pad_token_id {
            check_token("pad_token_id", pad, model)?;
        }
        let pad = model.pad_token_id.and_then(|pad| u32::try_from(pad).ok());
        let pad = match config.pad_token_id.or(pad) {
            Some(pad) => pad,
            None if shortest == longest => 0,
            None => return Err(GenerationError::NoPadToken { shortest, longest }),
        };
        Ok(Self {
            config,
            prompts,
            ends,
            pad,
        })
    }

    /// Why a text of `length` new tokens that ends in `token` is finished, if it is.
    pub(super) fn finish(&self, token: u32, length: usize) -> Option<FinishReason> {
        if self.ends.contains(&token) {
            return Some(FinishReason::EndToken);
        }
        (length >= self.config.max_new_tokens).then_some(FinishReason::Length)
    }
}

fn check_prompt(
    prompt: usize,
    tokens: &[u32],
    config: &GenerationConfig,
    model: &Gpt2Config,
) -> Result<(), GenerationError> {
    let (length, n_positions) = (tokens.len(), model.n_positions);
    if length == 0 {
        return Err(GenerationError::EmptyPrompt { prompt });
    }
    if length >= n_positions {
        return Err(GenerationError::PromptTooLong {
            prompt,
            length,
            n_positions,
        });
    }
    let max_new_tokens = config.max_new_tokens;
    if max_new_tokens > n_positions - length {
        return Err(GenerationError::SequenceTooLong {
            prompt,
            length,
            max_new_tokens,
            n_positions,
        });
    }
    let vocab_size = model.vocab_size;
    match tokens.iter().position(|id| *id as usize >= vocab_size) {
        None => Ok(()),
        Some(position) => Err(GenerationError::TokenOutsideVocabulary {
            prompt,
            position,
            id: tokens[position],
            vocab_size,
        }),
    }
}

fn check_token(field: &'static str, id: u32, model: &Gpt2Config) -> Result<(), GenerationError> {
    if (id as usize) < model.vocab_size {
        return Ok(());
    }
    let message = format!(
        "is {id}, outside the model's vocabulary of {}",
        model.vocab_size
    );
    Err(GenerationError::Config { field, message })
}
