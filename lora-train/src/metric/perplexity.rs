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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::data::dataloader::Progress;
    use burn::tensor::Tensor;

    #[test]
    fn every_token_counts_the_same_whatever_its_batch() {
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
        let mut metric = PerplexityMetric::new();
        let update = |metric: &mut PerplexityMetric, losses: &[f32]| {
            let losses = Tensor::<1>::from_floats(losses, &device);
            metric.update(&TokenLosses { losses }, &metadata).unwrap();
        };
        update(&mut metric, &[9.0]);
        metric.clear();
        update(&mut metric, &[1.0, 2.0, 3.0]);
        update(&mut metric, &[6.0]);
        let NumericEntry::Final(value) = metric.final_value() else {
            panic!("not final")
        };
        assert!((value - 3f64.exp()).abs() < 1e-5, "{value}");
        let Some(NumericEntry::Value(batch)) = metric.value() else {
            panic!("no value")
        };
        assert!((batch - 6f64.exp()).abs() < 1e-3, "{batch}");
    }
}
