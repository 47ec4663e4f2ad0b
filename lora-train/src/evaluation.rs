//! How well a model does on a data set.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::metric::ConfusionMatrix;
use crate::{Measures, Outcome, Task, TrainError, data::TokenizedDataset};

/// How well a model does on a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Every measure by its name, `loss` among them; see [`Measures`].
    pub measures: Measures,
    /// How many losses that is the mean of.
    pub count: usize,
    /// What they are of: `examples`, `tokens`, ….
    pub unit: Cow<'static, str>,
    /// What a classifier said about each example, in the order of the data set; empty for other
    /// tasks. Files do not have it.
    #[serde(skip)]
    pub outcomes: Vec<Outcome>,
}

impl Evaluation {
    /// The means of `count` losses of `unit`, without outcomes.
    pub fn new(measures: Measures, count: usize, unit: &'static str) -> Self {
        Self {
            measures,
            count,
            unit: Cow::Borrowed(unit),
            outcomes: Vec::new(),
        }
    }

    /// How often a classifier said which class; `None` for other tasks.
    pub fn confusion(&self) -> Option<ConfusionMatrix> {
        let pairs = self
            .outcomes
            .iter()
            .map(|outcome| (outcome.said, outcome.right));
        (!self.outcomes.is_empty()).then(|| pairs.collect())
    }

    /// The examples that a classifier got wrong, by their numbers, the most confident mistakes
    /// first.
    pub fn mistakes(&self) -> Vec<(usize, Outcome)> {
        let all = self.outcomes.iter().copied().enumerate();
        let mut mistakes: Vec<_> = all.filter(|(_, outcome)| !outcome.is_right()).collect();
        mistakes.sort_by(|a, b| b.1.probability.total_cmp(&a.1.probability));
        mistakes
    }
    /// The measure of that name; NaN if the task has none.
    pub fn get(&self, name: &str) -> f64 {
        self.measures.get(name)
    }
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {} {}", self.measures, self.count, self.unit)
    }
}

/// Measures a model on every example of a data set.
///
/// Dropout is off, whatever mode the model is in. The means are over the examples, so that
/// `batch_size` makes no difference but for rounding.
///
/// # Errors
///
/// [`TrainError::Device`].
pub fn evaluate<T: Task>(
    model: &T,
    data: &TokenizedDataset<T::Example>,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    model.evaluate(data, batch_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_confident_mistakes_come_first() {
        let outcome = |right, said, probability| Outcome {
            right,
            said,
            probability,
        };
        let mut evaluation = Evaluation::new(Measures::default(), 4, "examples");
        assert_eq!(
            (evaluation.confusion(), evaluation.mistakes()),
            (None, vec![])
        );
        evaluation.outcomes = vec![
            outcome(0, 1, 0.6),
            outcome(1, 1, 0.9),
            outcome(0, 1, 0.8),
            outcome(1, 0, 0.7),
        ];
        let mistakes = evaluation.mistakes();
        let order: Vec<usize> = mistakes.iter().map(|(index, _)| *index).collect();
        assert_eq!(order, [2, 3, 0]);
        let matrix = evaluation.confusion().unwrap();
        assert_eq!((matrix.count(1, 0), matrix.count(0, 1)), (2, 1));
    }
}
