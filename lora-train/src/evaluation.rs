//! How well a model does on a data set.

use serde::Serialize;

use crate::{Measures, Task, TrainError, data::TokenizedDataset};

/// How well a model does on a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Every measure by its name, `loss` among them; see [`Measures`].
    pub measures: Measures,
    /// How many losses that is the mean of.
    pub count: usize,
    /// What they are of: `examples`, `tokens`, ….
    pub unit: &'static str,
}

impl Evaluation {
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
