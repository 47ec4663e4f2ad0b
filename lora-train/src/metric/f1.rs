//! F1.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorReadError};
use burn::train::ClassificationOutput;
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};

/// What is said and what is right, in classes, `[n]` each.
#[derive(Debug, Clone)]
pub struct ClassesInput {
    /// What the model says.
    pub predicted: Tensor<1, Int>,
    /// What is right.
    pub targets: Tensor<1, Int>,
}

impl Adaptor<ClassesInput> for ClassificationOutput {
    fn adapt(&self) -> ClassesInput {
        ClassesInput {
            predicted: self.output.clone().argmax(1).reshape([-1]),
            targets: self.targets.clone(),
        }
    }
}

/// How often each class was said, was right, and both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassCounts {
    said: Vec<usize>,
    right: Vec<usize>,
    both: Vec<usize>,
}

impl ClassCounts {
    /// Counts one more example.
    pub fn add(&mut self, predicted: usize, target: usize) {
        let classes = self.said.len().max(predicted.max(target) + 1);
        for counts in [&mut self.said, &mut self.right, &mut self.both] {
            counts.resize(classes, 0);
        }
        self.said[predicted] += 1;
        self.right[target] += 1;
        if predicted == target {
            self.both[target] += 1;
        }
    }

    /// The F1 of each class from 0 to the highest that occurs, `2·both / (said + right)`; 0 for one
    /// that does not occur.
    pub fn f1_scores(&self) -> Vec<f64> {
        let counts = self.both.iter().zip(&self.said).zip(&self.right);
        counts
            .map(|((both, said), right)| 2.0 * *both as f64 / (said + right).max(1) as f64)
            .collect()
    }

    /// The mean of [`f1_scores`](Self::f1_scores), each weighted by how often the class is right:
    /// scikit-learn's `f1_score(average="weighted")`. Without any example it is 0.
    pub fn weighted_f1(&self) -> f64 {
        let total: usize = self.right.iter().sum();
        let scores = self.f1_scores().into_iter().zip(&self.right);
        scores
            .map(|(score, right)| score * *right as f64)
            .sum::<f64>()
            / total.max(1) as f64
    }
}

impl FromIterator<(usize, usize)> for ClassCounts {
    /// From pairs of what was said and what is right.
    fn from_iter<I: IntoIterator<Item = (usize, usize)>>(pairs: I) -> Self {
        let mut counts = Self::default();
        for (predicted, target) in pairs {
            counts.add(predicted, target);
        }
        counts
    }
}

/// [`ClassCounts::weighted_f1`] over everything since the epoch began, in percent.
///
/// Unlike accuracy it is no mean over batches: what a batch shows is the figure so far.
#[derive(Debug, Clone)]
pub struct WeightedF1Metric {
    name: MetricName,
    counts: ClassCounts,
}

impl Default for WeightedF1Metric {
    fn default() -> Self {
        Self::new()
    }
}

impl WeightedF1Metric {
    /// The metric, called "F1 (weighted)".
    pub fn new() -> Self {
        Self {
            name: Arc::new("F1 (weighted)".to_string()),
            counts: ClassCounts::default(),
        }
    }

    fn percent(&self) -> f64 {
        100.0 * self.counts.weighted_f1()
    }

    fn entry(&self, value: NumericEntry) -> SerializedEntry {
        let text = format!("epoch {:.2} %", self.percent());
        SerializedEntry::new(text, value.serialize())
    }
}

impl Metric for WeightedF1Metric {
    type Input = ClassesInput;

    fn update(
        &mut self,
        input: &ClassesInput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let predicted: Vec<i64> = input.predicted.clone().try_into_vec_as()?;
        let targets: Vec<i64> = input.targets.clone().try_into_vec_as()?;
        for (predicted, target) in predicted.into_iter().zip(targets) {
            // A target that is no class is ignored, as in the losses.
            if let (Ok(predicted), Ok(target)) = (predicted.try_into(), target.try_into()) {
                self.counts.add(predicted, target);
            }
        }
        Ok(self.entry(NumericEntry::Value(self.percent())))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(self.final_value()))
    }

    fn clear(&mut self) {
        self.counts = ClassCounts::default();
    }

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: Some("%".to_string()),
            higher_is_better: true,
        }
        .into()
    }
}

impl Numeric for WeightedF1Metric {
    fn value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value(self.percent()))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value(self.percent()))
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.percent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::data::dataloader::Progress;
    use burn::tensor::TensorData;

    /// (predicted, target)
    const PAIRS: [(usize, usize); 8] = [
        (0, 0),
        (1, 0),
        (1, 1),
        (1, 1),
        (2, 2),
        (0, 2),
        (2, 2),
        (1, 1),
    ];
    // Both from scripts/print_loss_and_f1.py.
    const EACH: [f64; 3] = [0.5, 0.8571428571428571, 0.8];
    const WEIGHTED: f64 = 0.7464285714285714;

    #[test]
    fn scores_are_those_of_scikit_learn() {
        let counts: ClassCounts = PAIRS.into_iter().collect();
        for (found, expected) in counts.f1_scores().iter().zip(EACH) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert!((counts.weighted_f1() - WEIGHTED).abs() < 1e-12);
        let none = ClassCounts::default();
        assert_eq!((none.f1_scores(), none.weighted_f1()), (vec![], 0.0));
        let one: ClassCounts = [(2, 2)].into_iter().collect();
        assert_eq!(one.f1_scores(), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn the_metric_is_over_all_batches_since_it_was_cleared() {
        let device = lora_core::default_device();
        let metadata = MetricMetadata {
            progress: Progress {
                items_processed: 1,
                items_total: 1,
                unit: None,
            },
            iteration: None,
            lr: None,
        };
        let mut metric = WeightedF1Metric::new();
        let update = |metric: &mut WeightedF1Metric, pairs: &[(usize, usize)]| {
            let tensor = |values: Vec<i32>| {
                let count = values.len();
                Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
            };
            let input = ClassesInput {
                predicted: tensor(pairs.iter().map(|pair| pair.0 as i32).collect()),
                targets: tensor(pairs.iter().map(|pair| pair.1 as i32).collect()),
            };
            metric.update(&input, &metadata).unwrap();
        };
        update(&mut metric, &[(1, 0)]);
        metric.clear();
        update(&mut metric, &PAIRS[..3]);
        update(&mut metric, &PAIRS[3..]);
        let NumericEntry::Final(value) = metric.final_value() else {
            panic!("not final")
        };
        assert!((value - 100.0 * WEIGHTED).abs() < 1e-9, "{value}");
    }
}
