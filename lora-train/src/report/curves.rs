//! How the numbers went over the run.

use crate::History;
use crate::chart::{Ink, LineChart, Series, XAxis, inline};
use crate::html::escape;
use crate::plot::{by_step, loss_chart, measure_chart, words};

/// The size of a chart in its own units; it is scaled to the page.
const SIZE: (u32, u32) = (410, 250);

type Section = Result<String, Box<dyn std::error::Error>>;

pub(super) fn section(history: &History) -> Section {
    let steps =
        |of: fn(&crate::StepRecord) -> f64| -> Vec<f64> { history.steps.iter().map(of).collect() };
    let mut charts = vec![
        ("Training loss".to_string(), loss_chart(history)),
        (
            "Learning rate".to_string(),
            over_steps(&steps(|step| step.learning_rate)),
        ),
        (
            "Norm of the gradient".to_string(),
            over_steps(&steps(|step| step.grad_norm)),
        ),
    ];
    let measures = history.evaluations.last().into_iter();
    for name in measures.flat_map(|record| record.dev.0.keys()) {
        let title = match crate::metric::is_fraction(name) {
            true => format!("Development {} (%)", words(name)),
            false => format!("Development {}", words(name)),
        };
        charts.push((title, measure_chart(history, name)));
    }
    let mut html = "<h2>Curves</h2>\n<div class=\"charts\">\n".to_string();
    for (title, chart) in charts {
        html += &figure(&title, &chart)?;
    }
    Ok(html + "</div>\n")
}

fn over_steps(values: &[f64]) -> LineChart {
    LineChart {
        title: String::new(),
        x_axis: XAxis::Step,
        y_label: String::new(),
        from_zero: true,
        highest: None,
        series: vec![Series {
            name: String::new(),
            points: by_step(values),
            ink: Ink::Strong,
            width: 2,
            mark: None,
        }],
    }
}

fn figure(title: &str, chart: &LineChart) -> Section {
    let drawn = match chart.is_empty() {
        true => "<p class=\"muted\">There is no finite value to draw.</p>\n".to_string(),
        false => inline(SIZE, &description(title, chart), |area| chart.draw(area))?,
    };
    let title = escape(title);
    Ok(format!(
        "<figure>\n<figcaption>{title}</figcaption>\n{drawn}</figure>\n"
    ))
}

/// What the chart shows, in words.
fn description(title: &str, chart: &LineChart) -> String {
    let axis = chart.x_axis.name();
    let ends: Vec<String> = chart
        .series
        .iter()
        .filter_map(|series| {
            let mut finite = series.points.iter().filter(|point| point.1.is_finite());
            let first = finite.next()?;
            let last = finite.next_back().unwrap_or(first);
            let place = |point: &(f64, f64)| {
                let at = crate::history::short(point.0);
                format!("{} at {axis} {at}", super::number(point.1))
            };
            let name = match series.name.is_empty() {
                true => String::new(),
                false => format!("{}: ", series.name),
            };
            Some(match first == last {
                true => format!("{name}{}", place(first)),
                false => format!("{name}from {} to {}", place(first), place(last)),
            })
        })
        .collect();
    format!("{title}; {}", ends.join("; "))
}
