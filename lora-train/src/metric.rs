//! Metrics for Burn's learner, beside those that Burn has, and the plain figures behind them.
//!
//! | figure | of what | as a metric |
//! |---|---|---|
//! | [`ConfusionMatrix::accuracy`], [`f1`](ConfusionMatrix::f1), [`precision`](ConfusionMatrix::precision), [`recall`](ConfusionMatrix::recall) | classes | [`ClassMetric`], in percent |
//! | [`ConfusionMatrix::matthews`] | classes | [`ClassMetric`], -1 to 1 |
//! | [`pearson`], [`spearman`] | numbers | [`CorrelationMetric`], -1 to 1 |
//! | perplexity | losses of tokens | [`PerplexityMetric`] |
//! | throughput | tokens | [`TokensPerSecondMetric`], in tokens/s |
//! | [`peak_rss_mb`](crate::peak_rss_mb) | the process | [`PeakMemoryMetric`], in MB |
//! | [`SquadScores`] | answers | |
//!
//! The plain figures are fractions, also where the metric shows percent, as Burn's accuracy does:
//! [`key_and_value`] says how a metric is written down. The metrics are over everything since the epoch
//! began; unlike Burn's accuracy they are no mean over batches, and what a batch shows is the figure
//! so far. One that is not defined (yet) is shown as "N/A"; at the end of an epoch its value is NaN
//! then, which is no better than any number. Learning rates are Burn's
//! [`LearningRateMetric`](burn::train::metric::LearningRateMetric).

mod class_metric;
mod confusion_matrix;
mod correlation;
mod correlation_metric;
mod f1;
mod figure;
mod key;
mod matthews;
mod peak_memory;
mod perplexity;
mod precision_recall;
mod squad;
#[cfg(test)]
mod testing;
mod tokens_per_second;

pub use class_metric::{ClassFigure, ClassMetric, ClassScore, ClassesInput};
pub use confusion_matrix::{Average, ConfusionMatrix};
pub use correlation::{pearson, spearman};
pub use correlation_metric::{Correlation, CorrelationFigure, CorrelationMetric, ValuesInput};
pub use figure::{Figure, FigureMetric};
pub use key::{is_fraction, key_and_value};
pub use peak_memory::{PeakMemory, PeakMemoryMetric};
pub use perplexity::PerplexityMetric;
pub use squad::{
    BestThreshold, SquadAnswer, SquadPart, SquadScores, exact_match, normalize_answer, token_f1,
};
pub use tokens_per_second::{TokensInput, TokensPerSecond, TokensPerSecondMetric};
