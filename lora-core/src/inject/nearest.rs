//! Which names somebody may have meant.

use std::collections::BTreeSet;

/// The first of `names`.
pub(super) fn few(mut names: Vec<String>) -> Vec<String> {
    names.truncate(5);
    names
}

/// The candidates most like `pattern`, by the letter pairs that their last parts share with it.
pub(super) fn nearest(pattern: &str, candidates: &[String]) -> Vec<String> {
    let pairs = |text: &str| -> BTreeSet<(char, char)> {
        let letters: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
        letters.windows(2).map(|w| (w[0], w[1])).collect()
    };
    let wanted = pairs(pattern);
    let likeness = |path: &String| {
        let last = path.rsplit('.').next().unwrap_or(path);
        let (whole, last) = (pairs(path), pairs(last));
        2 * wanted.intersection(&last).count() + wanted.intersection(&whole).count()
    };
    let mut seen = BTreeSet::new();
    let mut ranked: Vec<&String> = candidates.iter().collect();
    ranked.sort_by_key(|path| std::cmp::Reverse(likeness(path)));
    // One of each name is enough: twelve layers all have a `query`.
    ranked.retain(|path| seen.insert(path.rsplit('.').next().unwrap_or(path)));
    few(ranked.into_iter().cloned().collect())
}
