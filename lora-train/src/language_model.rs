//! Causal language modelling as a task.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::train::metric::{Adaptor, LossInput, LossMetric};
use burn::train::{ItemLazy, SupervisedTraining};
use lora_core::device_of;
use lora_models::gpt2::CausalLm;

use crate::data::{CausalBatch, CausalBatcher, CausalExample, TokenizedDataset};
use crate::loss::smoothed_cross_entropies;
use crate::metric::{PerplexityMetric, TokensPerSecondMetric};
use crate::{Evaluation, Task, TrainError, Trainee};

/// The loss of each predicted token, `[tokens]`.
#[derive(Debug, Clone)]
pub struct TokenLosses {
    /// Cross-entropies in nats.
    pub losses: Tensor<1>,
}

impl ItemLazy for TokenLosses {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        self.losses.device().flush()?;
        Ok(Self {
            losses: self.losses.without_autodiff(),
        })
    }
}

impl Adaptor<LossInput> for TokenLosses {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.losses.clone())
    }
}

impl Adaptor<TokenLosses> for TokenLosses {
    fn adapt(&self) -> TokenLosses {
        self.clone()
    }
}

impl Task for CausalLm {
    type Example = CausalExample;
    type Batch = CausalBatch;
    type Batcher = CausalBatcher;
    type Output = TokenLosses;

    fn check(&self, data: &[CausalExample], _batch_size: usize) -> Result<(), TrainError> {
        // The last token of an example is only ever predicted.
        let longest = data.iter().map(|example| example.ids().len() - 1).max();
        let max_tokens = self.config().n_positions;
        match longest.unwrap_or_default() {
            longest if longest > max_tokens => Err(TrainError::MaxLen {
                max_len: longest,
                max_tokens,
            }),
            _ => Ok(()),
        }
    }

    fn batcher(&self) -> CausalBatcher {
        CausalBatcher
    }

    fn output(&self, batch: CausalBatch, label_smoothing: f64) -> TokenLosses {
        let logits = self.forward_at(batch.input, batch.positions, None);
        TokenLosses {
            losses: smoothed_cross_entropies(logits, batch.targets, label_smoothing),
        }
    }

    fn tokens(example: &CausalExample) -> usize {
        example.ids().len()
    }

    fn losses_of(example: &CausalExample) -> usize {
        example.predicted()
    }

    fn losses(output: &TokenLosses) -> Tensor<1> {
        output.losses.clone()
    }

    fn metrics(
        &self,
        training: SupervisedTraining<Trainee<Self>>,
    ) -> SupervisedTraining<Trainee<Self>> {
        training
            .metrics((LossMetric::new(), PerplexityMetric::new()))
            .metric_train_numeric(TokensPerSecondMetric::default())
    }

    fn evaluate(
        &self,
        data: &TokenizedDataset<CausalExample>,
        batch_size: usize,
    ) -> Result<Evaluation, TrainError> {
        let model = self.valid();
        let device = device_of(&model);
        let mut examples: Vec<&CausalExample> = data.examples().iter().collect();
        // Examples of like lengths side by side leave little to pad.
        examples.sort_by_key(|example| example.ids().len());
        let (mut sum, mut tokens) = (0.0, 0);
        for chunk in examples.chunks(batch_size.max(1)) {
            let losses = model
                .output(CausalBatcher::make(chunk, &device), 0.0)
                .losses;
            let [count] = losses.dims();
            let batch: f64 = losses
                .sum()
                .try_into_scalar()
                .map_err(|e| TrainError::Device(e.to_string()))?;
            sum += batch;
            tokens += count;
        }
        let loss = sum / tokens as f64;
        let measures = [("loss", loss), ("perplexity", loss.exp())].into();
        Ok(Evaluation::new(measures, tokens, "tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::cross_entropy;
    use burn::tensor::{Int, TensorData};
    use lora_core::default_device;
    use lora_models::gpt2::{Gpt2Config, Gpt2Input};

    fn model() -> CausalLm {
        let config = Gpt2Config {
            vocab_size: 11,
            n_positions: 12,
            n_embd: 8,
            n_layer: 2,
            n_head: 2,
            initializer_range: 0.5,
            ..Gpt2Config::small()
        };
        CausalLm::new(&config, &default_device())
    }

    fn example(ids: &[i32], prompt: usize) -> CausalExample {
        CausalExample::new(ids.to_vec(), prompt).unwrap()
    }

    /// The mean loss of one example, by itself and straight from the definition.
    fn reference(model: &CausalLm, ids: &[i32], prompt: usize) -> f64 {
        let device = default_device();
        let input =
            Tensor::<2, Int>::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), &device);
        let logits = model.valid().forward(Gpt2Input::new(input), None);
        let count = ids.len() - prompt;
        let logits = logits
            .slice([0..1, prompt - 1..ids.len() - 1])
            .reshape([count, 11]);
        let targets = TensorData::new(ids[prompt..].to_vec(), [count]);
        cross_entropy(logits, Tensor::from_data(targets, &device), None).into_scalar::<f32>() as f64
    }

    #[test]
    fn only_the_response_counts_and_padding_does_not() {
        let model = model();
        let (long, short) = ([1, 2, 3, 4, 5, 6, 7], [8, 9, 10]);
        let data = TokenizedDataset::new(vec![example(&long, 4), example(&short, 1)]).unwrap();
        let expected =
            (3.0 * reference(&model, &long, 4) + 2.0 * reference(&model, &short, 1)) / 5.0;
        for batch_size in [1, 2] {
            let evaluation = model.evaluate(&data, batch_size).unwrap();
            assert_eq!(evaluation.count, 5);
            assert!(
                (evaluation.get("loss") - expected).abs() < 1e-5,
                "{evaluation} {expected}"
            );
            assert!((evaluation.get("perplexity") - expected.exp()).abs() < 1e-3);
        }
    }
}
