//! Memory.

use burn::tensor::TensorReadError;

use super::{Figure, FigureMetric};
use crate::peak_rss_mb;

/// [`peak_rss_mb`] when a batch ended.
///
/// It is the process's, of its whole life: it never falls, and training and validation show the
/// same.
#[derive(Debug, Clone, Default)]
pub struct PeakMemory {
    mb: Option<f64>,
}

/// [`PeakMemory`] as a metric, called "Peak RSS (MB)".
pub type PeakMemoryMetric = FigureMetric<PeakMemory>;

impl Figure for PeakMemory {
    type Input = ();

    fn name(&self) -> String {
        "Peak RSS (MB)".to_string()
    }

    fn unit(&self) -> Option<&'static str> {
        Some("MB")
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn add(&mut self, _input: &()) -> Result<(), TensorReadError> {
        self.mb = peak_rss_mb();
        Ok(())
    }

    /// `None` where the system does not say.
    fn value(&self) -> Option<f64> {
        self.mb
    }

    fn clear(&mut self) {
        self.mb = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::PeakMemoryMetric;
    use crate::metric::testing::metadata;
    use burn::train::metric::{Metric, Numeric};

    #[test]
    fn it_is_what_the_system_says() {
        let mut metric = PeakMemoryMetric::default();
        assert!(metric.value().is_none());
        let before = peak_rss_mb();
        metric.update(&(), &metadata()).unwrap();
        let found = metric.value().map(|value| value.current());
        assert!(before <= found && found <= peak_rss_mb(), "{found:?}");
        assert_eq!(found.is_some(), cfg!(target_os = "linux"));
    }
}
