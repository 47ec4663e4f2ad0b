//! The tokenization of NIST's mteval-v13a, for BLEU and NIST.

/// Splits a line as mteval-v13a and sacrebleu's `13a` do, without changing the case.
///
/// Punctuation other than apostrophes, full stops, commas and hyphens always stands alone; full
/// stops and commas except between digits; hyphens behind a digit.
pub(crate) fn mteval(line: &str) -> Vec<String> {
    let line = line
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    let mut text = String::from(" ");
    for c in line.chars() {
        match c {
            '\'' | ',' | '-' | '.' => text.push(c),
            c if c.is_ascii_punctuation() => text.extend([' ', c, ' ']),
            c => text.push(c),
        }
    }
    text.push(' ');
    let is_point = |c: char| matches!(c, '.' | ',');
    let is_digit = |c: char| c.is_ascii_digit();
    let text = replace_pairs(&text, |a, b| {
        (!is_digit(a) && is_point(b)).then_some([a, ' ', b, ' '])
    });
    let text = replace_pairs(&text, |a, b| {
        (is_point(a) && !is_digit(b)).then_some([' ', a, ' ', b])
    });
    let text = replace_pairs(&text, |a, b| {
        (is_digit(a) && b == '-').then_some([a, ' ', b, ' '])
    });
    text.split_whitespace().map(String::from).collect()
}

/// Replaces pairs of characters from left to right. As with a regular expression, neither of a
/// pair that was replaced is part of the next one.
fn replace_pairs(text: &str, replacement: impl Fn(char, char) -> Option<[char; 4]>) -> String {
    let mut replaced = String::with_capacity(2 * text.len());
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        match chars.peek().and_then(|second| replacement(first, *second)) {
            Some(pair) => {
                replaced.extend(pair);
                chars.next();
            }
            None => replaced.push(first),
        }
    }
    replaced
}
