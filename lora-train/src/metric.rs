//! Metrics for Burn's learner, beside those that Burn has.

mod f1;
mod perplexity;

pub use f1::{ClassesInput, WeightedF1Metric, f1_scores, weighted_f1};
pub use perplexity::PerplexityMetric;
