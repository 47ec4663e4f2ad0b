//! The measure over the steps of each run.

use super::Comparison;
use crate::chart::{Ink, LineChart, Mark, PALETTE, Series, XAxis, inline, standalone};
use crate::plot::words;

/// The size of the picture in pixels, without the legend.
const SIZE: (u32, u32) = (900, 420);

type Picture = Result<String, Box<dyn std::error::Error>>;

pub(super) fn file(comparison: &Comparison) -> Picture {
    let chart = chart(comparison);
    standalone(size(&chart, SIZE), |area| chart.draw(area))
}

/// The picture for a page that has a title of its own.
pub(super) fn on_page(comparison: &Comparison) -> Picture {
    let chart = LineChart {
        title: String::new(),
        ..chart(comparison)
    };
    if chart.is_empty() {
        return Ok("<p class=\"muted\">There is no finite value to draw.</p>\n".to_string());
    }
    let label = format!(
        "{} over the steps of each run; the table has the numbers",
        title(comparison)
    );
    inline(size(&chart, (480, 300)), &label, |area| chart.draw(area))
}

fn title(comparison: &Comparison) -> String {
    format!("Development {}", words(&comparison.metric))
}

fn size(chart: &LineChart, (width, height): (u32, u32)) -> (u32, u32) {
    (width, height + chart.legend_height(width))
}

fn chart(comparison: &Comparison) -> LineChart {
    let fraction = crate::metric::is_fraction(&comparison.metric);
    let scale = if fraction { 100.0 } else { 1.0 };
    let series = |(index, run): (usize, &super::ComparedRun)| {
        let points = &comparison.points[index];
        Series {
            name: run.name.clone(),
            points: points
                .iter()
                .map(|(step, value)| (*step as f64, scale * value))
                .collect(),
            ink: Ink::Series(index % PALETTE.len()),
            width: 2,
            // There is one shape less than colours, so that runs of the same colour differ in it.
            mark: Some(Mark::of(index)),
        }
    };
    LineChart {
        title: title(comparison),
        x_axis: XAxis::Step,
        y_label: match fraction {
            true => format!("{} (%)", words(&comparison.metric)),
            false => words(&comparison.metric),
        },
        from_zero: false,
        highest: fraction.then_some(100.0),
        series: comparison.runs.iter().enumerate().map(series).collect(),
    }
}
