//! Sequence classification as a task for Burn's learner.

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::Device;
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use lora_models::bert::SequenceClassification;

use crate::data::ClassificationBatch;
use crate::loss::cross_entropies;

/// A classifier that Burn's learner can train and validate.
///
/// It adds no level of its own to the module tree: parameters and checkpoints keep the names they
/// have in [`SequenceClassification`].
#[derive(Debug, Clone)]
pub struct ClassificationTask(pub SequenceClassification);

impl ClassificationTask {
    /// The losses of the examples, logits and targets.
    fn output(&self, batch: ClassificationBatch) -> ClassificationOutput {
        let logits = self.0.forward(batch.input);
        // One loss an example: the loss metric weighs each batch by how many it is given.
        let losses = cross_entropies(logits.clone(), batch.targets.clone());
        ClassificationOutput::new(losses, logits, batch.targets)
    }
}

impl TrainStep for ClassificationTask {
    type Input = ClassificationBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ClassificationBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.output(batch);
        let gradients = output.loss.clone().mean().backward();
        TrainOutput::new(self, gradients, output)
    }
}

impl InferenceStep for ClassificationTask {
    type Input = ClassificationBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ClassificationBatch) -> ClassificationOutput {
        self.output(batch)
    }
}

impl Module for ClassificationTask {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn train(self) -> Self {
        Self(self.0.train())
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn materialize(self) -> Self {
        Self(self.0.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self(self.0.map(mapper))
    }
}

impl ModuleDisplay for ClassificationTask {}

impl ModuleDisplayDefault for ClassificationTask {
    fn content(&self, content: Content) -> Option<Content> {
        self.0.content(content)
    }
}

impl std::fmt::Display for ClassificationTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&ModuleDisplay::format(self, DisplaySettings::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::cross_entropy;
    use crate::testing::tiny_config;
    use burn::tensor::{Int, Tensor};
    use lora_core::{default_device, state::parameters};
    use lora_models::bert::EncoderInput;

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
        let model = SequenceClassification::new(&tiny_config(), &default_device());
        assert_eq!(
            parameters(&ClassificationTask(model.clone())),
            parameters(&model)
        );
    }

    #[test]
    fn the_mean_of_its_losses_is_cross_entropy() {
        let device = default_device();
        let task = ClassificationTask(SequenceClassification::new(&tiny_config(), &device));
        let output = InferenceStep::step(&task, batch(&device));
        assert_eq!((output.loss.dims(), output.output.dims()), ([2], [2, 2]));
        let mean: f32 = output.loss.mean().into_scalar();
        let expected: f32 = cross_entropy(output.output, output.targets, None).into_scalar();
        assert_eq!(mean, expected);
    }

    #[test]
    fn a_step_has_gradients_for_what_trains() {
        let device = default_device().autodiff();
        let model = SequenceClassification::new(&tiny_config(), &device);
        let count = parameters(&model).len();
        let task = ClassificationTask(model);
        assert_eq!(TrainStep::step(&task, batch(&device)).grads.len(), count);
        let ClassificationTask(model) = task;
        let head = crate::Method::Head.prepare(model).unwrap();
        let step = TrainStep::step(&ClassificationTask(head), batch(&device));
        assert_eq!(step.grads.len(), 4);
    }
}
