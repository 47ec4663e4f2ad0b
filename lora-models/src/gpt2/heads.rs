//! Models with a task's head on the transformer.

use burn::nn::Initializer;
use burn::tensor::{Bool, Device, Int, Tensor};
use lora_core::ops::tied_linear;
use lora_core::{LoraLinear, needs_all_rows};

use super::cache::Cache;
use super::config::Gpt2Config;
use super::transformer::{Gpt2Input, Transformer};
use crate::ModelError;
use crate::named_module::named_module;

/// Language modelling; the head is the table of token embeddings, one parameter.
///
/// Hugging Face's `GPT2LMHeadModel`.
#[derive(Clone, Debug)]
pub struct CausalLm {
    /// Embeddings and blocks.
    pub transformer: Transformer,
    config: Gpt2Config,
}

named_module!(this: CausalLm {
    transformer => "transformer",
} skip { config } ties { "lm_head" => "transformer.wte.weight" });

impl CausalLm {
    /// A model with fresh weights.
    pub fn new(config: &Gpt2Config, device: &Device) -> Self {
        Self {
            transformer: Transformer::new(config, device),
            config: config.clone(),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// Predicts the token after each one.
    ///
    /// # Shapes
    ///
    /// - output: logits, `[batch, new, vocab_size]`, on the device of the table of tokens
    ///
    /// # Panics
    ///
    /// As [`Transformer::forward`].
    pub fn forward(&self, input: Gpt2Input, cache: Option<&mut Cache>) -> Tensor<3> {
        let hidden = self.transformer.forward(input, cache);
        let [batch, new, width] = hidden.dims();
        let logits = self.decode(hidden.reshape([batch * new, width]));
        let [_, vocabulary] = logits.dims();
        logits.reshape([batch, new, vocabulary])
    }

    /// Predicts the token after those at `positions` only: training on responses and generation
    /// need few of them.
    ///
    /// # Shapes
    ///
    /// - `positions`: `[chosen]`, indices into the flattened `[batch · new]`
    /// - output: logits, `[chosen, vocab_size]`, on the device of the table of tokens
    ///
    /// # Panics
    ///
    /// As [`Transformer::forward`], and if a position is out of range.
    pub fn forward_at(
        &self,
        input: Gpt2Input,
        positions: Tensor<1, Int>,
        cache: Option<&mut Cache>,
    ) -> Tensor<2> {
        if cache.is_none() {
            let rows = self.transformer.rows(&input);
            if let Some(chosen) = rows.find(positions.clone()) {
                let hidden = self.transformer.forward_rows(input, &rows, None);
                return self.decode(hidden.select(0, chosen));
            }
        }
        let hidden = self.transformer.forward(input, cache);
        let [batch, new, width] = hidden.dims();
        self.decode(hidden.reshape([batch * new, width]).select(0, positions))
    }

    fn decode(&self, hidden: Tensor<2>) -> Tensor<2> {
        tied_linear(hidden, self.transformer.wte.weight.val())
    }
}

/// Sequence classification, or regression with one label, from the last token's state.
///
/// Hugging Face's `GPT2ForSequenceClassification`.
#[derive(Clone, Debug)]
pub struct SequenceClassification {
    /// Embeddings and blocks.
    pub transformer: Transformer,
    /// `[n_embd, num_labels]`, without bias.
    pub score: LoraLinear,
    config: Gpt2Config,
}

named_module!(this: SequenceClassification {
    transformer => "transformer",
    score => "score",
} skip { config });

impl SequenceClassification {
    /// A model with fresh weights.
    pub fn new(config: &Gpt2Config, device: &Device) -> Self {
        let normal = Initializer::Normal {
            mean: 0.0,
            std: config.initializer_range,
        };
        Self {
            transformer: Transformer::new(config, device),
            score: LoraLinear {
                weight: normal.init([config.n_embd, config.num_labels()], device),
                bias: None,
            },
            config: config.clone(),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// Classifies by the last token that is not padding: by the mask if there is one, by
    /// `pad_token_id` otherwise. Padding may be on either side.
    ///
    /// # Shapes
    ///
    /// - output: logits, `[batch, num_labels]`
    ///
    /// # Errors
    ///
    /// [`ModelError::NoPadToken`] if a batch of several sequences has no mask and the
    /// configuration no `pad_token_id`.
    ///
    /// # Panics
    ///
    /// As [`Transformer::forward`].
    pub fn forward(&self, input: Gpt2Input) -> Result<Tensor<2>, ModelError> {
        let [batch, _] = input.input_ids.dims();
        let real = match (&input.attention_mask, self.config.pad_token_id) {
            (Some(mask), _) => mask.clone().not_equal_elem(0),
            (None, Some(pad)) => input.input_ids.clone().not_equal_elem(pad as i64),
            (None, None) if batch == 1 => input.input_ids.ones_like().bool(),
            (None, None) => return Err(ModelError::NoPadToken { batch }),
        };
        Ok(self.forward_real(input, real))
    }

    /// Classifies by the last token that is `real`.
    ///
    /// # Shapes
    ///
    /// - `real`: `[batch, sequence]`
    /// - output: logits, `[batch, num_labels]`
    pub(crate) fn forward_real(&self, input: Gpt2Input, real: Tensor<2, Bool>) -> Tensor<2> {
        // The mask says what is real, if there is one: then nothing else has to be computed.
        if input.attention_mask.is_some() && !needs_all_rows(self) {
            let rows = self.transformer.rows(&input);
            if !rows.sequences.has_padding() {
                let last = rows.last(&input.input_ids.device());
                let pooled = self.transformer.forward_rows(input, &rows, Some(last));
                return self.score.forward(pooled);
            }
        }
        let hidden = self.transformer.forward(input, None);
        let [batch, sequence, width] = hidden.dims();
        let device = hidden.device();
        let positions = Tensor::<1, Int>::arange(0..sequence as i64, &device)
            .unsqueeze::<2>()
            .expand([batch, sequence]);
        let last = (positions * real.int()).max_dim(1).reshape([batch]);
        let starts = Tensor::<1, Int>::arange(0..batch as i64, &device);
        let rows = starts.mul_scalar(sequence as i64) + last;
        let pooled = hidden.reshape([batch * sequence, width]).select(0, rows);
        self.score.forward(pooled)
    }
}
