//! How often each class was said, and each was right.

use std::collections::BTreeMap;

/// How often each class was said where each was right: what all scores of classes come from.
///
/// Every score is a fraction. Where one would divide by zero it is 0, as scikit-learn's are with
/// `zero_division=0`; so are all scores of an empty matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfusionMatrix {
    /// By what was said and what is right; there is none for what never happened.
    counts: BTreeMap<(usize, usize), usize>,
}

/// How the scores of the classes become one: scikit-learn's `average`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Average {
    /// The score of class 1, the positive one, against all others.
    Binary,
    /// The mean over the classes that were said or right at least once.
    Macro,
    /// The mean over the classes, each weighted by how often it is right.
    Weighted,
}

/// How often a class was said, was right, and both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) said: usize,
    pub(super) right: usize,
    pub(super) both: usize,
}

impl ConfusionMatrix {
    /// Counts one more example.
    pub fn add(&mut self, predicted: usize, target: usize) {
        *self.counts.entry((predicted, target)).or_default() += 1;
    }

    /// How often `predicted` was said where `target` is right.
    pub fn count(&self, predicted: usize, target: usize) -> usize {
        self.counts
            .get(&(predicted, target))
            .copied()
            .unwrap_or_default()
    }

    /// The number of examples.
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// The fraction of the examples for which what was said is right.
    pub fn accuracy(&self) -> f64 {
        fraction(self.tallies().values().map(|t| t.both).sum(), self.total())
    }

    /// The tally of each class that occurs.
    pub(super) fn tallies(&self) -> BTreeMap<usize, Tally> {
        let mut tallies: BTreeMap<usize, Tally> = BTreeMap::new();
        for (&(predicted, target), count) in &self.counts {
            tallies.entry(predicted).or_default().said += count;
            tallies.entry(target).or_default().right += count;
            if predicted == target {
                tallies.entry(target).or_default().both += count;
            }
        }
        tallies
    }

    /// The scores of the classes as one.
    pub(super) fn average(&self, average: Average, score: fn(Tally) -> f64) -> f64 {
        let tallies = self.tallies();
        let mean = |weight: fn(Tally) -> usize| {
            let total: usize = tallies.values().map(|tally| weight(*tally)).sum();
            let scores = tallies.values().map(|t| weight(*t) as f64 * score(*t));
            scores.sum::<f64>() / total.max(1) as f64
        };
        match average {
            Average::Binary => score(tallies.get(&1).copied().unwrap_or_default()),
            Average::Macro => mean(|_| 1),
            Average::Weighted => mean(|tally| tally.right),
        }
    }
}

impl FromIterator<(usize, usize)> for ConfusionMatrix {
    /// From pairs of what was said and what is right.
    fn from_iter<I: IntoIterator<Item = (usize, usize)>>(pairs: I) -> Self {
        let mut matrix = Self::default();
        for (predicted, target) in pairs {
            matrix.add(predicted, target);
        }
        matrix
    }
}

/// `count` of `total`; 0 if there is nothing.
pub(super) fn fraction(count: usize, total: usize) -> f64 {
    count as f64 / total.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_comes_before_what_is_right() {
        let matrix: ConfusionMatrix = [(0, 1), (0, 1), (1, 1)].into_iter().collect();
        let counts = [
            matrix.count(0, 1),
            matrix.count(1, 0),
            matrix.count(1, 1),
            matrix.count(7, 7),
        ];
        assert_eq!((counts, matrix.total()), ([2, 0, 1, 0], 3));
        let tally = |said, right, both| Tally { said, right, both };
        assert_eq!(
            matrix.tallies(),
            [(0, tally(2, 0, 0)), (1, tally(1, 3, 1))].into()
        );
    }

    #[test]
    fn a_class_with_a_high_number_takes_no_more_room() {
        let mut matrix = ConfusionMatrix::default();
        matrix.add(usize::MAX, 0);
        matrix.add(0, 0);
        assert_eq!(matrix.accuracy(), 0.5);
    }
}
