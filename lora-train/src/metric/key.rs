//! The names of metrics in files.

/// The key that histories and `metrics.json` have a metric by, and the value they have: its name in
/// snake case, `f1_weighted` for "F1 (weighted)", and what it shows, a fraction for percent.
pub fn key_and_value(name: &str, shown: f64) -> (String, f64) {
    let key = snake_case(name);
    let value = match is_fraction(&key) {
        true => shown / 100.0,
        false => shown,
    };
    (key, value)
}

/// Whether the metric of that key is a fraction that is shown in percent: accuracy, F1, precision,
/// recall, whatever their average, and SQuAD's exact match, also those of a part of the questions.
pub fn is_fraction(key: &str) -> bool {
    let part = ["has_answer_", "no_answer_", "best_"]
        .into_iter()
        .find_map(|part| key.strip_prefix(part));
    let key = part.unwrap_or(key);
    let score = key
        .strip_suffix("_macro")
        .or(key.strip_suffix("_weighted"))
        .unwrap_or(key);
    ["accuracy", "f1", "precision", "recall", "exact_match"].contains(&score)
}

/// The words in small letters, an underscore between two of them.
fn snake_case(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{
        Average, ClassMetric, ClassScore, Correlation, CorrelationMetric, PeakMemoryMetric,
        PerplexityMetric, TokensPerSecondMetric,
    };
    use burn::train::metric::{
        AccuracyMetric, LearningRateMetric, LossMetric, Metric, MetricAttributes,
    };

    /// The key, checked to say "fraction" where the metric says "%", and whether more is better.
    #[track_caller]
    fn key<M: Metric>(metric: M) -> (String, bool) {
        let MetricAttributes::Numeric(attributes) = metric.attributes() else {
            panic!("{} is no number", metric.name())
        };
        let (key, value) = key_and_value(&metric.name(), 57.0);
        let percent = attributes.unit.as_deref() == Some("%");
        assert_eq!(
            (value, percent),
            if percent { (0.57, true) } else { (57.0, false) }
        );
        assert_eq!(is_fraction(&key), percent, "{key}");
        (key, attributes.higher_is_better)
    }

    #[test]
    fn parts_of_the_questions_are_fractions_too() {
        for key in ["has_answer_f1", "no_answer_exact_match", "best_f1"] {
            assert!(is_fraction(key), "{key}");
        }
        for key in ["best_f1_threshold", "loss", "no_answer_loss"] {
            assert!(!is_fraction(key), "{key}");
        }
    }

    #[test]
    fn a_key_is_the_name_in_snake_case() {
        let class = |score| key(ClassMetric::new(score));
        let correlation = |correlation| key(CorrelationMetric::new(correlation));
        let found = [
            (class(ClassScore::Accuracy), "accuracy", true),
            (key(AccuracyMetric::new()), "accuracy", true),
            (class(ClassScore::F1(Average::Binary)), "f1", true),
            (class(ClassScore::F1(Average::Macro)), "f1_macro", true),
            (
                class(ClassScore::F1(Average::Weighted)),
                "f1_weighted",
                true,
            ),
            (
                class(ClassScore::Precision(Average::Binary)),
                "precision",
                true,
            ),
            (
                class(ClassScore::Precision(Average::Macro)),
                "precision_macro",
                true,
            ),
            (
                class(ClassScore::Recall(Average::Weighted)),
                "recall_weighted",
                true,
            ),
            (class(ClassScore::Matthews), "matthews_correlation", true),
            (
                correlation(Correlation::Pearson),
                "pearson_correlation",
                true,
            ),
            (
                correlation(Correlation::Spearman),
                "spearman_correlation",
                true,
            ),
            (
                key(TokensPerSecondMetric::default()),
                "tokens_per_second",
                true,
            ),
            (key(PerplexityMetric::new()), "perplexity", false),
            (key(PeakMemoryMetric::default()), "peak_rss_mb", false),
            (key(LossMetric::new()), "loss", false),
            (key(LearningRateMetric::new()), "learning_rate", false),
        ];
        for ((key, found), name, higher_is_better) in found {
            assert_eq!((key.as_str(), found), (name, higher_is_better));
        }
    }
}
