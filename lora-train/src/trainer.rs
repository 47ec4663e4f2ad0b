//! A training run.

mod bf16;
mod gradient_checkpointing;
mod gradients;
mod lock;
mod log;
mod progress;
mod replicas;
mod steps;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LearningRateMetric;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use lora_core::device_of;
use lora_core::state::initialize;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Best, Checkpoints, Parameters, TrainerState, restore};
use crate::data::{RunLoader, TokenizedDataset};
use crate::metric::PeakMemoryMetric;
use crate::recorder::Recorder;
use crate::{Evaluation, History, Interval, LoraFa, Task, TrainError, Trainee, TrainingConfig};
use bf16::Bf16Products;
use steps::{Folder, Run, Steps};

pub use lock::{LOCK_NAME, RunLock};
pub use log::LOG_NAME;
pub use progress::Progress;

/// Burn's training, with all that a task has put there.
type Training<T> = SupervisedTraining<Trainee<T>>;

/// Trains a model with Burn's learner.
///
/// The learner's own parts do the work: its metrics, loggers, dashboard and events. What it lacks is
/// in a learning strategy of ours: measurements and checkpoints every so many steps, gradients that
/// are the mean over accumulated batches, and runs that go on as if they had never stopped.
///
/// ```
/// # use lora_core::{LoraConfig, default_device};
/// # use lora_models::bert::{BertConfig, SequenceClassification};
/// # use lora_models::tokenizer::train_byte_level_bpe;
/// # use lora_train::data::{Example, Label, TokenizedDataset};
/// # use lora_train::{Method, Progress, Trainer, TrainingConfig};
/// use burn::train::metric::TopKAccuracyMetric;
/// # let texts = ["a bad film", "a good film"];
/// # let example = |class: usize| Example {
/// #     text: texts[class].to_string(), pair: None, label: Label::Class(class),
/// # };
/// # let tokenizer = train_byte_level_bpe(texts.iter(), 300, 1)?;
/// # let bert = BertConfig {
/// #     vocab_size: 300, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
/// #     intermediate_size: 32, ..BertConfig::roberta_base()
/// # };
/// # let data = TokenizedDataset::encode(&[example(0), example(1)], &tokenizer, &bert, 16)?;
/// # let model = SequenceClassification::new(&bert, &default_device());
/// # let model = Method::Head.prepare(model)?;
/// # let folder = tempfile::tempdir()?;
///
/// let config = TrainingConfig::new().with_max_steps(Some(4)).with_batch_size(2);
/// let trained = Trainer::new(config)
///     .folder(folder.path()) // checkpoints, metrics.jsonl
///     .resume(true)          // go on from the last checkpoint, if there is one
///     .progress(Progress::Silent)
///     .configure(|training| training.metrics((TopKAccuracyMetric::new(1),))) // Burn's own settings
///     .train(model, &data, &data)?;
/// assert_eq!(trained.history.steps.len(), 4);
/// assert!(folder.path().join("checkpoint-4").is_dir());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer<T: Task> {
    config: TrainingConfig,
    folder: Option<PathBuf>,
    /// That it is taken, if it was before.
    lock: Option<Arc<RunLock>>,
    resume: bool,
    overwrite: bool,
    evaluate_at_end: bool,
    progress: Progress,
    interrupter: Interrupter,
    devices: Vec<Device>,
    configure: Vec<Configure<T>>,
}

type Configure<T> = Box<dyn FnOnce(Training<T>) -> Training<T>>;

/// What a training run leaves.
#[derive(Debug)]
pub struct Trained<T> {
    /// The model after the last step or, with `load_best_at_end`, after the best; in validation mode.
    pub model: T,
    /// Every step and measurement.
    pub history: History,
    /// How that model does on the development examples; `None` if the run was interrupted, or was not
    /// to [end with an evaluation](Trainer::evaluate_at_end).
    pub evaluation: Option<Evaluation>,
    /// After how many steps the best measurement was made.
    pub best_step: Option<usize>,
    /// The time that the run took, measurements included, without what came before a resumption.
    pub seconds: f64,
    /// How many bytes a step sends between the devices at most, if there are several.
    pub sent_per_step: Option<usize>,
    /// Why it ended before its last step, if it did.
    pub stopped: Option<Stopped>,
}

/// Why a run ended before its last step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Stopped {
    /// It was interrupted, and can be resumed.
    Interrupted {
        /// What the interrupter was told.
        reason: Option<String>,
    },
    /// Nothing had become better for `early_stopping_patience` measurements.
    Early,
}

impl<T: Task> Trainer<T> {
    /// A trainer without a folder that shows its progress as [`Progress::Auto`] does.
    pub fn new(config: TrainingConfig) -> Self {
        Self {
            config,
            folder: None,
            lock: None,
            resume: false,
            overwrite: false,
            evaluate_at_end: true,
            progress: Progress::default(),
            interrupter: Interrupter::new(),
            devices: Vec::new(),
            configure: Vec::new(),
        }
    }

    /// Keeps checkpoints and [`LOG_NAME`] in `folder`, which is created if need be.
    ///
    /// A checkpoint holds what trains, the optimizer's state by the paths of the parameters, and where
    /// the run stands. `save_total_limit` of them are kept, and the best.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_path_buf());
        self.lock = None;
        self
    }

    /// As [`folder`](Self::folder), with one that was taken before.
    pub fn locked_folder(mut self, lock: Arc<RunLock>) -> Self {
        self.folder = Some(lock.folder().to_path_buf());
        self.lock = Some(lock);
        self
    }

    /// Goes on from the last checkpoint in the folder, if there is one.
    ///
    /// The run then ends with the weights and the history that it would have had without the
    /// interruption: on backends that compute the same way twice, as `flex` does, bit for bit.
    /// Model, data and settings have to be the same.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Begins anew, without the checkpoints and the log of an earlier run in the folder. They are
    /// removed as soon as the folder is known to be in no other run's use.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether the model that training ends with is measured once more, as [`Task::evaluate`] does:
    /// yes, if nothing else is said. A program that measures it in a way of its own saves the time.
    pub fn evaluate_at_end(mut self, evaluate: bool) -> Self {
        self.evaluate_at_end = evaluate;
        self
    }

    /// Shows progress in another way.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// What stops the run: after the current step it writes a checkpoint and leaves.
    pub fn interrupter(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = interrupter;
        self
    }

    /// Computes on these devices instead of the model's own: on several, each batch of `batch_size`
    /// examples is shared out among them, and the step is that of one device up to rounding. The first
    /// one makes the steps and the measurements.
    ///
    /// Frozen weights are sent to a device once. After that only gradients come back and the values
    /// that train go out, at every step: what [`Trained::sent_per_step`] counts.
    ///
    /// Dropout takes its numbers from each device's generator; two threads on one device share it, so
    /// that naming a device twice is for trying things out.
    pub fn devices(mut self, devices: impl Into<Vec<Device>>) -> Self {
        self.devices = devices.into();
        self
    }

    /// Changes Burn's own training: adds metrics, loggers, checkpointers with a strategy, early
    /// stopping, ….
    ///
    /// Where Burn counts epochs, it is given the number of the measurement, counted from 1, which is
    /// the same if `eval_every` is an epoch. A renderer goes to [`Progress::Renderer`]; how long
    /// training takes, its accumulation, devices and strategy are the business of [`TrainingConfig`].
    pub fn configure(mut self, change: impl FnOnce(Training<T>) -> Training<T> + 'static) -> Self {
        self.configure.push(Box::new(change));
        self
    }

    /// Trains what [`Method::prepare`](crate::Method::prepare) left trainable.
    ///
    /// Two runs with the same configuration, data and weights give the same result on backends that
    /// compute the same way twice, as `flex` does.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`], also if the model has nothing that a setting can mean; what
    /// [`Task::check`] gives; [`TrainError::Diverged`] as soon as a loss or a gradient is not finite,
    /// before it reaches the weights; [`TrainError::FolderInUse`], [`TrainError::CheckpointsExist`];
    /// [`TrainError::Resume`] if the checkpoint is of another run; [`TrainError::Checkpoint`] if one
    /// cannot be written, [`TrainError::DeviceFailed`], [`TrainError::TrainerState`], [`TrainError::OptimizerState`] and
    /// [`TrainError::Lora`] if one cannot be read; [`TrainError::Training`] if the device or a metric
    /// fails; [`TrainError::Io`].
    pub fn train(
        self,
        model: T,
        train_data: &TokenizedDataset<T::Example>,
        dev_data: &TokenizedDataset<T::Example>,
    ) -> Result<Trained<T>, TrainError> {
        let start = Instant::now();
        let config = &self.config;
        config.validate()?;
        model.check(train_data.examples(), config.batch_size)?;
        model.check(dev_data.examples(), config.batch_size)?;

        let own = [device_of(&model)];
        let named = match self.devices.is_empty() {
            true => &own[..],
            false => &self.devices,
        };
        let _bf16 = config.bf16.then(|| Bf16Products::on(named)).transpose()?;
        // Tables may lie elsewhere than on the device that the model computes on.
        let lie = model.devices();
        lie.iter().chain(named).for_each(|d| d.seed(config.seed));
        // Lazy weights would otherwise take random numbers between those of the dropout.
        initialize(&model);
        let devices: Vec<_> = named.iter().map(|d| training_device(d, config)).collect();
        let device = devices[0].clone();
        let model = match named[0] == own[0] {
            true => model,
            false => model.fork(&device),
        };
        let mut model = model.train();
        if config.lora_fa {
            model = LoraFa::freeze(model)?;
        }
        let data = TrainerState::fingerprint(train_data.examples().iter().map(T::tokens));
        let lock = match (&self.lock, &self.folder) {
            (None, Some(folder)) => Some(Arc::new(RunLock::take(folder)?)),
            (lock, _) => lock.clone(),
        };
        let folder = self.folder.as_deref().map(Folder::open).transpose()?;
        let mut state = TrainerState::new(config, data);
        if let Some(folder) = &folder {
            if self.overwrite && !self.resume {
                folder.checkpoints.remove_all()?;
            }
            if let Some(found) = last_state(&folder.checkpoints, self.resume)? {
                let path = folder.checkpoints.path(found.step);
                found.check(config, data, &path)?;
                model = folder.checkpoints.restore(found.step, model)?;
                state = found;
            }
            folder.log.keep(state.step)?;
        }
        let mut optimizer = config.optimizer(&model)?;
        if let Some(folder) = folder.as_ref().filter(|_| state.step > 0) {
            let checkpoints = &folder.checkpoints;
            optimizer = checkpoints.restore_optimizer(state.step, &model, optimizer)?;
        }

        let total = config.steps(train_data.examples().len());
        let scheduler = config.scheduler(&model, total, state.step)?;
        let (renderer, lines) = self.progress.parts(&self.interrupter);
        let (recorder, dev_measures) = Recorder::new(renderer, state.history.evaluations.len());
        if config.gradient_checkpointing {
            model = gradient_checkpointing::enable(model);
        }
        let loader = RunLoader::new(&model, train_data.shared(), config, &devices, state.step);
        let training = supervised(&model, config, loader, dev_data, &device);
        let training = self.configure.into_iter().fold(training, |t, f| f(t));
        let trainee = Trainee {
            model,
            label_smoothing: config.label_smoothing,
        };
        let learner = Learner::new(trainee, optimizer.clone(), scheduler.clone());
        let run = Arc::new(Mutex::new(Run {
            optimizer,
            scheduler,
            state,
            since: start,
            folder: folder.clone(),
            lines,
            best: None,
            sent_per_step: None,
            stopped: None,
            error: None,
        }));
        let steps = Steps {
            config: config.clone(),
            examples: train_data.examples().len(),
            dev_examples: dev_data.examples().len(),
            total,
            devices,
            dev_measures,
            run: run.clone(),
        };
        let result = training
            .num_epochs(steps.rounds())
            .with_interrupter(self.interrupter)
            .renderer(Box::new(recorder))
            .with_training_strategy(TrainingStrategy::Custom(Arc::new(steps)))
            .launch(learner);
        // Gives the terminal back.
        drop(result.renderer);
        let run = &mut *run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = run.error.take() {
            return Err(error);
        }
        if let Some(error) = result.error {
            return Err(TrainError::Training(error));
        }

        let mut model = result.model.model;
        if let (true, Some(best)) = (config.load_best_at_end, run.state.best) {
            model = load_best(model, best, folder.as_ref(), run.best.take())?;
        }
        let evaluation = match run.stopped {
            Some(Stopped::Interrupted { .. }) => None,
            _ if !self.evaluate_at_end => None,
            _ => Some(model.evaluate(dev_data, config.batch_size)?),
        };
        drop(lock);
        run.count_time();
        Ok(Trained {
            model,
            history: std::mem::take(&mut run.state.history),
            evaluation,
            best_step: run.state.best.map(|best| best.step),
            sent_per_step: run.sent_per_step,
            seconds: run.state.seconds,
            stopped: run.stopped.take(),
        })
    }
}

/// The state of the last checkpoint, if the run is to go on from one.
fn last_state(checkpoints: &Checkpoints, resume: bool) -> Result<Option<TrainerState>, TrainError> {
    let Some(last) = checkpoints.steps()?.pop() else {
        return Ok(None);
    };
    match resume {
        true => Ok(Some(checkpoints.state(last)?)),
        false => Err(TrainError::CheckpointsExist {
            path: checkpoints.path(last),
        }),
    }
}

/// The device that computes gradients.
fn training_device(device: &Device, config: &TrainingConfig) -> Device {
    let device = device.clone();
    let device = match device.is_autodiff() {
        true => device,
        false => device.autodiff(),
    };
    match config.gradient_checkpointing {
        true => device.gradient_checkpointing(),
        false => device,
    }
}

/// Burn's training with its data and metrics.
fn supervised<T: Task>(
    model: &T,
    config: &TrainingConfig,
    train_loader: RunLoader<T>,
    dev_data: &TokenizedDataset<T::Example>,
    device: &Device,
) -> Training<T> {
    // Examples of like lengths side by side leave little to pad.
    let dev_loader = DataLoaderBuilder::new(model.batcher())
        .batch_size(config.batch_size)
        .set_device(device.clone().inner())
        .build(dev_data.sorted_by_key(T::tokens));
    let train_loader: Arc<dyn DataLoader<_>> = Arc::new(train_loader);
    let training = SupervisedTraining::new(".", train_loader, dev_loader);
    let training = match config.eval_every {
        // What the dashboard calls an epoch is the training between two measurements.
        Interval::Steps(steps) => training.label(&format!("1 epoch = {steps} steps")),
        Interval::Epoch | Interval::Never => training,
    };
    model
        .metrics(training)
        .metric_train_numeric(LearningRateMetric::new())
        .metric_train_numeric(PeakMemoryMetric::default())
        // The history has it all; Burn's own logger would fill the folder with a file for each
        // metric and epoch.
        .with_metric_logger(InMemoryMetricLogger::new())
        // Logging is the program's business.
        .with_application_logger(None)
}

/// The model with the values that measured best: from its checkpoint, or from memory.
fn load_best<T: Task>(
    model: T,
    best: Best,
    folder: Option<&Folder>,
    values: Option<Parameters>,
) -> Result<T, TrainError> {
    match (folder, values) {
        (Some(folder), _) => folder.checkpoints.restore(best.step, model),
        (None, Some(values)) => restore(model, Path::new("memory"), |info| {
            let value = values.iter().find(|(path, _)| *path == info.path);
            Ok(value.map(|(_, data)| data.clone()))
        }),
        (None, None) => Ok(model),
    }
}
