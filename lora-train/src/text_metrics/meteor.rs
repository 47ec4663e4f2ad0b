//! METEOR: Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation
//! for Any Target Language".

mod alignment;
mod normalize;

use std::collections::BTreeSet;

use rust_stemmers::{Algorithm, Stemmer};

use self::alignment::{Alignment, Stage, Word};
use self::normalize::normalize;
use super::check;
use super::tokenize::penn_treebank;
use crate::TrainError;

/// METEOR with the matching stages "exact" and "stem" of its four.
///
/// It equals what METEOR 1.5 gives with `-l en -norm -m 'exact stem' -w '1.0 0.6'` and the same
/// function words (`-s`) for text that the COCO caption scripts have tokenized: its own
/// tokenization (`-norm`), Snowball's English stemmer, the beam search for an alignment, the best
/// reference for each hypothesis, and one score from the sums over the corpus.
///
/// Left out are the stages "synonym" (WordNet) and "paraphrase" (a table of 60 MB), so scores are
/// a little lower than those of the E2E challenge's METEOR, which has all four: with the last human
/// reference of each set as the hypothesis and the others as references, 0.448 instead of 0.454 on
/// the challenge's development set and 0.441 instead of 0.449 on its test set. Compare scores of
/// this METEOR with each other rather than with published ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Meteor {
    /// The weight of recall against precision, 0 to 1.
    pub alpha: f64,
    /// The power of the fragmentation, 0 or more.
    pub beta: f64,
    /// The largest penalty for fragmentation, 0 to 1.
    pub gamma: f64,
    /// The weight of content words against function words, 0 to 1.
    pub delta: f64,
    /// The weight of a match by stem, 0 to 1; an exact one has 1.
    pub stem_weight: f64,
    /// The words that say little by themselves, in lower case.
    pub function_words: BTreeSet<String>,
}

impl Default for Meteor {
    /// METEOR 1.5's parameters for English (its task "rank"), with function words of our own, as its
    /// list is under another licence. METEOR's `english.words` in their place changes the scores
    /// above by less than 0.001.
    fn default() -> Self {
        let words = include_str!("meteor/function_words.txt").lines();
        Self {
            alpha: 0.85,
            beta: 0.2,
            gamma: 0.6,
            delta: 0.75,
            stem_weight: 0.6,
            function_words: words.map(String::from).collect(),
        }
    }
}

impl Meteor {
    /// The corpus-level METEOR of one hypothesis for each set of references, 0 to 1.
    ///
    /// Where references fit a hypothesis equally well, the first is taken, and its length counts:
    /// their order can make a small difference in a corpus of more than one hypothesis.
    ///
    /// # Errors
    ///
    /// [`TrainError::SegmentCount`], [`TrainError::Empty`], [`TrainError::References`];
    /// [`TrainError::Meteor`] for a parameter out of its range.
    pub fn score(
        &self,
        hypotheses: &[String],
        references: &[Vec<String>],
    ) -> Result<f64, TrainError> {
        check(hypotheses, references)?;
        self.check_parameters()?;
        let stemmer = Stemmer::create(Algorithm::English);
        let words = |line: &String| {
            let tokens = normalize(&penn_treebank(line)).into_iter();
            let word = |text: String| Word {
                stem: stemmer.stem(&text).into_owned(),
                is_function: self.function_words.contains(&text),
                text,
            };
            tokens.map(word).collect::<Vec<_>>()
        };
        let mut corpus = Statistics::default();
        for (hypothesis, references) in hypotheses.iter().zip(references) {
            let hypothesis = words(hypothesis);
            let mut best: Option<(f64, Statistics)> = None;
            for reference in references {
                let statistics = Statistics::of(&hypothesis, &words(reference));
                let score = self.value(&statistics);
                if best.as_ref().is_none_or(|(other, _)| score > *other) {
                    best = Some((score, statistics));
                }
            }
            if let Some((_, statistics)) = best {
                corpus.add(&statistics);
            }
        }
        Ok(self.value(&corpus))
    }

    fn check_parameters(&self) -> Result<(), TrainError> {
        let unit = 0.0..=1.0;
        for (field, value, range, expected) in [
            ("alpha", self.alpha, &unit, "0 to 1"),
            ("beta", self.beta, &(0.0..=f64::MAX), "0 or more"),
            ("gamma", self.gamma, &unit, "0 to 1"),
            ("delta", self.delta, &unit, "0 to 1"),
            ("stem_weight", self.stem_weight, &unit, "0 to 1"),
        ] {
            if !range.contains(&value) {
                return Err(TrainError::Meteor {
                    field,
                    value,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Section 2 of the paper.
    fn value(&self, statistics: &Statistics) -> f64 {
        let Statistics {
            hypothesis,
            reference,
            chunks,
        } = statistics;
        let weighted =
            |words: &Count| self.delta * words.content + (1.0 - self.delta) * words.function;
        let rate = |side: &Side| {
            let matches = weighted(&side.exact) + self.stem_weight * weighted(&side.stem);
            matches / weighted(&side.words)
        };
        let (precision, recall) = (rate(hypothesis), rate(reference));
        let mean = 1.0 / ((1.0 - self.alpha) / precision + self.alpha / recall);
        let fragmentation = match statistics.is_complete() {
            true => 0.0,
            false => chunks / ((hypothesis.matches() + reference.matches()) / 2.0),
        };
        let score = mean * (1.0 - self.gamma * fragmentation.powf(self.beta));
        // Without words or without matches the rates are 0 / 0 or 0.
        if score.is_nan() { 0.0 } else { score.max(0.0) }
    }
}

#[derive(Default)]
struct Count {
    content: f64,
    function: f64,
}

impl Count {
    fn add(&mut self, word: &Word) {
        match word.is_function {
            true => self.function += 1.0,
            false => self.content += 1.0,
        }
    }

    fn total(&self) -> f64 {
        self.content + self.function
    }
}

/// What is counted of a hypothesis or of its reference.
#[derive(Default)]
struct Side {
    words: Count,
    exact: Count,
    stem: Count,
}

impl Side {
    fn of(words: &[Word], matches: impl Iterator<Item = (usize, Stage)>) -> Self {
        let mut side = Self::default();
        words.iter().for_each(|word| side.words.add(word));
        for (index, stage) in matches {
            match stage {
                Stage::Exact => side.exact.add(&words[index]),
                Stage::Stem => side.stem.add(&words[index]),
            }
        }
        side
    }

    fn matches(&self) -> f64 {
        self.exact.total() + self.stem.total()
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in [
            (&mut self.words, &other.words),
            (&mut self.exact, &other.exact),
            (&mut self.stem, &other.stem),
        ] {
            count.content += more.content;
            count.function += more.function;
        }
    }
}

/// What a score is computed from, for a pair of texts or summed over a corpus.
#[derive(Default)]
struct Statistics {
    hypothesis: Side,
    reference: Side,
    chunks: f64,
}

impl Statistics {
    fn of(hypothesis: &[Word], reference: &[Word]) -> Self {
        let alignment = Alignment::of(hypothesis, reference);
        let matches = || alignment.matches();
        Self {
            hypothesis: Side::of(hypothesis, matches().map(|m| (m.hypothesis, m.stage))),
            reference: Side::of(reference, matches().map(|m| (m.reference, m.stage))),
            chunks: alignment.chunks() as f64,
        }
    }

    /// Whether all words match in one piece; such a pair has no fragmentation.
    fn is_complete(&self) -> bool {
        let complete = |side: &Side| side.matches() == side.words.total();
        complete(&self.hypothesis) && complete(&self.reference) && self.chunks == 1.0
    }

    fn add(&mut self, other: &Self) {
        self.hypothesis.add(&other.hypothesis);
        self.reference.add(&other.reference);
        if !other.is_complete() {
            self.chunks += other.chunks;
        }
    }
}
