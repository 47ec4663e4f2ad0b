//! Throughput.

use std::time::Instant;

use burn::tensor::TensorReadError;
use burn::train::metric::Adaptor;

use super::{Figure, FigureMetric};
use crate::TokenLosses;

/// How many tokens a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokensInput {
    /// Without padding.
    pub tokens: usize,
}

impl Adaptor<TokensInput> for TokenLosses {
    /// The tokens that were predicted: those of a prompt do not count.
    fn adapt(&self) -> TokensInput {
        let [tokens] = self.losses.dims();
        TokensInput { tokens }
    }
}

/// Tokens a second over an epoch, all work between its batches included.
///
/// The time that the first batch took is not known: it begins when that batch ends, and the batch's
/// tokens do not count.
#[derive(Debug, Clone, Default)]
pub struct TokensPerSecond {
    /// When the first batch ended, and the last.
    times: Option<(Instant, Instant)>,
    tokens: usize,
}

/// [`TokensPerSecond`] as a metric, called "Tokens per second".
pub type TokensPerSecondMetric = FigureMetric<TokensPerSecond>;

impl TokensPerSecond {
    /// Adds a batch of so many tokens that ended at `end`.
    pub fn record(&mut self, tokens: usize, end: Instant) {
        match &mut self.times {
            None => self.times = Some((end, end)),
            Some((_, last)) => {
                *last = end;
                self.tokens += tokens;
            }
        }
    }
}

impl Figure for TokensPerSecond {
    type Input = TokensInput;

    fn name(&self) -> String {
        "Tokens per second".to_string()
    }

    fn unit(&self) -> Option<&'static str> {
        Some("tokens/s")
    }

    fn higher_is_better(&self) -> bool {
        true
    }

    fn add(&mut self, input: &TokensInput) -> Result<(), TensorReadError> {
        self.record(input.tokens, Instant::now());
        Ok(())
    }

    /// `None` before the second batch.
    fn value(&self) -> Option<f64> {
        let (first, last) = self.times?;
        let seconds = last.saturating_duration_since(first).as_secs_f64();
        (seconds > 0.0).then(|| self.tokens as f64 / seconds)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::testing::{metadata, tensor};
    use burn::train::metric::{Metric, Numeric};
    use std::time::Duration;

    #[test]
    fn the_first_batch_starts_the_clock() {
        let start = Instant::now();
        let mut figure = TokensPerSecond::default();
        figure.record(1000, start);
        assert_eq!(figure.value(), None);
        figure.record(30, start + Duration::from_millis(500));
        figure.record(20, start + Duration::from_secs(2));
        assert_eq!(figure.value(), Some(25.0));
        figure.clear();
        figure.record(7, start + Duration::from_secs(60));
        assert_eq!(figure.value(), None);
        figure.record(7, start + Duration::from_secs(61));
        assert_eq!(figure.value(), Some(7.0));
    }

    #[test]
    fn the_tokens_are_those_that_were_predicted() {
        let losses = tensor(&[1.0, 2.0, 3.0]);
        let input: TokensInput = TokenLosses { losses }.adapt();
        assert_eq!(input.tokens, 3);
        let mut metric = TokensPerSecondMetric::default();
        metric.update(&input, &metadata()).unwrap();
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        metric.update(&input, &metadata()).unwrap();
        let found = metric.final_value().current();
        let most = 3.0 / 0.002;
        let least = 1e-3 / before.elapsed().as_secs_f64();
        assert!((least..=most).contains(&found), "{found}");
    }
}
