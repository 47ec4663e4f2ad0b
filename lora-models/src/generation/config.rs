//! How text is generated: the fields of Hugging Face's `GenerationConfig`.

use serde::{Deserialize, Serialize};

use super::early_stopping::EarlyStopping;
use super::error::GenerationError;
use super::one_or_many;

/// How text is generated, under Hugging Face's names and with its defaults; unknown fields are
/// errors. [`from_file`](Self::from_file) reads a `generation_config.json`.
///
/// With `num_beams` above 1 it is beam search, else with `do_sample` it is sampling, else greedy.
/// A field that is set and not used by that, such as `temperature` without `do_sample`, is logged as
/// a warning.
///
/// ```
/// use lora_models::generation::GenerationConfig;
///
/// let config = GenerationConfig {
///     max_new_tokens: 64,
///     num_beams: 10,
///     length_penalty: 0.8,
///     no_repeat_ngram_size: 4,
///     ..GenerationConfig::default()
/// };
/// config.validate()?;
/// # Ok::<(), lora_models::generation::GenerationError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// The most tokens that are added to a prompt; 20 as in Hugging Face.
    pub max_new_tokens: usize,
    /// So many tokens are added before a text may end.
    pub min_new_tokens: usize,
    /// Whether tokens are drawn by their probability; otherwise the likeliest is taken.
    pub do_sample: bool,
    /// What scores are divided by before a draw; above 0.
    pub temperature: f64,
    /// A draw is among so many of the likeliest tokens; `None`, or 0 in a file, is all of them.
    #[serde(with = "top_k_as_number")]
    pub top_k: Option<usize>,
    /// A draw is among the likeliest tokens that together have this probability; 1 is all of them.
    pub top_p: f64,
    /// What divides the scores of tokens that are in the prompt or the new text; 1 changes nothing.
    pub repetition_penalty: f64,
    /// The number of sequences that beam search follows for each prompt; 1 is no beam search.
    pub num_beams: usize,
    /// Beam search ranks by the log-probability divided by the new text's length to this power:
    /// above 0 favours long texts, below 0 short ones.
    pub length_penalty: f64,
    /// When beam search ends.
    pub early_stopping: EarlyStopping,
    /// No n-gram of this length occurs twice, in prompt and new text together (but see
    /// `no_repeat_ngram_in_prompt`); 0 is no limit.
    pub no_repeat_ngram_size: usize,
    /// Whether `no_repeat_ngram_size` counts the prompt's n-grams as well. Not a field of Hugging
    /// Face, which always does; a text that takes names over from its prompt needs `false`, as in the
    /// LoRA paper's beam search.
    #[serde(skip_serializing_if = "is_true")]
    pub no_repeat_ngram_in_prompt: bool,
    /// How many texts each prompt gets, by sampling or as the best of beam search.
    pub num_return_sequences: usize,
    /// The tokens that end a text; `None` is the model configuration's, and an empty list is none.
    #[serde(with = "one_or_many", skip_serializing_if = "Option::is_none")]
    pub eos_token_id: Option<Vec<u32>>,
    /// The token that fills up shorter prompts of a batch; `None` is the model configuration's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<u32>,
    /// What sampling's random numbers start from; `None` is something else on every call. Not a
    /// field of Hugging Face, which has `set_seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 20,
            min_new_tokens: 0,
            do_sample: false,
            temperature: 1.0,
            top_k: Some(50),
            top_p: 1.0,
            repetition_penalty: 1.0,
            num_beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::False,
            no_repeat_ngram_size: 0,
            no_repeat_ngram_in_prompt: true,
            num_return_sequences: 1,
            eos_token_id: None,
            pad_token_id: None,
            seed: None,
        }
    }
}

fn is_true(value: &bool) -> bool {
    *value
}

impl GenerationConfig {
    /// Checks each field by itself and against the others.
    ///
    /// # Errors
    ///
    /// [`GenerationError::Config`] names the field, its value and what is expected.
    pub fn validate(&self) -> Result<(), GenerationError> {
        let fail = |field: &'static str, value: String, expected: &str| {
            let message = format!("is {value}, expected {expected}");
            Err(GenerationError::Config { field, message })
        };
        let counts = [
            ("max_new_tokens", self.max_new_tokens),
            ("num_beams", self.num_beams),
            ("num_return_sequences", self.num_return_sequences),
        ];
        for (field, count) in counts {
            if count == 0 {
                return fail(field, "0".to_string(), "at least 1");
            }
        }
        if self.top_k == Some(0) {
            let expected = "at least 1, or `None` to draw from all tokens";
            return fail("top_k", "0".to_string(), expected);
        }
        for (field, value) in [
            ("temperature", self.temperature),
            ("repetition_penalty", self.repetition_penalty),
        ] {
            // Both are applied in single precision, where they must be neither 0 nor infinite.
            if !(value > 0.0 && (value as f32).is_normal()) {
                return fail(field, value.to_string(), "a finite number above 0");
            }
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            let expected = "a number above 0 and at most 1";
            return fail("top_p", self.top_p.to_string(), expected);
        }
        if !self.length_penalty.is_finite() {
            let value = self.length_penalty.to_string();
            return fail("length_penalty", value, "a finite number");
        }
        if self.min_new_tokens > self.max_new_tokens {
            let expected = format!("at most `max_new_tokens`, {}", self.max_new_tokens);
            return fail("min_new_tokens", self.min_new_tokens.to_string(), &expected);
        }
        let asked = self.num_return_sequences;
        if self.num_beams > 1 && asked > self.num_beams {
            let expected = format!("at most `num_beams`, {}", self.num_beams);
            return fail("num_return_sequences", asked.to_string(), &expected);
        }
        if self.num_beams == 1 && !self.do_sample && asked > 1 {
            let expected =
                "1 in greedy search, which finds one text: set `do_sample` or `num_beams`";
            return fail("num_return_sequences", asked.to_string(), expected);
        }
        Ok(())
    }
}

/// `None` as Hugging Face writes it, 0.
mod top_k_as_number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        count: &Option<usize>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        count.unwrap_or(0).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<usize>, D::Error> {
        let count = Option::<usize>::deserialize(deserializer)?;
        Ok(count.filter(|count| *count > 0))
    }
}
