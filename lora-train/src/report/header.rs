//! What was trained on what, and what came of it.

use super::numbers::{duration, measure, value_or_dash};
use crate::html::escape;
use crate::plot::words;
use crate::{RunMetrics, Stopped};
use lora_core::grouped;

pub(super) fn title(metrics: &RunMetrics) -> String {
    format!(
        "{} on {}",
        short_name(&metrics.model),
        short_name(&metrics.data)
    )
}

pub(super) fn section(metrics: &RunMetrics) -> String {
    let mut html = format!(
        "<h1>{}</h1>\n<p class=\"muted\">A fine-tuning run with the method <code>{}</code>, ended \
         {}.</p>\n",
        escape(&title(metrics)),
        escape(&metrics.method),
        time(&metrics.ended),
    );
    if let Some(evaluation) = &metrics.evaluation {
        html += "<ul class=\"tiles\">\n";
        for (name, value) in &evaluation.measures.0 {
            html += &format!(
                "<li><span class=\"value\">{}</span> <span class=\"name\">{}</span></li>\n",
                measure(name, *value),
                escape(&words(name)),
            );
        }
        html += "</ul>\n";
        html += &format!(
            "<p class=\"muted\">The final model on {} development {}.</p>\n",
            grouped(evaluation.count),
            escape(&evaluation.unit),
        );
    }
    let facts = [
        ("Base model", metrics.model.clone()),
        ("Data", metrics.data.clone()),
        ("Training examples", grouped(metrics.train_examples)),
        ("Device", metrics.device.clone()),
        ("Took", duration(metrics.seconds)),
        (
            "Speed",
            match metrics.examples_per_second.is_finite() {
                true => format!("{:.1} examples/s", metrics.examples_per_second),
                false => "–".to_string(),
            },
        ),
        (
            "Peak memory",
            value_or_dash(metrics.peak_rss_mb, |mb| format!("{mb:.0} MB")),
        ),
        ("Steps", grouped(metrics.steps())),
        ("Best step", best_step(metrics)),
        ("Ended because", stopped(metrics.stopped.as_ref())),
    ];
    html += "<dl class=\"facts\">\n";
    for (name, value) in facts {
        html += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value));
    }
    html + "</dl>\n"
}

/// The end of a path or of a hub id.
fn short_name(name: &str) -> &str {
    let trimmed = name.trim_end_matches(['/', '\\']);
    let end = trimmed.rsplit(['/', '\\']).next().unwrap_or(trimmed);
    if end.is_empty() { name } else { end }
}

fn best_step(metrics: &RunMetrics) -> String {
    let by = words(&metrics.training.metric_for_best_model);
    value_or_dash(metrics.best_step, |step| {
        let kept = match metrics.training.load_best_at_end {
            true => ", whose weights were kept",
            false => "",
        };
        format!("{} (by {by}){kept}", grouped(step))
    })
}

fn stopped(stopped: Option<&Stopped>) -> String {
    match stopped {
        None => "all steps were done".to_string(),
        Some(Stopped::Early) => "nothing became better any more (early stopping)".to_string(),
        Some(Stopped::Interrupted { reason: None }) => "it was interrupted".to_string(),
        Some(Stopped::Interrupted {
            reason: Some(reason),
        }) => format!("it was interrupted: {reason}"),
    }
}

/// `2026-02-03T04:05:06Z` for people and for machines.
fn time(ended: &str) -> String {
    let ended = escape(ended);
    let shown = ended.replacen('T', " ", 1).replacen('Z', " UTC", 1);
    format!("<time datetime=\"{ended}\">{shown}</time>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_names_it() {
        assert_eq!(short_name("assets/roberta-tiny/"), "roberta-tiny");
        assert_eq!(short_name("FacebookAI/roberta-base"), "roberta-base");
        assert_eq!(short_name("reviews"), "reviews");
        assert_eq!(short_name("/"), "/");
    }
}
