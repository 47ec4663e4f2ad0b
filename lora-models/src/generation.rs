//! Text from GPT-2: greedy search, sampling, beam search, as Hugging Face's `generate`.
//!
//! ```
//! use lora_core::default_device;
//! use lora_models::generation::GenerationConfig;
//! use lora_models::gpt2::{CausalLm, Gpt2Config};
//!
//! let config = Gpt2Config {
//!     vocab_size: 50,
//!     n_positions: 24,
//!     n_embd: 16,
//!     n_layer: 2,
//!     n_head: 2,
//!     pad_token_id: Some(49),
//!     ..Gpt2Config::small()
//! };
//! let model = CausalLm::new(&config, &default_device());
//!
//! let beams = GenerationConfig {
//!     max_new_tokens: 8,
//!     num_beams: 4,
//!     ..GenerationConfig::default()
//! };
//! // Prompts of different lengths make one batch, and each text is what its prompt alone gives.
//! let texts = model.generate(&[vec![3, 14, 15], vec![9]], &beams)?;
//! assert_eq!(texts.len(), 2);
//! assert_eq!(texts[0].tokens.len(), 8);
//! # Ok::<(), lora_models::ModelError>(())
//! ```
//!
//! The scores of a token are changed in Hugging Face's order (see [`LogitsProcessors`]): in greedy
//! search and sampling the logits, in beam search the log-probabilities. What differs: padding never
//! counts as text, where Hugging Face's `no_repeat_ngram_size` includes it; finished texts leave the
//! batch and have no padding after them; logits that are not finite and a token for which nothing is
//! left are errors.

mod beam_search;
mod config;
mod config_file;
mod decoder;
mod early_stopping;
mod error;
mod log_softmax;
mod min_new_tokens;
mod no_repeat_ngram;
mod one_or_many;
mod output;
mod processors;
mod repetition_penalty;
mod sampling;
mod search;
mod settings;
mod temperature;
mod text_stream;
mod top_k;
mod top_p;
mod top_scores;
mod unused;

use std::ops::ControlFlow;

pub use config::GenerationConfig;
pub use early_stopping::EarlyStopping;
pub use error::GenerationError;
pub use log_softmax::log_softmax;
pub use min_new_tokens::min_new_tokens;
pub use no_repeat_ngram::no_repeat_ngram;
pub use output::{FinishReason, Generated, Step};
pub use processors::LogitsProcessors;
pub use repetition_penalty::repetition_penalty;
pub use temperature::temperature;
pub use text_stream::TextStream;
pub use top_k::top_k;
pub use top_p::top_p;

use crate::gpt2::CausalLm;
use crate::{ModelError, Tokenizer};
use settings::Settings;

impl CausalLm {
    /// Continues each prompt: `num_return_sequences` texts for the first, then for the second, …
    ///
    /// The prompts are one batch; what a prompt's text is does not depend on the others. Dropout is
    /// off, whatever mode the model is in. Adapters count as in
    /// [`forward`](Self::forward); a model for the rows of a mixed batch
    /// ([`for_rows`](lora_core::LoraModule::for_rows)) has one for each prompt.
    ///
    /// # Errors
    ///
    /// [`GenerationError`] as [`ModelError::Generation`]: a field of the configuration that is not
    /// valid; no prompts, an empty one, one that is too long with its new tokens, one with a token
    /// outside the vocabulary; prompts of different lengths without a token to pad with; logits
    /// that are not finite; nothing left to choose from.
    pub fn generate<P: AsRef<[u32]>>(
        &self,
        prompts: &[P],
        config: &GenerationConfig,
    ) -> Result<Vec<Generated>, ModelError> {
        let settings = Settings::new(config, self.config(), prompts)?;
        match config.num_beams {
            1 => search::search(self, &settings, |_| ControlFlow::Continue(())),
            _ => beam_search::beam_search(self, &settings),
        }
    }

    /// [`generate`](Self::generate), telling `on_token` of each token as soon as it is chosen. When
    /// that breaks, generation stops, and what there is by then is the result.
    ///
    /// ```no_run
    /// # use lora_models::generation::{GenerationConfig, TextStream};
    /// # use lora_models::{ModelError, Tokenizer, gpt2::CausalLm};
    /// # fn print(model: &CausalLm, tokenizer: &Tokenizer) -> Result<(), ModelError> {
    /// use std::ops::ControlFlow;
    ///
    /// let prompt = tokenizer.encode("Once upon a time", None, 100)?.ids;
    /// let mut text = TextStream::new(tokenizer, true);
    /// let config = GenerationConfig::default();
    /// model.generate_with(&[prompt], &config, |step| match text.push(step.token) {
    ///     Ok(piece) => {
    ///         print!("{piece}");
    ///         ControlFlow::Continue(())
    ///     }
    ///     Err(_) => ControlFlow::Break(()),
    /// })?;
    /// println!("{}", text.finish()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate), and [`GenerationError::Config`] for beam search: its tokens
    /// are not certain before the end.
    pub fn generate_with<P: AsRef<[u32]>>(
        &self,
        prompts: &[P],
        config: &GenerationConfig,
        on_token: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, ModelError> {
        let settings = Settings::new(config, self.config(), prompts)?;
        if config.num_beams > 1 {
            let message = format!(
                "is {}, expected 1: beam search has no tokens to give before it ends",
                config.num_beams
            );
            return Err(GenerationError::Config {
                field: "num_beams",
                message,
            }
            .into());
        }
        search::search(self, &settings, on_token)
    }

    /// [`generate`](Self::generate) from texts to texts: the continuations alone, without special
    /// tokens.
    ///
    /// A prompt has the special tokens that the tokenizer puts around a text, as in Hugging Face;
    /// GPT-2's puts none.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate), and [`ModelError::Tokenizer`].
    pub fn generate_text<S: AsRef<str> + Sync>(
        &self,
        tokenizer: &Tokenizer,
        prompts: &[S],
        config: &GenerationConfig,
    ) -> Result<Vec<String>, ModelError> {
        // Not cut to the model's length: a prompt that is too long is an error.
        let encodings = tokenizer.encode_batch(prompts, usize::MAX)?;
        let prompts: Vec<Vec<u32>> = encodings.into_iter().map(|e| e.ids).collect();
        let texts = self.generate(&prompts, config)?;
        let text = |text: Generated| Ok(tokenizer.decode(&text.tokens, true)?);
        texts.into_iter().map(text).collect()
    }
}
