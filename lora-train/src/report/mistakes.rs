//! What the model got wrong.

use super::Classes;
use crate::Evaluation;
use crate::html::escape;
use lora_core::grouped;

/// How many mistakes are shown.
const MOST: usize = 30;
/// How many characters of a text are shown.
const LONGEST: usize = 400;

pub(super) fn section(classes: &Classes<'_>, evaluation: &Evaluation) -> String {
    if evaluation.outcomes.is_empty() {
        return String::new();
    }
    let mistakes = evaluation.mistakes();
    let mut html = "<h2>Mistakes</h2>\n".to_string();
    if mistakes.is_empty() {
        return html + "<p>The model got every development example right.</p>\n";
    }
    let (all, wrong) = (grouped(evaluation.outcomes.len()), grouped(mistakes.len()));
    html += &match mistakes.len() > MOST {
        true => {
            format!(
                "<p>{wrong} of {all} examples are wrong; these are the {MOST} most confident.</p>\n"
            )
        }
        false => format!("<p>{wrong} of {all} examples are wrong, the most confident first.</p>\n"),
    };
    html += "<ol class=\"mistakes\">\n";
    for (index, outcome) in mistakes.into_iter().take(MOST) {
        let text = classes.texts.get(index).map(|text| shortened(text));
        html += &format!(
            "<li><p>{}</p><p class=\"muted\">Example {}: said <strong>{}</strong> with {:.1} %, \
             right is <strong>{}</strong></p></li>\n",
            escape(text.as_deref().unwrap_or("(the text is not known)")),
            grouped(index + 1),
            escape(&classes.name(outcome.said)),
            100.0 * outcome.probability,
            escape(&classes.name(outcome.right)),
        );
    }
    html + "</ol>\n"
}

/// The text, cut where it gets long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "é".repeat(LONGEST + 1);
        assert_eq!(shortened(&long), format!("{} …", "é".repeat(LONGEST)));
        let fits = "é".repeat(LONGEST);
        assert_eq!(shortened(&fits), fits);
    }
}
