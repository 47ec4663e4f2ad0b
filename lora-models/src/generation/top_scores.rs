//! The highest of many scores, without sorting all of them.

/// A score and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) score: f32,
    pub(super) index: usize,
}

impl Scored {
    /// Higher scores first; of equal ones, the first.
    pub(super) fn order(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
    }
}

/// Keeps the highest of the scores it is shown.
///
/// They gather in a buffer of a few times as many; a full buffer is cut by selection, and its lowest
/// score is the bar for those to come. Of a vocabulary's scores nearly all fail at that bar.
pub(super) struct TopScores {
    count: usize,
    bar: f32,
    buffer: Vec<Scored>,
}

impl TopScores {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count,
            bar: f32::NEG_INFINITY,
            buffer: Vec::with_capacity(Self::room(count)),
        }
    }

    fn room(count: usize) -> usize {
        4 * count + 32
    }

    /// Shows a score; minus infinity is never kept.
    pub(super) fn push(&mut self, score: f32, index: usize) {
        if score > self.bar {
            self.buffer.push(Scored { score, index });
            if self.buffer.len() == Self::room(self.count) {
                self.cut();
            }
        }
    }

    /// Drops all but the highest.
    fn cut(&mut self) {
        if self.count == 0 || self.buffer.len() <= self.count {
            self.buffer.truncate(self.count);
            return;
        }
        let (_, last, _) = self
            .buffer
            .select_nth_unstable_by(self.count - 1, Scored::order);
        self.bar = last.score;
        self.buffer.truncate(self.count);
    }

    /// The highest, in order.
    pub(super) fn into_sorted(mut self) -> Vec<Scored> {
        self.cut();
        self.buffer.sort_unstable_by(Scored::order);
        self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn top(scores: &[f32], count: usize) -> Vec<Scored> {
        let mut top = TopScores::new(count);
        for (index, score) in scores.iter().enumerate() {
            top.push(*score, index);
        }
        top.into_sorted()
    }

    #[test]
    fn selection_is_what_sorting_gives() {
        let mut random = StdRng::seed_from_u64(1);
        for length in [0, 1, 7, 100, 3000] {
            // Few different values, so that there are many ties.
            let scores: Vec<f32> = (0..length)
                .map(|_| random.random_range(0..500) as f32 - 250.0)
                .collect();
            let mut sorted: Vec<_> = (0..length)
                .map(|index| Scored {
                    score: scores[index],
                    index,
                })
                .collect();
            sorted.sort_by(Scored::order);
            for count in [0, 1, 2, 20, 99, 100, 4000] {
                let expected = &sorted[..count.min(length)];
                assert_eq!(top(&scores, count), expected, "{count} of {length}");
            }
        }
    }

    #[test]
    fn excluded_scores_are_not_kept() {
        let scores = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        assert_eq!(
            top(&scores, 3),
            [Scored {
                score: 1.0,
                index: 1
            }]
        );
    }
}
