//! What happened in a training run.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::null;

/// Measures of a pass over a data set, by name: `loss`, and `accuracy`, `f1_weighted`, … or
/// `perplexity`, as the task has them. What is a percentage on the screen is a fraction here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Measures(#[serde(deserialize_with = "null::as_nans")] pub IndexMap<String, f64>);

impl Measures {
    /// The measure of that name; NaN if the task has none.
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

impl std::fmt::Display for Measures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "loss {:.4}", self.loss())?;
        for (name, value) in self.0.iter().filter(|(name, _)| *name != "loss") {
            let words = name.replace('_', " ");
            match crate::metric::is_fraction(name) {
                true => write!(f, ", {words} {:.2} %", 100.0 * value)?,
                false => write!(f, ", {words} {value:.3}")?,
            }
        }
        Ok(())
    }
}

/// One measurement of the development examples, and the training since the one before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// After how many steps of the optimizer.
    pub step: usize,
    /// After how many epochs.
    pub epoch: f64,
    /// The mean loss of the training examples, as they were seen (with dropout and smoothed
    /// targets).
    #[serde(deserialize_with = "null::as_nan")]
    pub train_loss: f64,
    /// What the development examples give.
    pub dev: Measures,
    /// The time that training took, without the development examples.
    pub seconds: f64,
    /// Training examples per second of it.
    #[serde(deserialize_with = "null::as_nan")]
    pub examples_per_second: f64,
}

impl std::fmt::Display for EvaluationRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "step {} (epoch {}): train loss {:.4}, dev {}, {:.1} s, {:.1} examples/s",
            self.step,
            short(self.epoch),
            self.train_loss,
            self.dev,
            self.seconds,
            self.examples_per_second,
        )
    }
}

/// An epoch with at most two decimals.
pub(crate) fn short(epoch: f64) -> String {
    let text = format!("{epoch:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// One step of the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepRecord {
    /// The mean loss over the examples of the step.
    pub loss: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// The Euclidean norm of the gradient, before it was cut to `max_grad_norm`.
    pub grad_norm: f64,
    /// How many losses the mean is of: one for each example or, of a language model, predicted token.
    pub losses: usize,
}

/// All steps and measurements of a training run, those before a resumption included.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct History {
    /// In the order they were made.
    pub steps: Vec<StepRecord>,
    /// In the order they were made.
    pub evaluations: Vec<EvaluationRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_one_line() {
        let record = EvaluationRecord {
            step: 30,
            epoch: 1.5,
            train_loss: 0.25,
            dev: [("accuracy", 0.5), ("loss", 0.75), ("perplexity", 2.0)].into(),
            seconds: 2.0,
            examples_per_second: 16.0,
        };
        assert_eq!(
            record.to_string(),
            "step 30 (epoch 1.5): train loss 0.2500, dev loss 0.7500, accuracy 50.00 %, \
             perplexity 2.000, 2.0 s, 16.0 examples/s"
        );
        assert_eq!((short(2.0), short(0.333)), ("2".into(), "0.33".into()));
    }
}
