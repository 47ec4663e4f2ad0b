//! Metrics for Burn's learner, beside those that Burn has.

mod f1;
mod perplexity;

pub use f1::{ClassCounts, ClassesInput, WeightedF1Metric};
pub use perplexity::PerplexityMetric;
