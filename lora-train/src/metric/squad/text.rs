//! One answer against another.

use std::collections::HashMap;

/// The words of an answer, joined by spaces: small letters, without ASCII punctuation and without the
/// articles a, an and the.
pub fn normalize_answer(answer: &str) -> String {
    let text = answer
        .to_lowercase()
        .replace(|c: char| c.is_ascii_punctuation(), "");
    let mut kept = String::new();
    // An article is one wherever no letter or digit is beside it: "the€" has one as well.
    for run in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let (word, rest) = run.split_at(run.trim_end_matches(|c: char| !c.is_alphanumeric()).len());
        kept.push_str(if ["a", "an", "the"].contains(&word) {
            " "
        } else {
            word
        });
        kept.push_str(rest);
    }
    words(&kept).collect::<Vec<_>>().join(" ")
}

/// Split where Python does, which also takes the four separators of ASCII for white space.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
        .filter(|word| !word.is_empty())
}

/// Whether the [normalized](normalize_answer) answers are the same.
pub fn exact_match(predicted: &str, gold: &str) -> bool {
    normalize_answer(predicted) == normalize_answer(gold)
}

/// The F1 of the words of the [normalized](normalize_answer) answers: the harmonic mean of the
/// fraction of the predicted words that are in the gold answer, and the other way round, each word as
/// often as it occurs. If either has no word it is 1 or 0, whether the other has none as well.
pub fn token_f1(predicted: &str, gold: &str) -> f64 {
    let (predicted, gold) = (normalize_answer(predicted), normalize_answer(gold));
    let count = |text| words(text).count();
    let total = count(&predicted) + count(&gold);
    if predicted.is_empty() || gold.is_empty() {
        return f64::from(u8::from(total == 0));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in words(&gold) {
        *left.entry(word).or_default() += 1;
    }
    let mut both = 0;
    for word in words(&predicted) {
        if let Some(count @ 1..) = left.get_mut(word) {
            *count -= 1;
            both += 1;
        }
    }
    2.0 * both as f64 / total as f64
}
