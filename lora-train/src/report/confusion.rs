//! Which classes were taken for which.

use super::Classes;
use crate::Evaluation;
use crate::html::{escape, table};
use crate::metric::ConfusionMatrix;
use lora_core::grouped;

/// How much of the colour is in a cell that has all examples of its row, in percent.
pub(crate) const DEEPEST: u32 = 40;
/// A larger matrix is no more to be read.
const MOST_CLASSES: usize = 20;
/// How many confusions are listed instead.
const MOST_CONFUSIONS: usize = 20;

pub(super) fn section(classes: &Classes<'_>, evaluation: &Evaluation) -> String {
    let Some(matrix) = evaluation.confusion() else {
        return String::new();
    };
    let html = match classes.names.len() > MOST_CLASSES {
        true => list(classes, &matrix),
        false => square(classes, &matrix),
    };
    format!("<h2>Confusion matrix</h2>\n{html}")
}

/// A row for what is right, a column for what was said.
fn square(classes: &Classes<'_>, matrix: &ConfusionMatrix) -> String {
    let all = 0..classes.names.len();
    let mut html = "<p class=\"muted\">A row for each right class, a column for what the model \
                    said. The deeper the colour, the larger the share of the row.</p>\n\
                    <div class=\"scroll\" role=\"region\" aria-label=\"Confusion matrix\" \
                    tabindex=\"0\">\n<table class=\"matrix\" aria-label=\"Confusion matrix\">\n\
                    <thead><tr><th scope=\"col\">right \\ said</th>"
        .to_string();
    for said in all.clone() {
        html += &format!("<th scope=\"col\">{}</th>", escape(&classes.name(said)));
    }
    html += "</tr></thead>\n<tbody>\n";
    for right in all.clone() {
        let total: usize = all.clone().map(|said| matrix.count(said, right)).sum();
        html += &format!(
            "<tr><th scope=\"row\">{}</th>",
            escape(&classes.name(right))
        );
        for said in all.clone() {
            let number = matrix.count(said, right);
            let share = number as f64 / total.max(1) as f64;
            let depth = (share * f64::from(DEEPEST)).round();
            html += &format!(
                "<td style=\"background:color-mix(in srgb,var(--strong) {depth}%,var(--page))\">\
                 {} ({:.0} %)</td>",
                grouped(number),
                100.0 * share
            );
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n</div>\n"
}

/// The most frequent confusions of many classes.
fn list(classes: &Classes<'_>, matrix: &ConfusionMatrix) -> String {
    let number = classes.names.len();
    let pairs = (0..number).flat_map(|right| (0..number).map(move |said| (right, said)));
    let mut confused: Vec<(usize, usize, usize)> = pairs
        .filter(|(right, said)| right != said)
        .map(|(right, said)| (matrix.count(said, right), right, said))
        .filter(|(count, ..)| *count > 0)
        .collect();
    confused.sort_by_key(|(count, right, said)| (std::cmp::Reverse(*count), *right, *said));
    let rows: Vec<Vec<String>> = confused
        .into_iter()
        .take(MOST_CONFUSIONS)
        .map(|(number, right, said)| {
            let name = |class| escape(&classes.name(class));
            vec![name(right), name(said), grouped(number)]
        })
        .collect();
    let head = ["right", "said", "how often"].map(String::from);
    let caption = format!("The most frequent confusions among {number} classes");
    table(&caption, &head, &rows, true)
}
