//! What the table of a comparison has.

use super::{ComparedRun, Comparison};
use crate::plot::words;
use crate::report::{duration, measure, number, value_or_dash};

/// A column.
pub(super) struct Column {
    pub(super) title: String,
    /// A cell for each run.
    pub(super) cells: Vec<Cell>,
    /// Whether the cells are words.
    pub(super) is_text: bool,
}

/// A cell.
pub(super) struct Cell {
    pub(super) text: String,
    /// Whether no run has a better one, and some have a worse one.
    pub(super) is_best: bool,
}

/// What is best.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Best {
    Highest,
    Lowest,
    /// There is no better or worse.
    None,
}

pub(super) fn columns(comparison: &Comparison) -> Vec<Column> {
    let metric = comparison.metric.as_str();
    let best = match comparison.greater_is_better {
        true => Best::Highest,
        false => Best::Lowest,
    };
    let text = |title: &str, of: fn(&ComparedRun) -> &String| Column {
        title: title.to_string(),
        cells: comparison
            .runs
            .iter()
            .map(|run| Cell {
                text: of(run).clone(),
                is_best: false,
            })
            .collect(),
        is_text: true,
    };
    let numbers =
        |title: String, best, of: fn(&ComparedRun) -> f64, shown: &dyn Fn(f64) -> String| {
            let values: Vec<f64> = comparison.runs.iter().map(of).collect();
            let marks = marks(&values, best);
            let cells = values.into_iter().zip(marks).map(|(value, is_best)| Cell {
                text: value_or_dash(value.is_finite().then_some(value), shown),
                is_best,
            });
            Column {
                title,
                cells: cells.collect(),
                is_text: false,
            }
        };
    let shown = |value| measure(metric, value);
    let mut columns = vec![
        text("run", |run| &run.name),
        text("method", |run| &run.method),
        numbers(
            "trainable".into(),
            Best::Lowest,
            |run| run.trainable as f64,
            &|value| format!("{value:.0}"),
        ),
        numbers(
            "% of all".into(),
            Best::Lowest,
            |run| run.trainable_percent,
            &|value| format!("{value:.3}"),
        ),
        numbers(
            format!("best {}", words(metric)),
            best,
            |run| run.best,
            &shown,
        ),
        numbers(
            format!("last {}", words(metric)),
            best,
            |run| run.last,
            &shown,
        ),
    ];
    if metric != "loss" {
        columns.push(numbers(
            "loss".into(),
            Best::Lowest,
            |run| run.loss,
            &number,
        ));
    }
    columns.extend([
        numbers("time".into(), Best::Lowest, |run| run.seconds, &duration),
        numbers(
            "examples/s".into(),
            Best::Highest,
            |run| run.examples_per_second,
            &|value| format!("{value:.1}"),
        ),
        numbers(
            "peak MB".into(),
            Best::Lowest,
            |run| run.peak_rss_mb.unwrap_or(f64::NAN),
            &|value| format!("{value:.0}"),
        ),
        numbers(
            "steps".into(),
            Best::None,
            |run| run.steps as f64,
            &|value| format!("{value:.0}"),
        ),
    ]);
    columns
}

/// Which values are the best, unless all are.
fn marks(values: &[f64], best: Best) -> Vec<bool> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    let is_best = |value: &f64| {
        low < high
            && match best {
                Best::Highest => *value == high,
                Best::Lowest => *value == low,
                Best::None => false,
            }
    };
    values.iter().map(is_best).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_best_are_marked_unless_all_are() {
        let values = [2.0, f64::NAN, 1.0, 2.0];
        assert_eq!(marks(&values, Best::Highest), [true, false, false, true]);
        assert_eq!(marks(&values, Best::Lowest), [false, false, true, false]);
        assert_eq!(marks(&values, Best::None), [false; 4]);
        assert_eq!(marks(&[2.0, 2.0], Best::Highest), [false; 2]);
        assert_eq!(marks(&[2.0], Best::Highest), [false]);
    }
}
