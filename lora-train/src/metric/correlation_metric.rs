//! Correlations as metrics.

use burn::tensor::{Tensor, TensorReadError};
use burn::train::RegressionOutput;
use burn::train::metric::Adaptor;

use super::{Figure, FigureMetric, pearson, spearman};

/// What is said and what is right, in numbers, `[n]` each.
#[derive(Debug, Clone)]
pub struct ValuesInput {
    /// What the model says.
    pub predicted: Tensor<1>,
    /// What is right.
    pub targets: Tensor<1>,
}

impl Adaptor<ValuesInput> for RegressionOutput {
    /// All numbers alike, if there are several for each example.
    fn adapt(&self) -> ValuesInput {
        ValuesInput {
            predicted: self.output.clone().reshape([-1]),
            targets: self.targets.clone().reshape([-1]),
        }
    }
}

/// How what was said goes with what is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Correlation {
    /// [`pearson`].
    Pearson,
    /// [`spearman`].
    Spearman,
}

impl Correlation {
    /// The coefficient, -1 to 1; NaN where it is not defined.
    pub fn of(self, pairs: &[(f64, f64)]) -> f64 {
        match self {
            Self::Pearson => pearson(pairs),
            Self::Spearman => spearman(pairs),
        }
    }
}

/// While an epoch runs, a correlation is that of so many last numbers: that of all would take longer
/// with every batch.
const RECENT: usize = 1000;

/// A [`Correlation`] over an epoch.
#[derive(Debug, Clone)]
pub struct CorrelationFigure {
    correlation: Correlation,
    pairs: Vec<(f64, f64)>,
}

/// A [`Correlation`] as a metric, "Pearson correlation" or "Spearman correlation".
///
/// While the epoch runs it shows that of the last 1,000 examples, at its end that of all.
pub type CorrelationMetric = FigureMetric<CorrelationFigure>;

impl CorrelationMetric {
    /// The metric of that correlation.
    pub fn new(correlation: Correlation) -> Self {
        Self::of(CorrelationFigure {
            correlation,
            pairs: Vec::new(),
        })
    }
}

impl CorrelationFigure {
    fn defined(&self, pairs: &[(f64, f64)]) -> Option<f64> {
        Some(self.correlation.of(pairs)).filter(|value| !value.is_nan())
    }
}

impl Figure for CorrelationFigure {
    type Input = ValuesInput;

    fn name(&self) -> String {
        match self.correlation {
            Correlation::Pearson => "Pearson correlation".to_string(),
            Correlation::Spearman => "Spearman correlation".to_string(),
        }
    }

    fn unit(&self) -> Option<&'static str> {
        None
    }

    fn higher_is_better(&self) -> bool {
        true
    }

    fn add(&mut self, input: &ValuesInput) -> Result<(), TensorReadError> {
        let predicted: Vec<f64> = input.predicted.clone().try_into_vec_as()?;
        let targets: Vec<f64> = input.targets.clone().try_into_vec_as()?;
        self.pairs.extend(predicted.into_iter().zip(targets));
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        self.defined(&self.pairs)
    }

    fn so_far(&self) -> Option<f64> {
        self.defined(&self.pairs[self.pairs.len().saturating_sub(RECENT)..])
    }

    fn clear(&mut self) {
        self.pairs.clear();
    }
}
