//! Examples side by side.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_models::TextConfig;
use lora_models::bert::EncoderInput;

use super::{TokenizedExample, Tokens};

/// A batch of examples as tensors.
#[derive(Debug, Clone)]
pub struct ClassificationBatch {
    /// What the model reads, `[batch, sequence]`.
    pub input: EncoderInput,
    /// The class of each example, `[batch]`.
    pub targets: Tensor<1, Int>,
}

/// Makes batches that are as long as their longest example.
#[derive(Debug, Clone)]
pub struct ClassificationBatcher {
    pad: i32,
}

impl ClassificationBatcher {
    /// A batcher for the model with the configuration `config`, whose padding id it uses: any id if
    /// there is none, as the mask tells padding from text.
    pub fn new(config: &impl TextConfig) -> Self {
        Self {
            pad: config.pad_token_id().unwrap_or_default() as i32,
        }
    }

    /// What the model reads for these texts.
    ///
    /// The attention mask is left out if nothing is padded, and the segments if all are 0.
    pub(crate) fn input(&self, rows: &[&Tokens], device: &Device) -> EncoderInput {
        let longest = rows
            .iter()
            .map(|row| row.ids.len())
            .max()
            .unwrap_or_default();
        let padded = rows.iter().any(|row| row.ids.len() < longest);
        let segments = rows
            .iter()
            .any(|row| row.type_ids.iter().any(|id| *id != 0));
        let mask = |row: &Tokens| vec![1; row.ids.len()];
        EncoderInput {
            input_ids: pad(rows, longest, self.pad, |row| row.ids.clone(), device),
            attention_mask: padded.then(|| pad(rows, longest, 0, mask, device)),
            token_type_ids: segments
                .then(|| pad(rows, longest, 0, |row| row.type_ids.clone(), device)),
        }
    }
}

/// The `values` of each row, filled up to `length`: `[rows, length]`.
fn pad(
    rows: &[&Tokens],
    length: usize,
    fill: i32,
    values: impl Fn(&Tokens) -> Vec<i32>,
    device: &Device,
) -> Tensor<2, Int> {
    let mut all = Vec::with_capacity(rows.len() * length);
    for (index, row) in rows.iter().enumerate() {
        all.extend(values(row));
        all.resize((index + 1) * length, fill);
    }
    Tensor::from_data(TensorData::new(all, [rows.len(), length]), device)
}

impl Batcher<TokenizedExample, ClassificationBatch> for ClassificationBatcher {
    fn batch(&self, items: Vec<TokenizedExample>, device: &Device) -> ClassificationBatch {
        let rows: Vec<&Tokens> = items.iter().map(|item| &item.tokens).collect();
        let classes: Vec<i32> = items.iter().map(|item| item.class as i32).collect();
        let count = classes.len();
        ClassificationBatch {
            input: self.input(&rows, device),
            targets: Tensor::from_data(TensorData::new(classes, [count]), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_config;
    use lora_core::default_device;

    fn item(ids: &[i32], type_ids: &[i32], class: usize) -> TokenizedExample {
        let tokens = Tokens {
            ids: ids.to_vec(),
            type_ids: type_ids.to_vec(),
        };
        TokenizedExample { tokens, class }
    }

    fn batch(items: Vec<TokenizedExample>) -> ClassificationBatch {
        ClassificationBatcher::new(&tiny_config()).batch(items, &default_device())
    }

    fn values(tensor: Tensor<2, Int>) -> Vec<i64> {
        tensor.into_data().iter::<i64>().collect()
    }

    #[test]
    fn pads_to_the_longest() {
        let batch = batch(vec![
            item(&[0, 7, 2], &[0; 3], 1),
            item(&[0, 5, 6, 8, 2], &[0; 5], 0),
        ]);
        assert_eq!(
            values(batch.input.input_ids),
            [0, 7, 2, 1, 1, 0, 5, 6, 8, 2]
        );
        let mask = batch.input.attention_mask.unwrap();
        assert_eq!(values(mask), [1, 1, 1, 0, 0, 1, 1, 1, 1, 1]);
        assert!(batch.input.token_type_ids.is_none());
        assert_eq!(
            batch.targets.into_data().iter::<i64>().collect::<Vec<_>>(),
            [1, 0]
        );
    }

    #[test]
    fn equal_lengths_need_no_mask() {
        let batch = batch(vec![
            item(&[0, 7, 2], &[0, 0, 1], 1),
            item(&[0, 6, 2], &[0; 3], 0),
        ]);
        assert!(batch.input.attention_mask.is_none());
        assert_eq!(
            values(batch.input.token_type_ids.unwrap()),
            [0, 0, 1, 0, 0, 0]
        );
    }
}
