//! CIDEr: Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation".

use std::collections::{BTreeMap, BTreeSet};

use super::tokenize::penn_treebank;
use super::{check, ngrams};
use crate::TrainError;

const MAX_N: usize = 4;

/// The width of the Gaussian in [`Vector::similarity`], in pairs of words.
const SIGMA: f64 = 6.0;

/// The mean CIDEr of one hypothesis for each set of references, 0 to 10, as in the COCO caption
/// scripts that the E2E challenge uses.
///
/// What these scripts call CIDEr is the paper's CIDEr-D (section 6): words are not stemmed, weights
/// are clipped and a different length is penalised. Words weigh more the fewer sets of references
/// have them, so a score depends on the whole corpus; with a single set every weight, and the
/// score, is 0.
///
/// # Errors
///
/// [`TrainError::SegmentCount`], [`TrainError::Empty`], [`TrainError::References`].
pub fn cider(hypotheses: &[String], references: &[Vec<String>]) -> Result<f64, TrainError> {
    check(hypotheses, references)?;
    let hypotheses: Vec<_> = hypotheses.iter().map(|h| penn_treebank(h)).collect();
    let references: Vec<Vec<_>> = references
        .iter()
        .map(|references| references.iter().map(|r| penn_treebank(r)).collect())
        .collect();
    let rarity = Rarity::of(&references);
    let scores = hypotheses
        .iter()
        .zip(&references)
        .map(|(hypothesis, references)| {
            let hypothesis = Vector::of(hypothesis, &rarity);
            let similarities = references
                .iter()
                .map(|reference| hypothesis.similarity(&Vector::of(reference, &rarity)));
            10.0 * similarities.sum::<f64>() / references.len() as f64
        });
    Ok(scores.sum::<f64>() / hypotheses.len() as f64)
}

/// In how many sets of references a sequence of words occurs.
struct Rarity<'a> {
    sets: BTreeMap<&'a [String], usize>,
    all: usize,
}

impl<'a> Rarity<'a> {
    fn of(references: &'a [Vec<Vec<String>>]) -> Self {
        let mut sets = BTreeMap::new();
        for references in references {
            let sequences = |n| {
                references
                    .iter()
                    .flat_map(move |reference| reference.windows(n))
            };
            let ngrams: BTreeSet<&[String]> = (1..=MAX_N).flat_map(sequences).collect();
            for ngram in ngrams {
                *sets.entry(ngram).or_insert(0) += 1;
            }
        }
        Self {
            sets,
            all: references.len(),
        }
    }

    /// The inverse document frequency; a sequence in no reference counts as one in a single set.
    fn weight(&self, ngram: &[String]) -> f64 {
        let sets = self.sets.get(ngram).copied().unwrap_or(1);
        (self.all as f64).ln() - (sets as f64).ln()
    }
}

/// The weights of a text's sequences, by their length.
struct Vector<'a> {
    weights: [BTreeMap<&'a [String], f64>; MAX_N],
    norms: [f64; MAX_N],
    /// The text's length in pairs of words, as the scripts count it.
    pairs: f64,
}

impl<'a> Vector<'a> {
    fn of(tokens: &'a [String], rarity: &Rarity) -> Self {
        let weights = std::array::from_fn(|index| {
            let counts = ngrams::counts(tokens, index + 1).into_iter();
            counts
                .map(|(ngram, count)| (ngram, count as f64 * rarity.weight(ngram)))
                .collect()
        });
        let norm = |weights: &BTreeMap<_, f64>| weights.values().map(|w| w * w).sum::<f64>().sqrt();
        Self {
            norms: std::array::from_fn(|index| norm(&weights[index])),
            weights,
            pairs: tokens.len().saturating_sub(1) as f64,
        }
    }

    /// The mean over the lengths of sequences of the cosine with a reference, no weight counting
    /// more than the reference's, times a Gaussian of the difference in length.
    fn similarity(&self, reference: &Self) -> f64 {
        let cosines = (0..MAX_N).map(|index| {
            let shared = self.weights[index].iter().filter_map(|(ngram, weight)| {
                let other = reference.weights[index].get(ngram)?;
                Some(weight.min(*other) * other)
            });
            let norms = self.norms[index] * reference.norms[index];
            match norms > 0.0 {
                true => shared.sum::<f64>() / norms,
                false => 0.0,
            }
        });
        let difference = self.pairs - reference.pairs;
        let penalty = (-difference.powi(2) / (2.0 * SIGMA.powi(2))).exp();
        cosines.sum::<f64>() / MAX_N as f64 * penalty
    }
}
