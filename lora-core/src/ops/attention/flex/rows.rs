//! What happens to the scores of some queries, row by row.

use macerator::Simd;

use crate::ops::dropout::mask::Mask;
use crate::ops::simd::{LANES, exp, largest, sum};

/// Some queries of one head of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// The first query's row in the matrix of all queries.
    pub(super) first: usize,
    /// The number of queries.
    pub(super) count: usize,
    /// The number of keys that the last of them sees: the width of the scores.
    pub(super) seen: usize,
    /// The first query's place among the keys, if it sees only those up to there.
    pub(super) place: Option<isize>,
    pub(super) mask: Mask,
    /// The first query's number among those of all heads, for dropout.
    pub(super) number: usize,
}

impl Rows {
    /// How many keys the query `row` sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> usize {
        match self.place {
            None => self.seen,
            Some(place) => (place + row as isize + 1).clamp(0, self.seen as isize) as usize,
        }
    }
}

/// Makes probabilities of scores, without those that are dropped, and puts the logarithm of each
/// row's sum of exponentials into `logarithms`.
#[macerator::with_simd]
pub(super) fn softmax<S: Simd>(scores: &mut [f32], rows: Rows, logarithms: &mut [f32]) {
    if rows.seen == 0 {
        return;
    }
    for (row, (scores, logarithm)) in scores
        .chunks_exact_mut(rows.seen)
        .zip(logarithms)
        .enumerate()
    {
        let (scores, hidden) = scores.split_at_mut(rows.visible(row));
        hidden.fill(0.0);
        let most = largest(scores);
        let total = exponentials::<S>(scores, most);
        *logarithm = most + total.ln();
        let share = 1.0 / total;
        if rows.mask.is_empty() {
            scores.iter_mut().for_each(|score| *score *= share);
        } else {
            let mask = rows.mask.row(rows.number + row);
            for (column, score) in scores.iter_mut().enumerate() {
                *score *= share * mask.factor(column);
            }
        }
    }
}

/// Replaces each score by `exp(score - most)`; gives their sum.
#[inline(always)]
fn exponentials<S: Simd>(scores: &mut [f32], most: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (score, sum) in chunk.iter_mut().zip(&mut sums) {
            *score = exp::<S>(*score - most);
            *sum += *score;
        }
    }
    let mut total = sums.iter().sum::<f32>();
    for score in rest {
        *score = exp::<S>(*score - most);
        total += *score;
    }
    total
}

/// From scores and the gradients of the probabilities after dropout: the probabilities after dropout
/// in place of the scores, and in place of the gradients those of the products of queries and keys.
#[macerator::with_simd]
pub(super) fn softmax_backward<S: Simd>(
    scores: &mut [f32],
    gradients: &mut [f32],
    rows: Rows,
    logarithms: &[f32],
    scale: f32,
) {
    if rows.seen == 0 {
        return;
    }
    let scores = scores.chunks_exact_mut(rows.seen);
    let gradients = gradients.chunks_exact_mut(rows.seen);
    for (row, ((scores, gradients), logarithm)) in scores.zip(gradients).zip(logarithms).enumerate()
    {
        let visible = rows.visible(row);
        let (scores, hidden) = scores.split_at_mut(visible);
        hidden.fill(0.0);
        let (gradients, hidden) = gradients.split_at_mut(visible);
        hidden.fill(0.0);
        let dropped = !rows.mask.is_empty();
        let mask = rows.mask.row(rows.number + row);
        for score in scores.iter_mut() {
            *score = exp::<S>(*score - logarithm);
        }
        if dropped {
            for (column, gradient) in gradients.iter_mut().enumerate() {
                *gradient *= mask.factor(column);
            }
        }
        let along = sum(visible, |i| scores[i] * gradients[i]);
        for (gradient, probability) in gradients.iter_mut().zip(scores.iter()) {
            *gradient = probability * (*gradient - along) * scale;
        }
        if dropped {
            for (column, probability) in scores.iter_mut().enumerate() {
                *probability *= mask.factor(column);
            }
        }
    }
}
