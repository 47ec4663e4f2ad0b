//! Counts of token sequences, in maps whose order is always the same, as sums depend on it.

use std::collections::BTreeMap;

/// How often each sequence of `n` tokens occurs, `n` from 1.
pub(super) fn counts(tokens: &[String], n: usize) -> BTreeMap<&[String], usize> {
    let mut counts = BTreeMap::new();
    for ngram in tokens.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

/// The sequences of `n` tokens that the hypothesis shares with its references, each as often as
/// it occurs in the hypothesis, but not more than in the reference where it is most frequent.
pub(super) fn matches<'a>(
    hypothesis: &'a [String],
    references: &'a [Vec<String>],
    n: usize,
) -> Vec<(&'a [String], usize)> {
    let mut most: BTreeMap<&[String], usize> = BTreeMap::new();
    for reference in references {
        for (ngram, count) in counts(reference, n) {
            let most = most.entry(ngram).or_insert(0);
            *most = count.max(*most);
        }
    }
    let clipped = counts(hypothesis, n)
        .into_iter()
        .filter_map(|(ngram, count)| {
            let most = most.get(ngram)?;
            Some((ngram, count.min(*most)))
        });
    clipped.collect()
}
