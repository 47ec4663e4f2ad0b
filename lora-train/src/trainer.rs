//! A training run.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use burn::data::dataloader::DataLoaderBuilder;
use burn::tensor::Device;
use burn::train::checkpoint::{
    ComposedCheckpointingStrategy, KeepLastNCheckpoints, MetricCheckpointingStrategy,
};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::{Interrupter, Learner, SupervisedTraining, renderer::default_renderer};
use lora_core::state::initialize;

use crate::data::TokenizedDataset;
use crate::history::History;
use crate::predict::device_of;
use crate::recorder::{Recorder, View};
use crate::{LoraFa, Task, TrainError, Trainee, TrainingConfig};

/// The name of the folder of checkpoints in a run's folder.
pub const CHECKPOINT_FOLDER: &str = "checkpoint";

/// How a training run shows where it stands.
#[derive(Default)]
pub enum Progress {
    /// Burn's dashboard if standard output is a terminal, else a line for each epoch on it.
    #[default]
    Auto,
    /// A line for each epoch, written there.
    Lines(Box<dyn Write + Send + Sync>),
    /// Not at all.
    Silent,
}

impl Progress {
    fn view(self, interrupter: &Interrupter) -> View {
        match self {
            Self::Auto if std::io::stdout().is_terminal() => {
                View::Renderer(default_renderer(interrupter.clone(), None))
            }
            Self::Auto => View::Lines(Box::new(std::io::stdout())),
            Self::Lines(output) => View::Lines(output),
            Self::Silent => View::Lines(Box::new(std::io::sink())),
        }
    }
}

/// What a training run leaves.
#[derive(Debug)]
pub struct Trained<T: Task> {
    /// The model after the last step, in validation mode.
    pub model: T,
    /// Every step and epoch.
    pub history: History,
    /// How the model does on the development examples.
    pub evaluation: T::Evaluation,
    /// The time the run took, evaluation included.
    pub seconds: f64,
    /// Whether it was stopped before its last epoch, which the dashboard offers.
    pub interrupted: bool,
}

/// Trains what [`Method::prepare`](crate::Method::prepare) left trainable, with Burn's learner.
///
/// With `folder`, the last checkpoint and the one with the lowest development loss are kept below
/// it, in [`CHECKPOINT_FOLDER`]. A checkpoint has the whole model, the optimizer and the schedule;
/// older ones there are removed first.
///
/// Two runs with the same configuration, data and weights give the same result on backends that
/// compute the same way twice, as `flex` does.
///
/// # Errors
///
/// [`TrainError::Setting`], also if the model has no adapter that `loraplus_lr_ratio` or `lora_fa`
/// can train; what [`Task::check`] gives, such as [`TrainError::Regression`] for a model with one
/// label; [`TrainError::Diverged`] as soon as the loss is not finite;
/// [`TrainError::Training`] if the device or a checkpoint fails; [`TrainError::Io`].
pub fn train<T: Task>(
    model: T,
    config: &TrainingConfig,
    train_data: &TokenizedDataset<T::Example>,
    dev_data: &TokenizedDataset<T::Example>,
    folder: Option<&Path>,
    progress: Progress,
) -> Result<Trained<T>, TrainError> {
    config.validate()?;
    model.check(train_data.examples(), config.batch_size)?;
    model.check(dev_data.examples(), config.batch_size)?;
    let start = Instant::now();
    let device = device_of(&model);
    device.seed(config.seed);
    // Lazy weights would otherwise take random numbers between those of the dropout.
    initialize(&model);
    let mut model = model.train();
    if config.lora_fa {
        model = LoraFa::freeze(model)?;
    }

    let interrupter = Interrupter::new();
    let (recorder, history) = Recorder::new(progress.view(&interrupter), interrupter.clone());
    let steps = config.steps(train_data.examples().len());
    let training = supervised(&model, config, train_data, dev_data, &device, folder)?
        .with_interrupter(interrupter)
        .renderer(Box::new(recorder));
    let optimizer = config.optimizer(&model)?;
    let scheduler = config.scheduler(&model, steps)?;
    let trainee = Trainee {
        model,
        label_smoothing: config.label_smoothing,
    };
    let result = training.launch(Learner::new(trainee, optimizer, scheduler));
    // Gives the terminal back.
    drop(result.renderer);

    let history = std::mem::take(&mut *Recorder::lock(&history));
    if let Some((step, loss)) = history.first_divergence() {
        return Err(TrainError::Diverged { loss, step });
    }
    if let Some(error) = result.error {
        return Err(TrainError::Training(error));
    }
    let model = result.model.model;
    let evaluation = model.evaluate(dev_data, config.batch_size)?;
    let interrupted = history.epochs.len() < config.epochs;
    Ok(Trained {
        model,
        history,
        evaluation,
        seconds: start.elapsed().as_secs_f64(),
        interrupted,
    })
}

/// Burn's training loop with its data, metrics and checkpoints.
fn supervised<T: Task>(
    model: &T,
    config: &TrainingConfig,
    train_data: &TokenizedDataset<T::Example>,
    dev_data: &TokenizedDataset<T::Example>,
    device: &Device,
    folder: Option<&Path>,
) -> Result<SupervisedTraining<Trainee<T>>, TrainError> {
    let loader = || {
        DataLoaderBuilder::new(model.batcher())
            .batch_size(config.batch_size)
            .set_device(device.clone())
    };
    let train_loader = loader().shuffle(config.seed).build(train_data.clone());
    let dev_loader = loader().build(dev_data.clone());
    let directory = folder.unwrap_or(Path::new("."));
    let training = T::metrics(SupervisedTraining::new(directory, train_loader, dev_loader))
        .metric_train_numeric(LearningRateMetric::new())
        // The history has it all; Burn's own logger would fill the folder with a file for each
        // metric and epoch.
        .with_metric_logger(InMemoryMetricLogger::new())
        // Logging is the program's business.
        .with_application_logger(None)
        .num_epochs(config.epochs);
    let Some(folder) = folder else {
        return Ok(training);
    };
    remove_checkpoints(&folder.join(CHECKPOINT_FOLDER))?;
    let best = MetricCheckpointingStrategy::new(
        &LossMetric::new(),
        Aggregate::Mean,
        Direction::Lowest,
        Split::Valid,
    );
    let last_and_best = ComposedCheckpointingStrategy::builder()
        .add(KeepLastNCheckpoints::new(1))
        .add(best)
        .build();
    Ok(training
        .with_default_checkpointers()
        .with_checkpointing_strategy(last_and_best))
}

/// Removes the checkpoints of an earlier run, and nothing else.
fn remove_checkpoints(folder: &Path) -> Result<(), TrainError> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| TrainError::io("read", folder, e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| TrainError::io("read", folder, e))?.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let ours = stem.rsplit_once('-').is_some_and(|(name, epoch)| {
            ["model", "optim", "scheduler"].contains(&name) && epoch.parse::<usize>().is_ok()
        });
        if ours && path.extension().is_some_and(|extension| extension == "bpk") {
            std::fs::remove_file(&path).map_err(|e| TrainError::io("remove", &path, e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example, tiny_config, tokenizer};
    use lora_core::default_device;
    use lora_models::bert::SequenceClassification;

    #[test]
    fn only_checkpoints_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "model-3.bpk",
            "optim-3.bpk",
            "scheduler-3.bpk",
            "model-x.bpk",
            "notes-1.bpk",
        ];
        for name in names.iter().chain(&["model-3.txt"]) {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_checkpoints(folder.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["model-3.txt", "model-x.bpk", "notes-1.bpk"]);
        remove_checkpoints(&folder.path().join("none")).unwrap();
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let data = [example("good", 1)];
        let data = TokenizedDataset::encode(&data, &tokenizer(), &tiny_config(), 16).unwrap();
        let run = |labels, config: &TrainingConfig| {
            let model = tiny_config().with_num_labels(labels);
            let model = SequenceClassification::new(&model, &default_device());
            train(model, config, &data, &data, None, Progress::Silent).unwrap_err()
        };
        assert!(matches!(
            run(1, &TrainingConfig::new()),
            TrainError::Regression
        ));
        let config = TrainingConfig::new().with_epochs(0);
        assert!(matches!(
            run(2, &config),
            TrainError::Setting {
                field: "epochs",
                ..
            }
        ));
    }
}
