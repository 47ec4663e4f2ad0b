//! METEOR's own tokenization for English (`-norm`).

/// Abbreviations in lower case that keep their full stop.
const PREFIXES: [&str; 3] = ["v", "vs", "rev"];

/// Splits the tokens of the Penn Treebank further, as METEOR 1.5 does: hyphens between letters
/// or digits go (`family friendly`), apostrophes stand alone or at the beginning of a token
/// (`' s`, `n 't`), and abbreviations lose their full stops (`pm`).
pub(super) fn normalize(tokens: &[String]) -> Vec<String> {
    let mut text = vec![' '];
    for c in tokens.join(" ").chars() {
        match c {
            '‘' | '’' | '`' => text.push('\''),
            '.' | '\'' | ',' | '-' => text.push(c),
            c if is_alphanumeric(c) || c.is_whitespace() => text.push(c),
            c => text.extend([' ', c, ' ']),
        }
    }
    text.push(' ');
    let is_digit = |c: char| c.is_ascii_digit();
    for separates in [
        |a: char, b: char| !a.is_ascii_digit() && !b.is_ascii_digit(),
        |a: char, b: char| a.is_ascii_digit() && !b.is_ascii_digit(),
        |a: char, b: char| !a.is_ascii_digit() && b.is_ascii_digit(),
    ] {
        text = between(&text, ',', separates, " , ");
    }
    let is_joined = |a, b| (is_alphanumeric(a) || a == '.') && is_alphanumeric(b);
    text = between(&text, '-', is_joined, " ");
    text = between(&text, '\'', |a, b| !is_letter(a) && !is_letter(b), " ' ");
    text = between(
        &text,
        '\'',
        |a, b| !is_letter(a) && !is_digit(a) && is_letter(b),
        " ' ",
    );
    text = between(&text, '\'', |a, b| is_letter(a) && !is_letter(b), " ' ");
    text = between(&text, '\'', |a, b| is_letter(a) && is_letter(b), " '");
    text = between(&text, '\'', |a, b| is_digit(a) && b == 's', " '");
    let text: String = text.into_iter().collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut tokens = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let next = words.get(index + 1);
        tokens.extend(without_full_stop(word, next.copied()));
    }
    tokens
}

fn without_full_stop(word: &str, next: Option<&str>) -> Vec<String> {
    let before = match word.strip_suffix('.') {
        None | Some("") => return vec![word.to_string()],
        Some(before) => before,
    };
    let goes_on = next.is_some_and(|next| next.starts_with(|c: char| c.is_ascii_lowercase()));
    if before.contains('.') && before.contains(is_letter) {
        vec![word.replace('.', "")]
    } else if PREFIXES.contains(&before) || goes_on {
        vec![word.to_string()]
    } else {
        vec![before.to_string(), ".".to_string()]
    }
}

/// Replaces a sign between two characters that fit, from left to right. As with a regular
/// expression, the second of them is not the first of the next pair.
fn between(
    text: &[char],
    sign: char,
    fits: impl Fn(char, char) -> bool,
    replacement: &str,
) -> Vec<char> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        replaced.push(*first);
        rest = match rest {
            [a, found, b, after @ ..] if *found == sign && fits(*a, *b) => {
                replaced.extend(replacement.chars());
                replaced.push(*b);
                after
            }
            _ => &rest[1..],
        };
    }
    replaced
}

/// The letters that METEOR's rules know: Latin without the signs × and ÷, and Cyrillic.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || (matches!(c, 'À'..='ž') && !matches!(c, '×' | '÷'))
        || matches!(c, 'Ѐ'..='ԧ' | 'Ꙁ'..='ꚗ' | 'ᴀ'..='ᵿ')
}

fn is_alphanumeric(c: char) -> bool {
    is_letter(c) || c.is_ascii_digit()
}
