//! What can be trained: a model with its batches, its loss and its metrics.

use std::fmt::Debug;

use burn::data::dataloader::batcher::Batcher;
use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::{Device, Tensor};
use burn::train::{InferenceStep, ItemLazy, SupervisedTraining, TrainOutput, TrainStep};

use crate::data::{MicroBatch, TokenizedDataset};
use crate::{Evaluation, TrainError};

/// A model that a [`Trainer`](crate::Trainer) can train: what a batch is made of, what the model says
/// about it, and how that is measured.
pub trait Task: Module + ModuleDisplayDefault + Debug + 'static {
    /// An example as token ids.
    type Example: Clone + Debug + Send + Sync + 'static;
    /// Examples side by side.
    type Batch: Clone + Debug + Send + 'static;
    /// What makes batches of examples.
    type Batcher: Batcher<Self::Example, Self::Batch> + 'static;
    /// What the model says about a batch.
    type Output: ItemLazy + 'static;

    /// Checks that the model can be trained, or measured, on this data in batches of `batch_size`.
    ///
    /// # Errors
    ///
    /// [`TrainError`] that says what stands in the way.
    fn check(&self, data: &[Self::Example], batch_size: usize) -> Result<(), TrainError>;

    /// The paths of the parameters of the head, the part that is new for the task; none if the model
    /// has no such part.
    fn head(&self) -> Vec<String> {
        Vec::new()
    }

    /// Makes batches for this model.
    fn batcher(&self) -> Self::Batcher;

    /// The length of an example.
    fn tokens(example: &Self::Example) -> usize;

    /// How many losses an example gives.
    fn losses_of(_example: &Self::Example) -> usize {
        1
    }

    /// What the model says, with losses smoothed by `label_smoothing` (see
    /// [`smoothed_cross_entropies`](crate::loss::smoothed_cross_entropies)).
    fn output(&self, batch: Self::Batch, label_smoothing: f64) -> Self::Output;

    /// The losses of a batch, `[losses]`; their mean is to be followed downhill.
    fn losses(output: &Self::Output) -> Tensor<1>;

    /// Adds the metrics of the task. One called "Loss" has to be among them.
    fn metrics(
        &self,
        training: SupervisedTraining<Trainee<Self>>,
    ) -> SupervisedTraining<Trainee<Self>>;

    /// Measures the model on every example, without dropout.
    ///
    /// # Errors
    ///
    /// [`TrainError::Device`].
    fn evaluate(
        &self,
        data: &TokenizedDataset<Self::Example>,
        batch_size: usize,
    ) -> Result<Evaluation, TrainError>;
}

/// A model as Burn's learner trains and validates it.
///
/// It adds no level of its own to the module tree: parameters and checkpoints keep the names they
/// have in the model.
#[derive(Debug, Clone)]
pub struct Trainee<T> {
    /// The model.
    pub model: T,
    /// How much the targets of training are smoothed, 0 to 1.
    pub label_smoothing: f64,
}

impl<T> Trainee<T> {
    fn map_model(self, change: impl FnOnce(T) -> T) -> Self {
        Self {
            model: change(self.model),
            label_smoothing: self.label_smoothing,
        }
    }
}

impl<T: Task> TrainStep for Trainee<T> {
    type Input = MicroBatch<T::Batch>;
    type Output = T::Output;

    /// The gradients are the batch's part of those of its whole step: they only have to be summed.
    fn step(&self, part: MicroBatch<T::Batch>) -> TrainOutput<T::Output> {
        let output = self.model.output(part.batch, self.label_smoothing);
        let loss = T::losses(&output).sum() / part.losses as f64;
        TrainOutput::new(self, loss.backward(), output)
    }
}

impl<T: Task> InferenceStep for Trainee<T> {
    type Input = T::Batch;
    type Output = T::Output;

    /// The losses of validation are not smoothed.
    fn step(&self, batch: T::Batch) -> T::Output {
        self.model.output(batch, 0.0)
    }
}

impl<T: Task> Module for Trainee<T> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.model.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.map_model(|model| model.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_model(|model| model.to_device(device))
    }

    fn train(self) -> Self {
        self.map_model(T::train)
    }

    fn valid(&self) -> Self {
        Self {
            model: self.model.valid(),
            label_smoothing: self.label_smoothing,
        }
    }

    fn materialize(self) -> Self {
        self.map_model(T::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.model.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.map_model(|model| model.map(mapper))
    }
}

impl<T: Task> ModuleDisplay for Trainee<T> {}

impl<T: Task> ModuleDisplayDefault for Trainee<T> {
    fn content(&self, content: Content) -> Option<Content> {
        self.model.content(content)
    }
}

impl<T: Task> std::fmt::Display for Trainee<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&ModuleDisplay::format(self, DisplaySettings::default()))
    }
}
