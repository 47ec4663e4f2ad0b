//! The task by itself.

use super::*;
use crate::data::{MicroBatch, Tokens};
use crate::loss::{cross_entropy, mean_squared_error};
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
    ClassificationBatch {
        input: EncoderInput::new(ids),
        targets: Targets::Classes(Tensor::from_data([1, 0], device)),
        tokens: 6,
    }
}

/// A batch that is a whole step.
fn step(device: &Device) -> MicroBatch<ClassificationBatch> {
    MicroBatch {
        batch: batch(device),
        losses: 2,
        step: 1,
        part: 0,
        ends_step: true,
        ends_epoch: true,
        examples: vec![0, 1],
        tokens: 6,
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
    assert_eq!((output.losses.dims(), output.logits.dims()), ([2], [2, 2]));
    let classes = output.classes();
    let mean: f32 = output.losses.mean().into_scalar();
    let expected: f32 = cross_entropy(classes.output, classes.targets, None).into_scalar();
    assert_eq!(mean, expected);
}

#[test]
fn a_step_has_gradients_for_what_trains() {
    let device = default_device().autodiff();
    let model = bert::SequenceClassification::new(&tiny_config(), &device);
    let count = parameters(&model).len();
    let task = trainee(model);
    assert_eq!(TrainStep::step(&task, step(&device)).grads.len(), count);
    let head = crate::Method::Head.prepare(task.model).unwrap();
    let output = TrainStep::step(&trainee(head), step(&device));
    assert_eq!(output.grads.len(), 4);
}

#[test]
fn only_training_is_smoothed() {
    let device = default_device();
    let model = bert::SequenceClassification::new(&tiny_config(), &device);
    let task = Trainee {
        label_smoothing: 0.5,
        ..trainee(model)
    };
    let smoothed = task.model.output(batch(&device), 0.5).losses.into_data();
    let plain = task.model.output(batch(&device), 0.0).losses.into_data();
    assert_eq!(
        InferenceStep::step(&task, batch(&device))
            .losses
            .into_data(),
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
}

fn labelled(label: Label) -> TokenizedExample {
    let tokens = Tokens {
        ids: vec![0, 2],
        type_ids: vec![0, 0],
    };
    TokenizedExample {
        tokens,
        label,
        cut: false,
    }
}

#[test]
fn a_label_has_to_fit_the_model() {
    let check = |labels, label| {
        let config = tiny_config().with_num_labels(labels);
        let model = bert::SequenceClassification::new(&config, &default_device());
        model.check(&[labelled(label)], 2)
    };
    check(2, Label::Class(1)).unwrap();
    check(1, Label::Value(0.5)).unwrap();
    assert!(check(1, Label::Class(0)).is_err());
    let error = check(3, Label::Value(0.5)).unwrap_err().to_string();
    assert!(error.contains("a class below 3"), "{error}");
    assert!(check(2, Label::Class(2)).is_err());
}

#[test]
fn one_label_is_a_number() {
    let device = default_device();
    let config = tiny_config().with_num_labels(1);
    let task = trainee(bert::SequenceClassification::new(&config, &device));
    let values = Tensor::from_data([2.5, -1.0], &device);
    let batch = ClassificationBatch {
        targets: Targets::Values(values.clone()),
        ..batch(&device)
    };
    let output = InferenceStep::step(&task, batch);
    let said = output.logits.clone().reshape([2]);
    let expected: f32 = mean_squared_error(said, values).into_scalar();
    let found: f32 = output.losses.clone().mean().into_scalar();
    assert_eq!(found, expected);
    let input: ValuesInput = output.adapt();
    let targets: Vec<f32> = input.targets.try_into_vec_as().unwrap();
    assert_eq!(targets, [2.5, -1.0]);
}
