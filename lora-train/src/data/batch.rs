//! Examples side by side.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_models::TextConfig;
use lora_models::bert::EncoderInput;

use super::{Label, TokenizedExample, Tokens};

/// A batch of examples as tensors.
#[derive(Debug, Clone)]
pub struct ClassificationBatch {
    /// What the model reads, `[batch, sequence]`.
    pub input: EncoderInput,
    /// What the model should say.
    pub targets: Targets,
    /// How many tokens there are, without padding.
    pub tokens: usize,
}

/// What a model should say about each example of a batch.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Classes, `[batch]`.
    Classes(Tensor<1, Int>),
    /// Numbers, `[batch]`.
    Values(Tensor<1>),
}

impl Targets {
    /// All numbers if one of the labels is, else classes.
    fn of(labels: &[Label], device: &Device) -> Self {
        let count = labels.len();
        let classes: Option<Vec<i32>> = labels
            .iter()
            .map(|label| label.class().map(|class| class as i32))
            .collect();
        match classes {
            Some(classes) => {
                Self::Classes(Tensor::from_data(TensorData::new(classes, [count]), device))
            }
            None => {
                let value = |label: &Label| match *label {
                    Label::Class(class) => class as f32,
                    Label::Value(value) => value,
                };
                let values: Vec<f32> = labels.iter().map(value).collect();
                Self::Values(Tensor::from_data(TensorData::new(values, [count]), device))
            }
        }
    }
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
        let labels: Vec<Label> = items.iter().map(|item| item.label).collect();
        ClassificationBatch {
            input: self.input(&rows, device),
            targets: Targets::of(&labels, device),
            tokens: rows.iter().map(|row| row.ids.len()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;
    use crate::testing::tiny_config;
    use lora_core::default_device;

    fn item(ids: &[i32], type_ids: &[i32], class: usize) -> TokenizedExample {
        let tokens = Tokens {
            ids: ids.to_vec(),
            type_ids: type_ids.to_vec(),
        };
        TokenizedExample {
            tokens,
            label: Label::Class(class),
            cut: false,
        }
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
        let Targets::Classes(classes) = batch.targets else {
            panic!("classes became numbers")
        };
        let classes: Vec<i64> = classes.try_into_vec_as().unwrap();
        assert_eq!(classes, [1, 0]);
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
