//! Pieces of HTML.

use crate::chart::Ink;

/// The text as a page shows it: nothing in it is taken for HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            // A page may not hold these, even escaped.
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A table below its caption, which may be scrolled sideways. Cells are HTML; the first of a row is its header.
pub(crate) fn table(caption: &str, head: &[String], rows: &[Vec<String>], numbers: bool) -> String {
    let class = if numbers { " class=\"numbers\"" } else { "" };
    let caption = escape(caption);
    let mut html = format!(
        "<p class=\"muted\">{caption}.</p>\n\
         <div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n\
         <table{class} aria-label=\"{caption}\">\n<thead><tr>"
    );
    for cell in head {
        html += &format!("<th scope=\"col\">{cell}</th>");
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in rows {
        html += "<tr>";
        for (index, cell) in row.iter().enumerate() {
            html += &match index {
                0 => format!("<th scope=\"row\">{cell}</th>"),
                _ => format!("<td>{cell}</td>"),
            };
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n</div>\n"
}

/// A whole page, which needs nothing else.
pub(crate) fn page(title: &str, body: &str) -> String {
    let variables = |of: fn(Ink) -> &'static str| -> String {
        Ink::all()
            .map(|ink| format!("{}:{};", ink.variable(), of(ink)))
            .collect()
    };
    let (light, dark) = (variables(Ink::light), variables(Ink::dark));
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n\
         :root{{{light}}}\n\
         @media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

const STYLE: &str = include_str!("html/style.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_well_formed;

    #[test]
    fn nothing_in_a_text_is_html() {
        assert_eq!(
            escape("<script>alert('a & \"b\"')</script>\u{0}\n"),
            "&lt;script&gt;alert(&#39;a &amp; &quot;b&quot;&#39;)&lt;/script&gt;\u{fffd}\n"
        );
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let rows = [vec!["a".to_string(), "1".to_string()]];
        let head = ["what".to_string(), "how many".to_string()];
        let html = page("A <b> page", &table("Counts & more", &head, &rows, true));
        assert_well_formed(&html);
        assert!(html.contains("<title>A &lt;b&gt; page</title>"));
        assert!(html.contains("aria-label=\"Counts &amp; more\""));
        for outside in ["http", "src=", "<link", "@import", "url(", "<script"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
