//! F1.

use super::confusion_matrix::fraction;
use super::{Average, ConfusionMatrix};

impl ConfusionMatrix {
    /// The harmonic mean of precision and recall, `2·both / (said + right)`, of each class as one:
    /// scikit-learn's `f1_score`.
    pub fn f1(&self, average: Average) -> f64 {
        self.average(average, |tally| {
            fraction(2 * tally.both, tally.said + tally.right)
        })
    }
}
