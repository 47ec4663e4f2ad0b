//! How long the sequences are.

use crate::chart::{Histogram, inline};
use crate::data::LengthSummary;
use crate::html::escape;
use lora_core::grouped;

/// The size of a chart in its own units; it is scaled to the page.
const SIZE: (u32, u32) = (410, 230);

pub(super) fn section(
    lengths: &[(&str, LengthSummary)],
) -> Result<String, Box<dyn std::error::Error>> {
    if lengths.is_empty() {
        return Ok(String::new());
    }
    let mut html = "<h2>Lengths of the data</h2>\n<div class=\"charts\">\n".to_string();
    for (name, summary) in lengths {
        let LengthSummary {
            count: all,
            cut,
            shortest,
            longest,
            mean,
            buckets,
        } = summary;
        let words = format!(
            "{} sequences of {shortest} to {longest} tokens, {mean:.1} on average; {} cut to the \
             maximum length",
            grouped(*all),
            match *cut {
                0 => "none was".to_string(),
                1 => "1 was".to_string(),
                many => format!("{} were", grouped(many)),
            },
        );
        let histogram = Histogram {
            buckets: buckets.iter().map(|b| (b.from, b.to, b.count)).collect(),
            x_label: "tokens",
        };
        let name = escape(name);
        let label = format!("How many sequences have which length: {words}");
        let svg = inline(SIZE, &label, |area| histogram.draw(area))?;
        html += &format!(
            "<figure>\n<figcaption>{name}</figcaption>\n{svg}<p class=\"muted\">{words}.</p>\n\
             </figure>\n"
        );
    }
    Ok(html + "</div>\n")
}
