//! Precision and recall.

use super::confusion_matrix::fraction;
use super::{Average, ConfusionMatrix};

impl ConfusionMatrix {
    /// How often a class is right where it was said, of each class as one: scikit-learn's
    /// `precision_score`.
    pub fn precision(&self, average: Average) -> f64 {
        self.average(average, |tally| fraction(tally.both, tally.said))
    }

    /// How often a class was said where it is right, of each class as one: scikit-learn's
    /// `recall_score`. [Weighted](Average::Weighted) it is the accuracy.
    pub fn recall(&self, average: Average) -> f64 {
        self.average(average, |tally| fraction(tally.both, tally.right))
    }
}
