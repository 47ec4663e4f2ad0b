//! What generation gives.

/// A generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The prompt that it continues, by its number from 0.
    pub prompt: usize,
    /// The new tokens, the end token included and no padding.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub finish: FinishReason,
    /// In beam search, the sum of the tokens' log-probabilities, as the processors left them,
    /// divided by the number of tokens to the power of `length_penalty`: Hugging Face's
    /// `sequences_scores`.
    pub score: Option<f32>,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// By an end token.
    EndToken,
    /// With `max_new_tokens` tokens.
    Length,
    /// The caller stopped it.
    Stopped,
}

/// One new token, while a text is being generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The text that it belongs to, as an index into the results.
    pub sequence: usize,
    /// The token.
    pub token: u32,
    /// Its number among the text's new tokens, from 0.
    pub index: usize,
    /// Why it is the text's last token, if it is.
    pub finish: Option<FinishReason>,
}
