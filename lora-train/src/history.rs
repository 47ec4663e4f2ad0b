//! What happened in a training run.

use indexmap::IndexMap;
use serde::Serialize;

/// The metrics of a pass over a data set, by name: `loss`, and `accuracy`, `f1_weighted` (fractions)
/// or `perplexity`, as the task has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Measures(pub IndexMap<String, f64>);

impl Measures {
    /// The metric of that name; NaN if the task has none.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    /// The mean loss.
    pub fn loss(&self) -> f64 {
        self.get("loss")
    }
}

impl<const N: usize> From<[(&str, f64); N]> for Measures {
    fn from(values: [(&str, f64); N]) -> Self {
        Self(
            values
                .into_iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
        )
    }
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// On the training examples, as they were seen (with dropout and smoothed targets).
    pub train: Measures,
    /// On the development examples after the epoch.
    pub dev: Measures,
    /// The time that training took, without the development examples.
    pub seconds: f64,
    /// Training examples per second of it.
    pub examples_per_second: f64,
}

impl std::fmt::Display for EpochRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "train loss {:.4}, dev loss {:.4}",
            self.train.loss(),
            self.dev.loss()
        )?;
        for (name, value) in self.dev.0.iter().filter(|(name, _)| *name != "loss") {
            match name.as_str() {
                "accuracy" => write!(f, ", dev accuracy {:.2} %", 100.0 * value)?,
                "f1_weighted" => write!(f, ", dev F1 {:.2} %", 100.0 * value)?,
                _ => write!(f, ", dev {name} {value:.3}")?,
            }
        }
        write!(
            f,
            ", {:.1} s, {:.1} examples/s",
            self.seconds, self.examples_per_second,
        )
    }
}

/// One step of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepRecord {
    /// The mean loss over the batch.
    pub loss: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
}

/// All steps and epochs of a training run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct History {
    /// In the order they were made.
    pub steps: Vec<StepRecord>,
    /// In the order they were completed.
    pub epochs: Vec<EpochRecord>,
}

impl History {
    /// The first step with a loss that is no finite number, counted from 1, and that loss.
    pub(crate) fn first_divergence(&self) -> Option<(usize, f64)> {
        let index = self.steps.iter().position(|step| !step.loss.is_finite())?;
        Some((index + 1, self.steps[index].loss))
    }
}
