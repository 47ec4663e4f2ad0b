//! A picture of a training run.

use std::path::Path;

use lora_core::file::write_atomically;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::{History, TrainError};

/// The size of the picture in pixels.
const SIZE: (u32, u32) = (1000, 420);
/// What is measured, as it is.
const PALE: RGBColor = RGBColor(170, 200, 230);
/// What is to be read.
const STRONG: RGBColor = RGBColor(25, 90, 160);
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// Draws the training loss of each step, with a smoothed line, and the development accuracy (or, of a
/// language model, the perplexity) of each measurement, side by side, as an SVG file that is replaced in one step.
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
    let mut svg = String::new();
    draw(history, &mut svg).map_err(|e| TrainError::Plot {
        path: path.to_path_buf(),
        message: e.to_string(),
    })?;
    Ok(write_atomically(path, svg.as_bytes())?)
}

fn draw(history: &History, svg: &mut String) -> DrawResult {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    let losses: Vec<f64> = history.steps.iter().map(|step| step.loss).collect();
    draw_losses(&left, &losses)?;
    let panel = Panel::of(history);
    let points: Vec<(f64, f64)> = history
        .evaluations
        .iter()
        .map(|record| (record.epoch, panel.scale * record.dev.get(&panel.measure)))
        .collect();
    draw_measurements(&right, &points, &panel)?;
    root.present()?;
    Ok(())
}

fn draw_losses(area: &Area<'_>, losses: &[f64]) -> DrawResult {
    let highest = losses.iter().copied().fold(0.0, f64::max).max(1e-6);
    // The x axis starts at 1, where a single step still needs some width.
    let last = losses.len().max(2) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption("Training loss", (FONT, 20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(1.0..last, 0.0..highest * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("cross-entropy")
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|loss| format!("{loss:.2}"))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let points = |values: &[f64]| -> Vec<(f64, f64)> {
        values
            .iter()
            .enumerate()
            .map(|(index, value)| ((index + 1) as f64, *value))
            .collect()
    };
    let series = [
        (points(losses), PALE, 1, "each step"),
        (points(&smooth(losses)), STRONG, 2, "smoothed"),
    ];
    for (points, color, width, label) in series {
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(width)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        // A loss starts high: below its beginning there is room.
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}

/// How the measurements are shown.
struct Panel {
    measure: String,
    /// 100 for what is shown in percent.
    scale: f64,
    axis: String,
}

impl Panel {
    /// The measure that says most: the perplexity, the accuracy, else the first that is no loss.
    fn of(history: &History) -> Self {
        let last = history.evaluations.last();
        let names = || last.into_iter().flat_map(|record| record.dev.0.keys());
        let known = |name: &&str| names().any(|found| found == name);
        let usual = ["perplexity", "accuracy"].into_iter().find(known);
        let other = || names().map(String::as_str).find(|name| *name != "loss");
        let measure = usual.or_else(other).unwrap_or("loss").to_string();
        let words = measure.replace('_', " ");
        let (scale, axis) = match crate::metric::is_fraction(&measure) {
            true => (100.0, format!("{words} (%)")),
            false => (1.0, words),
        };
        Self {
            measure,
            scale,
            axis,
        }
    }

    /// The range of the axis for the lowest and highest figure.
    fn range(&self, lowest: f64, highest: f64) -> std::ops::Range<f64> {
        if self.scale > 1.0 {
            return (((lowest - 1.0) / 10.0).floor() * 10.0).clamp(0.0, 90.0)..101.0;
        }
        let room = ((highest - lowest) * 0.1).max(1e-3);
        lowest.min(0.0)..highest + room
    }
}

fn draw_measurements(area: &Area<'_>, points: &[(f64, f64)], panel: &Panel) -> DrawResult {
    let finite = || points.iter().map(|point| point.1).filter(|v| v.is_finite());
    let lowest = finite().fold(f64::INFINITY, f64::min).min(100.0);
    let highest = finite().fold(0.0, f64::max);
    let epochs = points.last().map_or(1.0, |point| point.0.max(1.0));
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("Development {}", panel.measure.replace('_', " ")),
            (FONT, 20),
        )
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..epochs + 0.5, panel.range(lowest, highest))?;
    let whole = |epoch: &f64| match epoch.fract() == 0.0 {
        true => format!("{epoch:.0}"),
        false => String::new(),
    };
    let digits = if panel.scale > 1.0 || highest >= 20.0 {
        0
    } else {
        2
    };
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc(panel.axis.as_str())
        .x_labels(epochs.min(10.0) as usize + 1)
        .y_labels(6)
        .x_label_formatter(&whole)
        .y_label_formatter(&|value| format!("{value:.digits$}"))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let points = || points.iter().copied().filter(|point| point.1.is_finite());
    chart.draw_series(LineSeries::new(points(), STRONG.stroke_width(2)))?;
    chart.draw_series(points().map(|point| Circle::new(point, 4, STRONG.filled())))?;
    Ok(())
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

    /// Every tag is closed, in order.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').expect("a tag ends");
            assert!(!text.contains('>'), "{text:?}");
            let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed)),
                None if tag.ends_with('/') || tag.starts_with('?') => {}
                None => open.push(name.to_string()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
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
        let colored = |tag: &str, color: &str| {
            svg.split('<')
                .filter(|part| part.starts_with(tag) && part.contains(color))
                .count()
        };
        // The loss as it is, smoothed, and the accuracy, with the legend's two lines.
        assert_eq!(
            (
                colored("polyline", "#AAC8E6"),
                colored("polyline", "#195AA0")
            ),
            (2, 3)
        );
        assert_eq!(colored("circle", "#195AA0"), 3);
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
    fn the_shortest_run_can_be_drawn() {
        assert_well_formed(&drawn(&history(1, 1)));
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
