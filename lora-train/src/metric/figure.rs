//! Figures over an epoch, as Burn's metrics.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

/// One number about everything since an epoch began.
pub trait Figure: Clone + Send + Sync {
    /// What a batch tells of itself.
    type Input;

    /// What it is called. It has to be unlike that of any other metric and without "/".
    fn name(&self) -> String;

    /// What it is measured in: "%" for what [`is_fraction`](super::is_fraction) knows, by its key.
    fn unit(&self) -> Option<&'static str>;

    /// Whether more is better.
    fn higher_is_better(&self) -> bool;

    /// Adds a batch.
    ///
    /// # Errors
    ///
    /// [`TensorReadError`] if the device fails.
    fn add(&mut self, input: &Self::Input) -> Result<(), TensorReadError>;

    /// The figure, if it is defined.
    fn value(&self) -> Option<f64>;

    /// What is shown while the epoch runs, after each batch: [`value`](Self::value), if it does not
    /// become slow.
    fn so_far(&self) -> Option<f64> {
        self.value()
    }

    /// Forgets everything: an epoch ends.
    fn clear(&mut self);
}

/// A [`Figure`] as one of Burn's metrics.
#[derive(Debug, Clone)]
pub struct FigureMetric<F> {
    name: MetricName,
    figure: F,
}

impl<F: Figure> FigureMetric<F> {
    /// The metric, called what the figure is.
    pub fn of(figure: F) -> Self {
        Self {
            name: Arc::new(figure.name()),
            figure,
        }
    }

    fn text(&self, value: Option<f64>) -> String {
        match (value, self.figure.unit()) {
            (Some(value), Some(unit)) => format!("epoch {value:.2} {unit}"),
            (Some(value), None) => format!("epoch {value:.4}"),
            (None, _) => format!("epoch {}", SerializedEntry::NOT_AVAILABLE),
        }
    }
}

impl<F: Figure + Default> Default for FigureMetric<F> {
    fn default() -> Self {
        Self::of(F::default())
    }
}

impl<F: Figure> Metric for FigureMetric<F> {
    type Input = F::Input;

    fn update(
        &mut self,
        input: &F::Input,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.figure.add(input)?;
        let value = self.figure.so_far();
        let serialized = match value {
            Some(value) => NumericEntry::Value(value).serialize(),
            // Burn writes no such line into its files.
            None => SerializedEntry::NOT_AVAILABLE.to_string(),
        };
        Ok(SerializedEntry::new(self.text(value), serialized))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        let text = self.text(self.figure.value());
        Ok(SerializedEntry::new(text, self.final_value().serialize()))
    }

    fn clear(&mut self) {
        self.figure.clear();
    }

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: self.figure.unit().map(str::to_string),
            higher_is_better: self.figure.higher_is_better(),
        }
        .into()
    }
}

impl<F: Figure> Numeric for FigureMetric<F> {
    fn value(&self) -> Option<NumericEntry> {
        self.figure.so_far().map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.value()
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.figure.value().unwrap_or(f64::NAN))
    }
}
