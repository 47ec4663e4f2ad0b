//! NIST: Doddington 2002, "Automatic Evaluation of Machine Translation Quality Using N-gram
//! Co-Occurrence Statistics".

use std::collections::BTreeMap;

use super::bleu::pymteval_tokens;
use super::tokenize::mteval;
use super::{check, ngrams};
use crate::TrainError;

const MAX_N: usize = 5;

/// Whose NIST. Both split words by the rules of mteval-v13a.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NistDefinition {
    /// mteval-v13a.pl as the E2E challenge changed it for different numbers of references, which
    /// `measure_scores.py` calls: ASCII letters in lower case. The length penalty compares with
    /// the words of all references divided by the mean number of references.
    #[default]
    Mteval,
    /// pymteval.py, which `measure_scores.py --python` calls: all letters in lower case. The
    /// length penalty compares with the sum of each hypothesis's mean reference length. An empty
    /// text is one empty word, and a short hypothesis takes away from the number of sequences,
    /// as there; a length of sequences of which that leaves none does not count.
    Pymteval,
}

/// The corpus-level NIST score, with sequences of up to five words, of one hypothesis for each
/// set of references: 0 or more, in bits of information for each word.
///
/// # Errors
///
/// [`TrainError::SegmentCount`], [`TrainError::Empty`], [`TrainError::References`].
pub fn nist(
    hypotheses: &[String],
    references: &[Vec<String>],
    definition: NistDefinition,
) -> Result<f64, TrainError> {
    check(hypotheses, references)?;
    let tokens = |line: &String| match definition {
        NistDefinition::Mteval => mteval(&line.to_ascii_lowercase()),
        NistDefinition::Pymteval => pymteval_tokens(line),
    };
    let hypotheses: Vec<Vec<String>> = hypotheses.iter().map(tokens).collect();
    let references: Vec<Vec<Vec<String>>> = references
        .iter()
        .map(|references| references.iter().map(tokens).collect())
        .collect();
    let information = Information::of(&references, definition);
    let mut score = 0.0;
    for n in 1..=MAX_N {
        let (mut bits, mut total) = (0.0, 0);
        for (hypothesis, references) in hypotheses.iter().zip(&references) {
            let matches = ngrams::matches(hypothesis, references, n).into_iter();
            bits += matches
                .map(|(ngram, count)| count as f64 * information.bits(ngram))
                .sum::<f64>();
            let sequences = hypothesis.len() as i64 - n as i64 + 1;
            total += match definition {
                NistDefinition::Mteval => sequences.max(0),
                NistDefinition::Pymteval => sequences,
            };
        }
        if total > 0 {
            score += bits / total as f64;
        }
    }
    Ok(score * length_penalty(&hypotheses, &references, definition))
}

/// How often each sequence of up to [`MAX_N`] words occurs in all references.
struct Information<'a> {
    counts: BTreeMap<&'a [String], usize>,
    words: usize,
    definition: NistDefinition,
}

impl<'a> Information<'a> {
    fn of(references: &'a [Vec<Vec<String>>], definition: NistDefinition) -> Self {
        let mut counts = BTreeMap::new();
        let mut words = 0;
        for reference in references.iter().flatten() {
            words += reference.len();
            for n in 1..=MAX_N {
                for (ngram, count) in ngrams::counts(reference, n) {
                    *counts.entry(ngram).or_insert(0) += count;
                }
            }
        }
        Self {
            counts,
            words,
            definition,
        }
    }

    /// What the last word of a sequence says after the others, in bits (equation 2).
    fn bits(&self, ngram: &[String]) -> f64 {
        let before = &ngram[..ngram.len() - 1];
        // The Perl program asks whether there are words before by their truth, and "0" is false.
        let is_false = self.definition == NistDefinition::Mteval && before == ["0"];
        let before = match before.is_empty() || is_false {
            true => Some(&self.words),
            false => self.counts.get(before),
        };
        match (before, self.counts.get(ngram)) {
            (Some(before), Some(count)) => (*before as f64 / *count as f64).log2(),
            _ => 0.0,
        }
    }
}

/// Section 3: 1 for a corpus as long as its references or longer, 0.5 at two thirds of that.
fn length_penalty(
    hypotheses: &[Vec<String>],
    references: &[Vec<Vec<String>>],
    definition: NistDefinition,
) -> f64 {
    let words = |texts: &[Vec<String>]| texts.iter().map(Vec::len).sum::<usize>() as f64;
    let reference_length: f64 = match definition {
        NistDefinition::Mteval => {
            // There, a reference without words is one that is missing.
            let all = references.iter().flatten();
            let count = all.filter(|reference| !reference.is_empty()).count();
            let total: f64 = references.iter().map(|texts| words(texts)).sum();
            total / (count as f64 / references.len() as f64)
        }
        NistDefinition::Pymteval => {
            let means = references
                .iter()
                .map(|texts| words(texts) / texts.len() as f64);
            means.sum()
        }
    };
    let ratio = words(hypotheses) / reference_length;
    if ratio >= 1.0 {
        1.0
    } else if ratio > 0.0 {
        let beta = 0.5_f64.ln() / 1.5_f64.ln().powi(2);
        (beta * ratio.ln().powi(2)).exp()
    } else {
        // No words, or (NaN) none in the references either.
        0.0
    }
}
