//! Where a word or a number of the Penn Treebank tokenization ends.
//!
//! Like the Java program, of all forms that fit at a place the longest is taken.

/// Abbreviations that keep their full stop.
const ABBREVIATIONS: &str = " mr mrs ms mme mlle dr prof rev sen rep gov gen col capt lt sgt maj \
    hon st ste mt ft ave blvd rd sq ct dept est tel bldg bros co corp inc ltd plc assn univ etc \
    vs al cf ext intl natl adj adv jr sr esq md jan feb mar apr jun jul aug sep sept oct nov dec \
    mon tue tues wed thu thurs fri ";

/// Abbreviations that keep it before a number.
const BEFORE_NUMBERS: &str = " no nos fig figs pp ca art ";

/// Words that are two, with the length of the first.
const CONTRACTED: [(&str, usize); 6] = [
    ("cannot", 3),
    ("gonna", 3),
    ("gotta", 3),
    ("wanna", 3),
    ("gimme", 3),
    ("lemme", 3),
];

/// The length of the token that starts with a letter or digit.
pub(super) fn length(rest: &[char]) -> usize {
    if is_not(rest) {
        return 3;
    }
    let word = word(rest);
    let forms = [
        Some(word),
        number(rest),
        joined(rest, '.', is_part),
        joined_by_mark(rest),
        hyphenated(rest),
        slashed(rest),
        ampersand(rest),
        acronym(rest),
        abbreviation(rest, word),
    ];
    let length = forms.into_iter().flatten().max().unwrap_or(word);
    if rest[length - 1].eq_ignore_ascii_case(&'n') && is_not(&rest[length - 1..]) {
        return length - 1;
    }
    if length == word && !rest.get(word).is_some_and(|c| is_apostrophe(*c)) {
        let text = lower(&rest[..word]);
        if let Some((_, first)) = CONTRACTED
            .iter()
            .find(|(contracted, _)| *contracted == text)
        {
            return *first;
        }
    }
    match rest[length..] {
        // Before other punctuation a full stop is taken to belong to the word.
        ['.', ',' | ';' | ':', ..] if rest[length - 1] != '.' => length + 1,
        _ => length,
    }
}

/// The length of a number with a sign, or without digits before its point: `-5`, `.5`, `:30`.
pub(super) fn signed_number(rest: &[char]) -> Option<usize> {
    let sign = usize::from(matches!(rest[0], '+' | '-'));
    let digits = number(&rest[sign..]).unwrap_or(0);
    let length = sign + digits;
    let more = fractions(&rest[length..]);
    (digits + more > 0).then_some(length + more)
}

/// The length of a token that starts with an apostrophe: `'s`, `'em`, `'80s`; none for a quote.
pub(super) fn after_apostrophe(rest: &[char], after_space: bool) -> Option<usize> {
    let word = 1 + run(&rest[1..], is_part);
    let text = lower(&rest[1..word]);
    match text.as_str() {
        "n" if rest.get(word).is_some_and(|c| is_apostrophe(*c)) => Some(word + 1),
        "n" | "em" | "cause" | "til" | "till" => Some(word),
        "tis" | "twas" => Some(2),
        _ if is_contraction(&text) => Some(word),
        _ => {
            let decade = text.strip_suffix('s');
            let digits = decade.unwrap_or(&text);
            let is_year = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            let ends = decade.is_some() || rest.get(word).is_some_and(|c| c.is_whitespace());
            (after_space && is_year && ends).then_some(word)
        }
    }
}

pub(super) fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’')
}

/// Whether a word may have the character inside. Other numerals, such as `½`, stand alone.
pub(super) fn is_part(c: char) -> bool {
    c.is_alphabetic() || c.is_ascii_digit()
}

pub(super) fn is_contraction(text: &str) -> bool {
    matches!(text, "s" | "m" | "d" | "re" | "ve" | "ll")
}

/// Whether `n't` comes next.
fn is_not(rest: &[char]) -> bool {
    matches!(rest, ['n' | 'N', '\'' | '’' | '`', 't' | 'T', after @ ..]
        if !after.first().is_some_and(|c| is_part(*c)))
}

fn run(rest: &[char], is_in: impl Fn(char) -> bool) -> usize {
    rest.iter().take_while(|c| is_in(**c)).count()
}

fn lower(chars: &[char]) -> String {
    chars.iter().collect::<String>().to_lowercase()
}

/// Letters and digits, single underscores between them, and apostrophes as in `o'clock`.
fn word(rest: &[char]) -> usize {
    let mut length = run(rest, is_part);
    while let Some(joint) = rest.get(length) {
        let part = run(&rest[length + 1..], is_part);
        let after = &rest[length + 1..length + 1 + part];
        let joins = match joint {
            '_' => part > 0,
            c if is_apostrophe(*c) => {
                !is_contraction(&lower(after)) && is_elided(&rest[..length], after)
            }
            _ => false,
        };
        if !joins {
            // The first half of `y'all` keeps its apostrophe.
            let you = length == 1 && rest[0].eq_ignore_ascii_case(&'y') && part > 0;
            return length + usize::from(you && is_apostrophe(*joint));
        }
        length += 1 + part;
    }
    length
}

/// Whether an apostrophe between two parts stands for a letter, as in `d'oeuvre` and `ma'am`.
fn is_elided(before: &[char], after: &[char]) -> bool {
    match (before, after) {
        (_, []) => false,
        (['d' | 'D' | 'o' | 'O' | 'l' | 'L'], _) => after.len() > 1,
        (['A'..='H' | 'J'..='X' | 'Z' | 'n' | 'c'], _) => after.len() > 1,
        ([_, .., last], [first, ..]) => {
            "aeiouyAEIOUY".contains(*last)
                && ("aeiou".contains(*first) || first.is_ascii_uppercase())
        }
        _ => false,
    }
}

/// `20`, `1,000`, `3.5`, `9:30`.
fn number(rest: &[char]) -> Option<usize> {
    let digits = run(rest, |c| c.is_ascii_digit());
    (digits > 0).then(|| digits + fractions(&rest[digits..]))
}

/// The length of any number of points, commas or colons with digits behind them.
fn fractions(rest: &[char]) -> usize {
    let mut length = 0;
    while matches!(rest.get(length), Some('.' | ',' | ':')) {
        match run(&rest[length + 1..], |c| c.is_ascii_digit()) {
            0 => break,
            digits => length += 1 + digits,
        }
    }
    length
}

/// Parts that start with a letter, with a sign between them: `centre.it`.
fn joined(rest: &[char], sign: char, is_in: impl Fn(char) -> bool) -> Option<usize> {
    let part = |rest: &[char]| match rest.first() {
        Some(c) if c.is_alphabetic() => run(rest, &is_in),
        _ => 0,
    };
    let mut length = part(rest);
    while length > 0 && rest.get(length) == Some(&sign) {
        match part(&rest[length + 1..]) {
            0 => break,
            more => length += 1 + more,
        }
    }
    (length > 0).then_some(length)
}

/// Letters with an exclamation or question mark between them: `great!it`.
fn joined_by_mark(rest: &[char]) -> Option<usize> {
    let ends = ['!', '?'].map(|mark| joined(rest, mark, char::is_alphabetic));
    ends.into_iter().flatten().max()
}

/// `family-friendly`, `20-25`, `3.5-star`.
fn hyphenated(rest: &[char]) -> Option<usize> {
    let first = run(rest, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | ',')
    });
    let mut length = match rest.get(first) {
        Some('-') => first,
        _ => run(rest, is_part),
    };
    let start = length;
    while matches!(rest.get(length), Some('-' | '\u{2010}' | '\u{2011}')) {
        let part = &rest[length + 1..];
        // The full stop behind a single letter does not belong to it here.
        let initials = acronym(part).filter(|length| *length > 2);
        match run(part, is_part).max(initials.unwrap_or(0)) {
            0 => break,
            more => length += 1 + more,
        }
    }
    (length > start).then_some(length)
}

/// `and/or`, `5/5`, `5-star/4-star`.
fn slashed(rest: &[char]) -> Option<usize> {
    let part = |rest: &[char]| {
        let plain = run(rest, |c| c.is_ascii_alphanumeric());
        let length = match rest.get(plain) {
            Some('-') => hyphenated(rest).unwrap_or(plain),
            _ => plain,
        };
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        if rest[..length].iter().all(is_plain) {
            length
        } else {
            plain
        }
    };
    let mut length = part(rest);
    while length > 0 && rest.get(length) == Some(&'/') {
        match part(&rest[length + 1..]) {
            0 => break,
            more => length += 1 + more,
        }
    }
    (length > 0).then_some(length)
}

/// `B&B`.
fn ampersand(rest: &[char]) -> Option<usize> {
    let part = |rest: &[char]| run(rest, |c| c.is_ascii_uppercase());
    let mut length = part(rest);
    while length > 0 && rest.get(length) == Some(&'&') {
        match part(&rest[length + 1..]) {
            0 => break,
            more => length += 1 + more,
        }
    }
    let ends = !rest.get(length).is_some_and(|c| is_part(*c));
    (length > 0 && ends).then_some(length)
}

/// Single letters, each with a full stop: `p.m.`
fn acronym(rest: &[char]) -> Option<usize> {
    let pairs = rest.chunks_exact(2);
    let pairs = pairs
        .take_while(|pair| pair[0].is_alphabetic() && pair[1] == '.')
        .count();
    (pairs > 0).then_some(2 * pairs)
}

/// A known abbreviation with its full stop: `St.`, and `No.` before a number.
fn abbreviation(rest: &[char], word: usize) -> Option<usize> {
    let after = rest[word..].strip_prefix(&['.'])?;
    let known = format!(" {} ", lower(&rest[..word]));
    let numbered = || {
        after
            .iter()
            .find(|c| !c.is_whitespace())
            .is_some_and(char::is_ascii_digit)
    };
    let keeps = ABBREVIATIONS.contains(&known) || (BEFORE_NUMBERS.contains(&known) && numbered());
    keeps.then_some(word + 1)
}
