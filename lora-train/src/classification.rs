//! Sequence classification as a task.

use burn::tensor::Tensor;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{ClassificationOutput, SupervisedTraining};
use lora_models::{SequenceClassifier, TextConfig, bert, gpt2};

use crate::data::{ClassificationBatch, ClassificationBatcher, TokenizedDataset, TokenizedExample};
use crate::loss::smoothed_cross_entropies;
use crate::metric::WeightedF1Metric;
use crate::predict::evaluate_classifier;
use crate::{Evaluation, Task, TrainError, Trainee};

/// The two architectures differ in nothing that matters here.
macro_rules! classification_task {
    ($model:ty) => {
        impl Task for $model {
            type Example = TokenizedExample;
            type Batch = ClassificationBatch;
            type Batcher = ClassificationBatcher;
            type Output = ClassificationOutput;
            type Evaluation = Evaluation;

            fn check(
                &self,
                _data: &[TokenizedExample],
                batch_size: usize,
            ) -> Result<(), TrainError> {
                check(self.config(), batch_size)
            }

            fn batcher(&self) -> ClassificationBatcher {
                ClassificationBatcher::new(self.config())
            }

            fn output(
                &self,
                batch: ClassificationBatch,
                label_smoothing: f64,
            ) -> ClassificationOutput {
                output(self, batch, label_smoothing)
            }

            fn loss(output: &ClassificationOutput) -> Tensor<1> {
                output.loss.clone().mean()
            }

            fn metrics(
                training: SupervisedTraining<Trainee<Self>>,
            ) -> SupervisedTraining<Trainee<Self>> {
                training.metrics((
                    AccuracyMetric::new(),
                    LossMetric::new(),
                    WeightedF1Metric::new(),
                ))
            }

            fn evaluate(
                &self,
                data: &TokenizedDataset,
                batch_size: usize,
            ) -> Result<Evaluation, TrainError> {
                evaluate_classifier(self, data, batch_size)
            }
        }
    };
}

classification_task!(bert::SequenceClassification);
classification_task!(gpt2::SequenceClassification);

fn check<C: TextConfig>(config: &C, batch_size: usize) -> Result<(), TrainError> {
    if config.id2label().len() < 2 {
        return Err(TrainError::Regression);
    }
    match (config.pad_token_id(), batch_size) {
        (None, 2..) => Err(TrainError::NoPadToken),
        _ => Ok(()),
    }
}

/// The losses of the examples, logits and targets.
fn output<M: SequenceClassifier>(
    model: &M,
    batch: ClassificationBatch,
    label_smoothing: f64,
) -> ClassificationOutput {
    let logits = model.logits(batch.input);
    // One loss an example: the loss metric weighs each batch by how many it is given.
    let losses = smoothed_cross_entropies(logits.clone(), batch.targets.clone(), label_smoothing);
    ClassificationOutput::new(losses, logits, batch.targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::cross_entropy;
    use crate::testing::tiny_config;
    use burn::tensor::{Device, Int};
    use burn::train::{InferenceStep, TrainStep};
    use lora_core::{default_device, state::parameters};
    use lora_models::bert::EncoderInput;

    fn trainee(model: bert::SequenceClassification) -> Trainee<bert::SequenceClassification> {
        Trainee {
            model,
            label_smoothing: 0.0,
        }
    }

    fn batch(device: &Device) -> ClassificationBatch {
        let ids = Tensor::<2, Int>::from_data([[0, 7, 2], [0, 9, 2]], device);
        let targets = Tensor::from_data([1, 0], device);
        ClassificationBatch {
            input: EncoderInput::new(ids),
            targets,
        }
    }

    #[test]
    fn names_are_those_of_the_model() {
        let model = bert::SequenceClassification::new(&tiny_config(), &default_device());
        assert_eq!(parameters(&trainee(model.clone())), parameters(&model));
    }

    #[test]
    fn the_mean_of_its_losses_is_cross_entropy() {
        let device = default_device();
        let task = trainee(bert::SequenceClassification::new(&tiny_config(), &device));
        let output = InferenceStep::step(&task, batch(&device));
        assert_eq!((output.loss.dims(), output.output.dims()), ([2], [2, 2]));
        let mean: f32 = output.loss.mean().into_scalar();
        let expected: f32 = cross_entropy(output.output, output.targets, None).into_scalar();
        assert_eq!(mean, expected);
    }

    #[test]
    fn a_step_has_gradients_for_what_trains() {
        let device = default_device().autodiff();
        let model = bert::SequenceClassification::new(&tiny_config(), &device);
        let count = parameters(&model).len();
        let task = trainee(model);
        assert_eq!(TrainStep::step(&task, batch(&device)).grads.len(), count);
        let head = crate::Method::Head.prepare(task.model).unwrap();
        let step = TrainStep::step(&trainee(head), batch(&device));
        assert_eq!(step.grads.len(), 4);
    }

    #[test]
    fn only_training_is_smoothed() {
        let device = default_device();
        let model = bert::SequenceClassification::new(&tiny_config(), &device);
        let task = Trainee {
            label_smoothing: 0.5,
            ..trainee(model)
        };
        let smoothed = task.model.output(batch(&device), 0.5).loss.into_data();
        let plain = task.model.output(batch(&device), 0.0).loss.into_data();
        assert_eq!(
            InferenceStep::step(&task, batch(&device)).loss.into_data(),
            plain
        );
        assert_ne!(smoothed, plain);
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let config = gpt2::Gpt2Config {
            vocab_size: 10,
            n_positions: 8,
            n_embd: 8,
            n_layer: 1,
            n_head: 2,
            ..gpt2::Gpt2Config::small()
        };
        let check = |config: &gpt2::Gpt2Config, batch_size| {
            gpt2::SequenceClassification::new(config, &default_device()).check(&[], batch_size)
        };
        check(&config, 1).unwrap();
        let error = check(&config, 2).unwrap_err().to_string();
        assert!(error.contains("`pad_token_id`"), "{error}");
        check(&config.clone().with_pad_token_id(0), 2).unwrap();
        assert!(matches!(
            check(&config.with_num_labels(1), 1),
            Err(TrainError::Regression)
        ));
    }
}
