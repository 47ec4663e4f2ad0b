//! What happened in a training run.

use serde::Serialize;

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// The mean loss over the training examples, as they were seen (with dropout).
    pub train_loss: f64,
    /// The fraction of the training examples that were classified right, as they were seen.
    pub train_accuracy: f64,
    /// The mean loss over the development examples after the epoch.
    pub dev_loss: f64,
    /// The fraction of them that is classified right.
    pub dev_accuracy: f64,
    /// The time that training took, without the development examples.
    pub seconds: f64,
    /// Training examples per second of it.
    pub examples_per_second: f64,
}

impl std::fmt::Display for EpochRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "train loss {:.4}, dev loss {:.4}, dev accuracy {:.2} %, {:.1} s, {:.1} examples/s",
            self.train_loss,
            self.dev_loss,
            100.0 * self.dev_accuracy,
            self.seconds,
            self.examples_per_second,
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
