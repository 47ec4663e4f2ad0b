//! Perplexity.

use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use crate::language_model::TokenLosses;

/// The exponential of the mean cross-entropy of all tokens since the epoch began.
///
/// Burn's own perplexity computes the softmax of the logits again; this one takes the losses that
/// are there already. While training with smoothed labels it is the exponential of the smoothed
/// loss.
#[derive(Debug, Clone)]
pub struct PerplexityMetric {
    name: MetricName,
    sum: f64,
    tokens: usize,
    batch: f64,
}

impl Default for PerplexityMetric {
    fn default() -> Self {
        Self::new()
    }
}

impl PerplexityMetric {
    /// The metric, called "Perplexity".
    pub fn new() -> Self {
        Self {
            name: Arc::new("Perplexity".to_string()),
            sum: 0.0,
            tokens: 0,
            batch: f64::NAN,
        }
    }

    fn so_far(&self) -> f64 {
        (self.sum / self.tokens as f64).exp()
    }

    fn entry(&self, value: NumericEntry) -> SerializedEntry {
        let text = format!("epoch {:.2} - batch {:.2}", self.so_far(), self.batch);
        SerializedEntry::new(text, value.serialize())
    }
}

impl Metric for PerplexityMetric {
    type Input = TokenLosses;

    fn update(
        &mut self,
        input: &TokenLosses,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let [tokens] = input.losses.dims();
        let sum = input.losses.clone().sum().try_into_scalar::<f64>()?;
        self.sum += sum;
        self.tokens += tokens;
        self.batch = (sum / tokens as f64).exp();
        Ok(self.entry(NumericEntry::Value(self.batch)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry(self.final_value()))
    }

    fn clear(&mut self) {
        *self = Self::new();
    }

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: false,
        }
        .into()
    }
}

impl Numeric for PerplexityMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value(self.batch))
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(NumericEntry::Value(self.so_far()))
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.so_far())
    }
}
