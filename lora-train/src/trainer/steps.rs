//! The learning strategy: how a run goes from step to step.

mod after_step;
mod measure;
mod session;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use burn::train::{
    Learner, SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader,
    TrainingComponents, ValidLoader,
};

use super::Stopped;
use super::log::Log;
use super::progress::Lines;
use crate::checkpoint::{Checkpoints, Parameters, TrainerState};
use crate::recorder::DevMeasures;
use crate::{Task, TrainError, Trainee, TrainingConfig};
use session::Session;

/// What lies in a run's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) checkpoints: Checkpoints,
    pub(super) log: Log,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, TrainError> {
        Ok(Self {
            checkpoints: Checkpoints::open(path)?,
            log: Log::new(path),
        })
    }
}

/// What changes in a run, besides the model.
pub(super) struct Run {
    pub(super) optimizer: ModuleOptimizer,
    pub(super) scheduler: ModuleLrScheduler,
    pub(super) state: TrainerState,
    /// Since when the time is not in the state.
    pub(super) since: Instant,
    pub(super) folder: Option<Folder>,
    pub(super) lines: Lines,
    /// The values that measured best, if there is no folder for them.
    pub(super) best: Option<Parameters>,
    /// How many bytes a step sends between devices at most, if there are several.
    pub(super) sent_per_step: Option<usize>,
    pub(super) stopped: Option<Stopped>,
    pub(super) error: Option<TrainError>,
}

impl Run {
    /// Adds the time since it was last done to that of the run.
    pub(super) fn count_time(&mut self) {
        let now = Instant::now();
        self.state.seconds += (now - self.since).as_secs_f64();
        self.since = now;
    }
}

/// A strategy of Burn's learner that measures and saves when the configuration says so.
pub(super) struct Steps {
    pub(super) config: TrainingConfig,
    /// The number of training examples.
    pub(super) examples: usize,
    /// The number of development examples.
    pub(super) dev_examples: usize,
    /// The number of steps of the whole run.
    pub(super) total: usize,
    /// Where gradients are computed; the first one makes the steps.
    pub(super) devices: Vec<Device>,
    /// What Burn's metrics make of the development examples.
    pub(super) dev_measures: DevMeasures,
    pub(super) run: Arc<Mutex<Run>>,
}

impl Steps {
    /// Whether the development examples are measured after `step`.
    fn measures_after(&self, step: usize) -> bool {
        let ends = self.ends_epoch(step);
        self.config
            .eval_every
            .is_due(step, ends, step == self.total)
    }

    fn ends_epoch(&self, step: usize) -> bool {
        let per_epoch = self.config.steps_per_epoch(self.examples);
        step.is_multiple_of(per_epoch)
    }

    /// How many epochs `step` steps are.
    fn epochs(&self, step: usize) -> f64 {
        step as f64 / self.config.steps_per_epoch(self.examples) as f64
    }

    /// How often the development examples are measured, which is what Burn counts as epochs.
    pub(super) fn rounds(&self) -> usize {
        (1..=self.total)
            .filter(|step| self.measures_after(*step))
            .count()
    }

    /// How many examples are seen from `step`, exclusive, to the next measurement.
    fn examples_to_measurement(&self, step: usize) -> usize {
        let mut after = step + 1..=self.total;
        let end = after.find(|step| self.measures_after(*step));
        let seen = |steps| self.config.examples_in(self.examples, steps);
        seen(end.unwrap_or(self.total)) - seen(step)
    }
}

impl<T: Task> SupervisedLearningStrategy<Trainee<T>> for Steps {
    fn fit(
        &self,
        components: TrainingComponents<Trainee<T>>,
        learner: Learner<Trainee<T>>,
        train: TrainLoader<Trainee<T>>,
        valid: ValidLoader<Trainee<T>>,
        _starting_epoch: usize,
    ) -> (Trainee<T>, SupervisedTrainingEventProcessor<Trainee<T>>) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let mut learner = learner;
        learner.fork(&self.devices[0]);
        let mut session = Session::new(self, &mut run, learner.model(), valid, components);
        let result = session.go(train.as_ref());
        let (model, event_processor) = session.end();
        run.error = result.err();
        (model, event_processor)
    }
}
