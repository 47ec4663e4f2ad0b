//! What trained.

use lora_core::ParameterReport;
use lora_core::grouped;

use crate::html::{escape, table};

pub(super) fn section(report: &ParameterReport) -> String {
    let rows = [
        ("LoRA factors", report.lora),
        ("Head and saved modules", report.saved),
        ("Biases of the base", report.bias),
        ("Trained in all", report.trainable()),
        ("Frozen", report.frozen),
        ("All", report.total()),
    ];
    let total = report.total().max(1) as f64;
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, number)| {
            let percent = format!("{:.3} %", 100.0 * number as f64 / total);
            vec![name.to_string(), grouped(number), percent]
        })
        .collect();
    let head = ["parameters", "count", "of all"].map(String::from);
    format!(
        "<h2>Parameters</h2>\n{}<p class=\"muted\">As PEFT counts, with the frozen originals of \
         modules that are trained in full: {}</p>\n",
        table(
            "Parameters by what training does with them",
            &head,
            &rows,
            true
        ),
        escape(&report.peft_line()),
    )
}
