//! Where a run stands, besides its weights and its optimizer.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{EvaluationRecord, History, Measures, StepRecord, TrainError, TrainingConfig};

/// Changes when an older reader would misunderstand the file.
const VERSION: u32 = 1;
/// Settings that make no difference to the weights.
const FREE: [&str; 4] = [
    "save_every",
    "log_every",
    "save_total_limit",
    "gradient_checkpointing",
];

/// Settings that make a difference only once there is a best measurement, so that a name that no
/// measure has can be put right.
const OF_THE_BEST: [&str; 2] = ["metric_for_best_model", "greater_is_better"];

/// Where a run stands.
///
/// The learning rate, the order of the examples and the seeds of the dropout are functions of the
/// step, so the step is all that is kept of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainerState {
    /// How many steps are done.
    pub(crate) step: usize,
    /// How it is trained.
    pub(crate) config: TrainingConfig,
    /// What it is trained on, as a number; see [`fingerprint`](Self::fingerprint).
    pub(crate) data: u64,
    /// All that was measured.
    pub(crate) history: History,
    /// The best measurement.
    pub(crate) best: Option<Best>,
    /// How many measurements in a row were no better.
    pub(crate) without_improvement: usize,
    /// The time the run has taken, in seconds.
    pub(crate) seconds: f64,
}

/// The best measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Best {
    /// After how many steps.
    pub(crate) step: usize,
    /// What it was.
    pub(crate) value: f64,
}

impl TrainerState {
    pub(crate) fn new(config: &TrainingConfig, data: u64) -> Self {
        Self {
            step: 0,
            config: config.clone(),
            data,
            history: History::default(),
            best: None,
            without_improvement: 0,
            seconds: 0.0,
        }
    }

    /// A number that is another one for other data, as far as the lengths of the examples tell (64-bit
    /// FNV-1a).
    pub(crate) fn fingerprint(lengths: impl Iterator<Item = usize>) -> u64 {
        lengths.fold(0xcbf2_9ce4_8422_2325, |hash, length| {
            (hash ^ length as u64).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Checks that a run with `config` on this data may go on from here.
    pub(crate) fn check(
        &self,
        config: &TrainingConfig,
        data: u64,
        path: &Path,
    ) -> Result<(), TrainError> {
        let refused = |field: String, found, expected| TrainError::Resume {
            path: path.to_path_buf(),
            field,
            found,
            expected,
        };
        let fields = |config: &TrainingConfig| serde_json::json!(config);
        let (mine, theirs) = (fields(config), fields(&self.config));
        let empty = serde_json::Map::new();
        for (field, value) in mine.as_object().unwrap_or(&empty) {
            let other = &theirs[field];
            let is_free = FREE.contains(&field.as_str())
                || self.best.is_none() && OF_THE_BEST.contains(&field.as_str());
            if value != other && !is_free {
                return Err(refused(field.clone(), value.to_string(), other.to_string()));
            }
        }
        match self.data == data {
            true => Ok(()),
            false => Err(refused(
                "training data".into(),
                format!("{data:016x}"),
                format!("{:016x}", self.data),
            )),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        let written = Written {
            version: VERSION,
            step: self.step,
            training: self.config.clone(),
            data: format!("{:016x}", self.data),
            best_step: self.best.map(|best| best.step),
            best_value: self.best.map(|best| Exact(best.value)),
            without_improvement: self.without_improvement,
            seconds: Exact(self.seconds),
            evaluations: self.history.evaluations.iter().map(Into::into).collect(),
            steps: self.history.steps.iter().map(Into::into).collect(),
        };
        format!("{:#}\n", serde_json::json!(written))
    }

    pub(crate) fn from_json(text: &str, path: &Path) -> Result<Self, TrainError> {
        let broken = |message: String| TrainError::TrainerState {
            path: path.to_path_buf(),
            message,
        };
        let written: Written = serde_json::from_str(text).map_err(|e| broken(e.to_string()))?;
        if written.version != VERSION {
            let message = format!("`version` is {}, expected {VERSION}", written.version);
            return Err(broken(message));
        }
        let data = u64::from_str_radix(&written.data, 16)
            .map_err(|e| broken(format!("`data` is {:?}: {e}", written.data)))?;
        let best = written.best_step.zip(written.best_value);
        let steps = written.steps.into_iter().map(StepRecord::from).collect();
        Ok(Self {
            step: written.step,
            config: written.training,
            data,
            history: History {
                steps,
                evaluations: written.evaluations.into_iter().map(Into::into).collect(),
            },
            best: best.map(|(step, value)| Best {
                step,
                value: value.0,
            }),
            without_improvement: written.without_improvement,
            seconds: written.seconds.0,
        })
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    step: usize,
    training: TrainingConfig,
    data: String,
    best_step: Option<usize>,
    best_value: Option<Exact>,
    without_improvement: usize,
    #[serde(default)]
    seconds: Exact,
    evaluations: Vec<WrittenEvaluation>,
    steps: Vec<(Exact, Exact, Exact, usize)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEvaluation {
    step: usize,
    epoch: Exact,
    train_loss: Exact,
    dev: IndexMap<String, Exact>,
    seconds: Exact,
    examples_per_second: Exact,
}

impl From<&StepRecord> for (Exact, Exact, Exact, usize) {
    fn from(record: &StepRecord) -> Self {
        (
            Exact(record.loss),
            Exact(record.learning_rate),
            Exact(record.grad_norm),
            record.losses,
        )
    }
}

impl From<(Exact, Exact, Exact, usize)> for StepRecord {
    fn from((loss, rate, norm, losses): (Exact, Exact, Exact, usize)) -> Self {
        Self {
            loss: loss.0,
            learning_rate: rate.0,
            grad_norm: norm.0,
            losses,
        }
    }
}

impl From<&EvaluationRecord> for WrittenEvaluation {
    fn from(record: &EvaluationRecord) -> Self {
        let dev = record.dev.0.iter();
        Self {
            step: record.step,
            epoch: Exact(record.epoch),
            train_loss: Exact(record.train_loss),
            dev: dev
                .map(|(name, value)| (name.clone(), Exact(*value)))
                .collect(),
            seconds: Exact(record.seconds),
            examples_per_second: Exact(record.examples_per_second),
        }
    }
}

impl From<WrittenEvaluation> for EvaluationRecord {
    fn from(written: WrittenEvaluation) -> Self {
        let dev = written.dev.into_iter();
        Self {
            step: written.step,
            epoch: written.epoch.0,
            train_loss: written.train_loss.0,
            dev: Measures(dev.map(|(name, value)| (name, value.0)).collect()),
            seconds: written.seconds.0,
            examples_per_second: written.examples_per_second.0,
        }
    }
}

/// A number as text: JSON has no NaN, and its parser here loses the last bit of some numbers.
#[derive(Default)]
struct Exact(f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}
