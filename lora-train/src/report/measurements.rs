//! Every measurement, as a table.

use super::numbers::{measure, number};
use crate::html::{escape, table};
use crate::plot::words;
use crate::{RunMetrics, history};
use lora_core::grouped;

pub(super) fn section(metrics: &RunMetrics) -> String {
    let Some(last) = metrics.evaluations.last() else {
        return String::new();
    };
    let names: Vec<&String> = last.dev.0.keys().collect();
    let mut head = vec!["step".to_string(), "epoch".into(), "training loss".into()];
    head.extend(names.iter().map(|name| escape(&words(name))));
    head.push("examples/s".to_string());
    let rows: Vec<Vec<String>> = metrics
        .evaluations
        .iter()
        .map(|record| {
            let step = match metrics.best_step == Some(record.step) {
                true => format!("<strong>{} (best)</strong>", grouped(record.step)),
                false => grouped(record.step),
            };
            let mut row = vec![
                step,
                history::short(record.epoch),
                number(record.train_loss),
            ];
            row.extend(names.iter().map(|name| measure(name, record.dev.get(name))));
            row.push(number(record.examples_per_second));
            row
        })
        .collect();
    let caption = "The development examples, and training since the measurement before";
    format!(
        "<h2>Measurements</h2>\n{}",
        table(caption, &head, &rows, true)
    )
}
