//! F1.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorReadError};
use burn::train::ClassificationOutput;
use burn::train::metric::state::FormatOptions;
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

/// The F1 of each class, `2·tp / (2·tp + fp + fn)`; 0 for a class that neither is said nor right,
/// as scikit-learn has it.
///
/// There are as many as the highest class that occurs has before it.
pub fn f1_scores(pairs: &[(usize, usize)]) -> Vec<f64> {
    let classes = pairs.iter().map(|&(a, b)| a.max(b) + 1).max().unwrap_or(0);
    (0..classes)
        .map(|class| {
            let count = |said: bool, right: bool| {
                let of = |&&(predicted, target): &&(usize, usize)| {
                    (predicted == class) == said && (target == class) == right
                };
                pairs.iter().filter(of).count() as f64
            };
            let hits = 2.0 * count(true, true);
            let all = hits + count(true, false) + count(false, true);
            if all > 0.0 { hits / all } else { 0.0 }
        })
        .collect()
}

/// The mean of the classes' [`f1_scores`], each weighted by how often it is right: scikit-learn's
/// `f1_score(average="weighted")`. `pairs` are `(predicted, target)`; of none it is 0.
pub fn weighted_f1(pairs: &[(usize, usize)]) -> f64 {
    let weighted = |(class, score): (usize, f64)| {
        score * pairs.iter().filter(|pair| pair.1 == class).count() as f64
    };
    let scores = f1_scores(pairs).into_iter().enumerate();
    scores.map(weighted).sum::<f64>() / pairs.len().max(1) as f64
}

/// [`weighted_f1`] over everything since the epoch began, in percent.
///
/// Unlike accuracy it is no mean over batches: what a batch shows is the figure so far.
#[derive(Debug, Clone)]
pub struct WeightedF1Metric {
    name: MetricName,
    pairs: Vec<(usize, usize)>,
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
            pairs: Vec::new(),
        }
    }

    fn percent(&self) -> f64 {
        100.0 * weighted_f1(&self.pairs)
    }

    fn entry(&self, value: NumericEntry) -> SerializedEntry {
        let format = FormatOptions::new(self.name()).unit("%").precision(2);
        let unit = format.unit_value().clone().unwrap_or_default();
        let text = format!("epoch {:.2} {unit}", self.percent());
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
        let class = |value: i64| usize::try_from(value).unwrap_or_default();
        let pairs = predicted.into_iter().zip(targets);
        self.pairs.extend(pairs.map(|(a, b)| (class(a), class(b))));
        Ok(self.entry(NumericEntry::Value(self.percent())))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(self.final_value()))
    }

    fn clear(&mut self) {
        self.pairs.clear();
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

    #[test]
    fn scores_are_those_of_scikit_learn() {
        // From scripts/print_loss_and_f1.py.
        let pairs = [
            (0, 0),
            (1, 0),
            (1, 1),
            (1, 1),
            (2, 2),
            (0, 2),
            (2, 2),
            (1, 1),
        ];
        let expected = [0.5, 0.8571428571428571, 0.8];
        for (found, expected) in f1_scores(&pairs).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert!((weighted_f1(&pairs) - 0.7464285714285714).abs() < 1e-12);
        assert_eq!((f1_scores(&[]), weighted_f1(&[])), (vec![], 0.0));
        assert_eq!(f1_scores(&[(2, 2)]), [0.0, 0.0, 1.0]);
    }
}
