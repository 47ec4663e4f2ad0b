//! The model, token by token, over a batch that changes.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_core::LoraModule;

use super::error::GenerationError;
use super::settings::Settings;
use crate::ModelError;
use crate::gpt2::{Cache, CausalLm, Gpt2Input};

/// A model with the cache of what it has read.
///
/// Prompts stand at the end of their rows, with padding before them that is masked; positions count
/// from a prompt's first token. So a row does not see who its neighbours are.
pub(super) struct Decoder {
    model: CausalLm,
    device: Device,
    cache: Cache,
    rows: Vec<Row>,
    /// The tokens of the longest prompt.
    width: usize,
    /// The tokens after the prompt that each row has read.
    new: usize,
    /// The adapter of each prompt, if the model is one for the rows of a mixed batch.
    adapters: Option<Vec<String>>,
}

/// A row of the batch.
#[derive(Debug, Clone, Copy)]
struct Row {
    prompt: usize,
    /// The prompt's tokens.
    length: usize,
}

/// The scores of the next token for each row.
pub(super) struct Logits {
    values: Vec<f32>,
    vocabulary: usize,
}

impl Logits {
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocabulary..(row + 1) * self.vocabulary]
    }
}

impl Decoder {
    /// Reads the prompts, each into a row.
    pub(super) fn read(
        model: &CausalLm,
        settings: &Settings<'_>,
    ) -> Result<(Self, Logits), ModelError> {
        let prompts = &settings.prompts;
        let adapters = model.status().rows;
        if let Some(adapters) = &adapters
            && adapters.len() != prompts.len()
        {
            return Err(GenerationError::Rows {
                named: adapters.len(),
                prompts: prompts.len(),
            }
            .into());
        }
        let rows: Vec<Row> = prompts
            .iter()
            .enumerate()
            .map(|(prompt, tokens)| Row {
                prompt,
                length: tokens.len(),
            })
            .collect();
        // Dropout is off, whatever mode the model is in.
        let model = model.valid();
        let mut decoder = Self {
            device: lora_core::device_of(&model),
            model,
            cache: Cache::new(),
            width: rows.iter().map(|row| row.length).max().unwrap_or(0),
            rows,
            new: 0,
            adapters,
        };
        let logits = decoder.read_prompts(settings)?;
        Ok((decoder, logits))
    }

    fn read_prompts(&mut self, settings: &Settings<'_>) -> Result<Logits, ModelError> {
        let width = self.width;
        let mut ids = Vec::with_capacity(self.rows.len() * width);
        let mut positions = Vec::with_capacity(self.rows.len() * width);
        for tokens in &settings.prompts {
            let padding = width - tokens.len();
            ids.extend(std::iter::repeat_n(i64::from(settings.pad), padding));
            ids.extend(tokens.iter().map(|token| i64::from(*token)));
            positions.extend(std::iter::repeat_n(0, padding));
            positions.extend(0..tokens.len() as i64);
        }
        let input = Gpt2Input {
            input_ids: self.matrix(ids, width),
            attention_mask: self.mask(width),
            position_ids: self.is_padded().then(|| self.matrix(positions, width)),
        };
        self.forward(input, width)
    }

    /// Reads one more token in each row.
    pub(super) fn step(&mut self, tokens: &[u32]) -> Result<Logits, ModelError> {
        let ids = tokens.iter().map(|token| i64::from(*token)).collect();
        let position = |row: &Row| (row.length + self.new) as i64;
        let positions = self.rows.iter().map(position).collect();
        let all = self.width + self.new + 1;
        let input = Gpt2Input {
            input_ids: self.matrix(ids, 1),
            attention_mask: self.mask(all),
            position_ids: self.is_padded().then(|| self.matrix(positions, 1)),
        };
        self.new += 1;
        self.forward(input, 1)
    }

    /// Goes on with the rows `chosen`, in that order; a row may be chosen several times or not at
    /// all.
    pub(super) fn select(&mut self, chosen: &[usize]) -> Result<(), ModelError> {
        if chosen.iter().copied().eq(0..self.rows.len()) {
            return Ok(());
        }
        let indices: Vec<i64> = chosen.iter().map(|row| *row as i64).collect();
        let count = indices.len();
        let indices = TensorData::new(indices, [count]);
        let indices = Tensor::<1, Int>::from_data(indices, &self.device);
        self.cache.select(&indices);
        let rows: Vec<Row> = chosen.iter().map(|row| self.rows[*row]).collect();
        let prompts = |rows: &[Row]| rows.iter().map(|row| row.prompt).collect::<Vec<_>>();
        if let Some(adapters) = &self.adapters
            && prompts(&rows) != prompts(&self.rows)
        {
            let names: Vec<&str> = rows.iter().map(|row| &*adapters[row.prompt]).collect();
            self.model = self.model.for_rows(&names)?;
        }
        self.rows = rows;
        Ok(())
    }

    fn is_padded(&self) -> bool {
        self.rows.iter().any(|row| row.length < self.width)
    }

    /// 0 for each row's padding and 1 for the rest of `all` tokens, if there is padding.
    fn mask(&self, all: usize) -> Option<Tensor<2, Int>> {
        if !self.is_padded() {
            return None;
        }
        let mut mask = Vec::with_capacity(self.rows.len() * all);
        for row in &self.rows {
            let padding = self.width - row.length;
            mask.extend(std::iter::repeat_n(0, padding));
            mask.extend(std::iter::repeat_n(1, all - padding));
        }
        Some(self.matrix(mask, all))
    }

    fn matrix(&self, values: Vec<i64>, width: usize) -> Tensor<2, Int> {
        let data = TensorData::new(values, [self.rows.len(), width]);
        Tensor::from_data(data, &self.device)
    }

    /// The logits after the last of each row's `width` tokens, on the host.
    fn forward(&mut self, input: Gpt2Input, width: usize) -> Result<Logits, ModelError> {
        let last = (1..=self.rows.len()).map(|row| (row * width) as i64 - 1);
        let last = TensorData::new(last.collect::<Vec<_>>(), [self.rows.len()]);
        let last = Tensor::<1, Int>::from_data(last, &self.device);
        let logits = self.model.forward_at(input, last, Some(&mut self.cache));
        let [_, vocabulary] = logits.dims();
        let values = logits
            .try_into_vec_as::<f32>()
            .map_err(|e| GenerationError::Device(e.to_string()))?;
        for (row, scores) in self.rows.iter().zip(values.chunks(vocabulary)) {
            if !scores.iter().all(|score| score.is_finite()) {
                return Err(GenerationError::NonFiniteLogits {
                    prompt: row.prompt,
                    token: self.new,
                }
                .into());
            }
        }
        Ok(Logits { values, vocabulary })
    }
}
