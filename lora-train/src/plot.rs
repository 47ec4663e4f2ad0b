//! A picture of a training run.

use std::path::Path;

use lora_core::file::write_atomically;

use crate::chart::{Ink, LineChart, Mark, Series, XAxis, standalone};
use crate::{History, TrainError};

/// The size of the picture in pixels.
const SIZE: (u32, u32) = (1000, 420);

/// Draws the training loss of each step, with a smoothed line, and the measure of the development
/// examples that says most (the perplexity of a language model, the accuracy of a classifier), side by
/// side, as an SVG file that is replaced in one step.
///
/// # Errors
///
/// [`TrainError::Empty`] without a single step; [`TrainError::Plot`]; [`TrainError::Lora`] if the
/// file cannot be written.
pub fn plot(history: &History, path: &Path) -> Result<(), TrainError> {
    if history.steps.is_empty() {
        return Err(TrainError::Empty {
            place: "the training history".to_string(),
        });
    }
    let mut left = loss_chart(history);
    left.title = "Training loss".to_string();
    left.y_label = "loss".to_string();
    let names = history.evaluations.last().into_iter();
    let measure = telling_measure(names.flat_map(|record| record.dev.0.keys()));
    let mut right = measure_chart(history, &measure);
    right.title = format!("Development {}", words(&measure));
    right.y_label = match crate::metric::is_fraction(&measure) {
        true => format!("{} (%)", words(&measure)),
        false => words(&measure),
    };
    let svg = standalone(SIZE, |root| {
        let (left_area, right_area) = root.split_horizontally(SIZE.0 / 2);
        left.draw(&left_area)?;
        right.draw(&right_area)
    });
    let svg = svg.map_err(|e| TrainError::Plot {
        path: path.to_path_buf(),
        message: e.to_string(),
    })?;
    Ok(write_atomically(path, svg.as_bytes())?)
}

/// The loss of each step and a smoothed line, without a title.
pub(crate) fn loss_chart(history: &History) -> LineChart {
    let losses: Vec<f64> = history.steps.iter().map(|step| step.loss).collect();
    let series = [
        (by_step(&losses), Ink::Pale, 1, "each step"),
        (by_step(&smooth(&losses)), Ink::Strong, 2, "smoothed"),
    ];
    LineChart {
        title: String::new(),
        x_axis: XAxis::Step,
        y_label: String::new(),
        from_zero: true,
        highest: None,
        series: series
            .into_iter()
            .map(|(points, ink, width, name)| Series {
                name: name.to_string(),
                points,
                ink,
                width,
                mark: None,
            })
            .collect(),
    }
}

/// The values with the steps that they are of.
pub(crate) fn by_step(values: &[f64]) -> Vec<(f64, f64)> {
    let steps = (1..=values.len()).map(|step| step as f64);
    steps.zip(values.iter().copied()).collect()
}

/// A measure of the development examples over the epochs, without a title; the loss beside that of
/// training.
pub(crate) fn measure_chart(history: &History, measure: &str) -> LineChart {
    let fraction = crate::metric::is_fraction(measure);
    let scale = if fraction { 100.0 } else { 1.0 };
    let records = || history.evaluations.iter();
    let series = |name: &str, points, ink, mark| Series {
        name: name.to_string(),
        points,
        ink,
        width: 2,
        mark: Some(mark),
    };
    let points = |record: &crate::EvaluationRecord| (record.epoch, scale * record.dev.get(measure));
    let dev = records().map(points).collect();
    let mut all = vec![series("development", dev, Ink::Strong, Mark::Circle)];
    if measure == "loss" {
        let train = records().map(|record| (record.epoch, record.train_loss));
        let train = series("training", train.collect(), Ink::Series(1), Mark::Triangle);
        all.push(train);
    }
    LineChart {
        title: String::new(),
        x_axis: XAxis::Epoch,
        y_label: String::new(),
        from_zero: measure == "loss",
        highest: fraction.then_some(100.0),
        series: all,
    }
}

/// The measure that says most: the perplexity, the accuracy, else the first that is no loss.
pub(crate) fn telling_measure<'a>(names: impl Iterator<Item = &'a String> + Clone) -> String {
    let known = |name: &&str| names.clone().any(|found| found == name);
    let usual = ["perplexity", "accuracy"].into_iter().find(known);
    let mut others = names.clone().map(String::as_str);
    let other = others.find(|name| *name != "loss");
    usual.or(other).unwrap_or("loss").to_string()
}

/// The name of a measure as it is spoken.
pub(crate) fn words(measure: &str) -> String {
    measure.replace('_', " ")
}

/// The mean of the steps so far, weighted so that those within a tenth of the run count most.
fn smooth(losses: &[f64]) -> Vec<f64> {
    let keep = 1.0 - 1.0 / (losses.len() as f64 / 10.0).max(1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut step = |loss: &f64| {
        sum = keep * sum + loss;
        weight = keep * weight + 1.0;
        sum / weight
    };
    losses.iter().map(&mut step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_well_formed;
    use crate::{EvaluationRecord, StepRecord};

    fn history(steps: usize, epochs: usize) -> History {
        let step = |i: usize| StepRecord {
            loss: 0.8 / (1.0 + i as f64),
            learning_rate: 1e-3,
            grad_norm: 1.0,
            losses: 8,
        };
        let epoch = |i: usize| EvaluationRecord {
            step: i + 1,
            epoch: (i + 1) as f64,
            train_loss: 0.5,
            dev: [("loss", 0.5), ("accuracy", 0.6 + 0.05 * i as f64)].into(),
            seconds: 1.0,
            examples_per_second: 1.0,
        };
        History {
            steps: (0..steps).map(step).collect(),
            evaluations: (0..epochs).map(epoch).collect(),
        }
    }

    fn drawn(history: &History) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plot.svg");
        plot(history, &path).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn both_panels_with_their_series() {
        let svg = drawn(&history(50, 3));
        assert!(svg.starts_with("<svg"));
        assert_well_formed(&svg);
        for text in [
            "Training loss",
            "Development accuracy",
            "step",
            "epoch",
            "accuracy (%)",
        ] {
            assert!(svg.contains(text), "no {text:?}");
        }
        let drawn = |tag: &str, ink: Ink| {
            svg.split('<')
                .filter(|part| part.starts_with(tag) && part.contains(ink.light()))
                .count()
        };
        // The loss as it is, smoothed, and the accuracy, with the legend's two lines.
        assert_eq!(
            (drawn("polyline", Ink::Pale), drawn("polyline", Ink::Strong)),
            (2, 3)
        );
        assert_eq!(drawn("circle", Ink::Strong), 3);
    }

    #[test]
    fn a_language_model_has_its_perplexity() {
        let mut history = history(50, 3);
        for epoch in &mut history.evaluations {
            epoch.dev = [("loss", 3.0), ("perplexity", 20.0)].into();
        }
        let svg = drawn(&history);
        assert_well_formed(&svg);
        assert!(svg.contains("Development perplexity") && !svg.contains("accuracy"));
    }

    #[test]
    fn a_measure_that_is_not_defined_is_left_out() {
        let mut history = history(5, 3);
        history.evaluations[1].dev = [("loss", 0.5), ("accuracy", f64::NAN)].into();
        let svg = drawn(&history);
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn the_shortest_run_can_be_drawn() {
        let svg = drawn(&history(1, 1));
        assert_well_formed(&svg);
        // The loss as it is and smoothed, and the accuracy.
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_well_formed(&drawn(&history(1, 0)));
        let folder = tempfile::tempdir().unwrap();
        let error = plot(&History::default(), &folder.path().join("plot.svg")).unwrap_err();
        assert!(matches!(error, TrainError::Empty { .. }));
    }

    #[test]
    fn smoothing_keeps_a_constant_and_a_short_run() {
        assert_eq!(smooth(&[0.5; 100]), [0.5; 100]);
        assert_eq!(smooth(&[3.0, 1.0, 2.0]), [3.0, 1.0, 2.0]);
        let noisy: Vec<f64> = (0..200)
            .map(|i| if i % 2 == 0 { 0.0 } else { 1.0 })
            .collect();
        assert!(
            smooth(&noisy)[150..]
                .iter()
                .all(|value| (0.4..0.6).contains(value))
        );
    }
}
