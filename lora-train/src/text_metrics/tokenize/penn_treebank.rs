//! The Penn Treebank tokenization that METEOR, ROUGE-L and CIDEr are computed on.

use super::words;

/// Splits a line as the COCO caption scripts do: the tokens of Stanford's `PTBTokenizer` (CoreNLP
/// 3.4.1, `-lowerCase`) without those that the scripts take for punctuation.
///
/// Contractions are split (`do n't`, `it 's`), words with hyphens, fractions and numbers with
/// commas are one token, brackets become `-lrb-` and `-rrb-`, `£` becomes `#`, and quotes, dashes,
/// ellipses, full stops, commas, colons and semicolons go. On the 9,365 references of the E2E
/// challenge's development and test sets the tokens are those of the Java program. What does not
/// occur in such text is left out: e-mail and web addresses, telephone numbers, emoticons, and
/// all but common abbreviations.
pub(crate) fn penn_treebank(line: &str) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let (length, token) = next(&chars[at..], at == 0 || chars[at - 1].is_whitespace());
        tokens.extend(token.map(|token| normalized(&token)));
        at += length;
    }
    tokens
}

fn normalized(token: &str) -> String {
    let token = token.to_lowercase();
    match token.strip_prefix('’') {
        Some(text) if words::is_contraction(text) => format!("'{text}"),
        _ if token == "n’t" => "n't".to_string(),
        _ => token,
    }
}

/// The length of what comes first in `rest`, and its token unless that is dropped.
fn next(rest: &[char], after_space: bool) -> (usize, Option<String>) {
    let text = |length: usize| (length, Some(rest[..length].iter().collect()));
    let first = rest[0];
    if first.is_whitespace() {
        return (1, None);
    }
    if words::is_part(first) {
        return text(words::length(rest));
    }
    let run = rest.iter().take_while(|c| **c == first).count();
    if let Some(length) = words::signed_number(rest)
        && run == 1
    {
        return text(length);
    }
    if words::is_apostrophe(first)
        && let Some(length) = words::after_apostrophe(rest, after_space)
    {
        return text(length);
    }
    match first {
        '!' | '?' => {
            let run = rest.iter().take_while(|c| matches!(c, '!' | '?')).count();
            // Only a single mark is in the scripts' list of punctuation.
            if run == 1 { (1, None) } else { text(run) }
        }
        '*' | '_' => text(run),
        '#' | '@' if rest.get(1).is_some_and(|c| c.is_ascii_alphabetic()) => {
            text(1 + rest[1..].iter().take_while(|c| words::is_part(**c)).count())
        }
        '<' => text(tag(rest).unwrap_or(1)),
        '&' => entity(rest).unwrap_or_else(|| text(1)),
        '-' => (run, None),
        _ if is_dropped(first) => (1, None),
        _ => (
            1,
            Some(replacement(first).map_or(first.to_string(), String::from)),
        ),
    }
}

/// An escaped character, which the tokenizer writes plainly, and its length.
fn entity(rest: &[char]) -> Option<(usize, Option<String>)> {
    let end = rest.iter().take(6).position(|c| *c == ';')? + 1;
    let token = match rest[1..end - 1].iter().collect::<String>().as_str() {
        "amp" => Some("&"),
        "lt" => Some("<"),
        "gt" => Some(">"),
        "quot" => None,
        _ => return None,
    };
    Some((end, token.map(String::from)))
}

/// The length of a tag such as `<unk>`.
fn tag(rest: &[char]) -> Option<usize> {
    let opens = rest
        .get(1)
        .is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
    let end = rest[1..].iter().position(|c| matches!(c, '<' | '>'))? + 1;
    (opens && rest[end] == '>').then_some(end + 1)
}

/// Quotes, dashes and the other tokens that the scripts take out.
fn is_dropped(c: char) -> bool {
    matches!(
        c,
        '.' | ',' | ':' | ';' | '\'' | '"' | '`' | '…' | '‘' | '’' | '“' | '”' | '«' | '»'
    ) || ('\u{2012}'..='\u{2015}').contains(&c)
}

/// What the tokenizer writes for a character that the Penn Treebank has other signs for.
fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        '(' => "-lrb-",
        ')' => "-rrb-",
        '[' => "-lsb-",
        ']' => "-rsb-",
        '{' => "-lcb-",
        '}' => "-rcb-",
        '£' => "#",
        '€' => "$",
        '¢' => "cents",
        '¼' => "1/4",
        '½' => "1/2",
        '¾' => "3/4",
        '⅓' => "1/3",
        '⅔' => "2/3",
        _ => return None,
    })
}
