//! What can go wrong in generation.

/// What can go wrong while generating text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// A field of the configuration has a value that generation cannot work with.
    #[error("`{field}` {message}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it is, and what was expected.
        message: String,
    },
    /// There are no prompts.
    #[error("there are no prompts: generation needs at least one")]
    NoPrompts,
    /// A prompt has no tokens.
    #[error(
        "prompt {prompt} has no tokens: give it at least one, such as the model's `bos_token_id`"
    )]
    EmptyPrompt {
        /// The prompt's number, from 0.
        prompt: usize,
    },
    /// A prompt fills the model's positions.
    #[error(
        "prompt {prompt} has {length} tokens, which leaves no room for a new one in the model's \
         `n_positions` of {n_positions}: shorten the prompt"
    )]
    PromptTooLong {
        /// The prompt's number, from 0.
        prompt: usize,
        /// Its tokens.
        length: usize,
        /// The longest sequence of the model.
        n_positions: usize,
    },
    /// A prompt with its new tokens would not fit into the model's positions.
    #[error(
        "prompt {prompt} has {length} tokens, and with `max_new_tokens` of {max_new_tokens} the \
         sequence would be longer than the model's `n_positions` of {n_positions}: set \
         `max_new_tokens` to at most {room} or shorten the prompt", room = n_positions - length
    )]
    SequenceTooLong {
        /// The prompt's number, from 0.
        prompt: usize,
        /// Its tokens.
        length: usize,
        /// The new tokens that were asked for.
        max_new_tokens: usize,
        /// The longest sequence of the model.
        n_positions: usize,
    },
    /// A prompt has a token that the model does not know.
    #[error(
        "prompt {prompt} has the token id {id} at position {position}, outside the model's \
         vocabulary of {vocab_size}: use the tokenizer that belongs to the model"
    )]
    TokenOutsideVocabulary {
        /// The prompt's number, from 0.
        prompt: usize,
        /// Where the token is, from 0.
        position: usize,
        /// The token.
        id: u32,
        /// The model's tokens.
        vocab_size: usize,
    },
    /// Prompts of different lengths have to be padded, and there is no token for it.
    #[error(
        "a batch with prompts of {shortest} to {longest} tokens needs `pad_token_id`, which neither \
         the generation configuration nor the model's sets: set it, to the end token if the \
         vocabulary has none of its own (padding is masked)"
    )]
    NoPadToken {
        /// The tokens of the shortest prompt.
        shortest: usize,
        /// The tokens of the longest prompt.
        longest: usize,
    },
    /// The model is one for the rows of a mixed batch, and these are others.
    #[error(
        "the model is for a batch of {named} rows (`for_rows`), and there are {prompts} prompts: \
         name an adapter for each prompt"
    )]
    Rows {
        /// The rows that name an adapter.
        named: usize,
        /// The prompts.
        prompts: usize,
    },
    /// The model's logits are no numbers.
    #[error(
        "the model's logits for new token {token} of prompt {prompt} are not finite: its weights \
         are damaged or too large for their precision"
    )]
    NonFiniteLogits {
        /// The prompt's number, from 0.
        prompt: usize,
        /// The number of the new token, from 0.
        token: usize,
    },
    /// The configuration excludes every token.
    #[error(
        "no token is left for new token {token} of prompt {prompt}: `no_repeat_ngram_size`, \
         `min_new_tokens` and `repetition_penalty` exclude all; loosen them or lower \
         `max_new_tokens`"
    )]
    NoTokenLeft {
        /// The prompt's number, from 0.
        prompt: usize,
        /// The number of the new token, from 0.
        token: usize,
    },
    /// Beam search has found fewer sequences than it should give.
    #[error(
        "beam search found {found} of {asked} sequences (`num_return_sequences`) for prompt \
         {prompt}: the vocabulary and `no_repeat_ngram_size` allow no more; lower \
         `num_return_sequences`"
    )]
    TooFewSequences {
        /// The prompt's number, from 0.
        prompt: usize,
        /// The sequences there are.
        found: usize,
        /// The sequences asked for.
        asked: usize,
    },
    /// The device failed.
    #[error("the device failed while generating: {0}")]
    Device(String),
}
