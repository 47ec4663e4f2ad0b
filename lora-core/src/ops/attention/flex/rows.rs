//! What happens to the scores of some queries, row by row.

use macerator::{Scalar, Simd, Vector};

use super::scratch::whole;
use crate::ops::dropout::mask::{Mask, RowMask};
use crate::ops::simd::{exp_each, load, numbers, store};

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

    /// What is dropped of a row, if anything is.
    #[inline(always)]
    fn dropped(&self, row: usize) -> Option<RowMask> {
        (!self.mask.is_empty()).then(|| self.mask.row(self.number + row))
    }
}

/// Puts exponentials in place of the scores, without those that are dropped, in rows that begin
/// `apart` values apart. For each row, `logarithms` gets the logarithm of their sum before any was
/// dropped, and `shares` what makes probabilities of them.
#[inline(always)]
pub(super) fn softmax<S: Simd>(
    (scores, apart): (&mut [f32], usize),
    rows: Rows,
    logarithms: &mut [f32],
    shares: &mut [f32],
) {
    let results = logarithms.iter_mut().zip(&mut *shares);
    let scores = scores.chunks_exact_mut(apart).zip(results).enumerate();
    for (row, (scores, (most, sum))) in scores.take(rows.count) {
        let scores = &mut scores[..whole(rows.seen)];
        let visible = rows.visible(row);
        *most = largest::<S>(scores, visible);
        *sum = exponentials::<S>(scores, visible, *most, rows.dropped(row));
    }
    // Apart from the rest, which would lose its registers to the calls.
    for (most, sum) in logarithms.iter_mut().zip(shares).take(rows.count) {
        *most += sum.ln();
        // A query that sees no key has nothing to share out.
        *sum = if *sum == 0.0 { 0.0 } else { 1.0 / *sum };
    }
}

/// The values of the vector `i` of a row that are among its first `visible`, and `hidden` in place of
/// the others.
///
/// All vectors of a row are computed, and this chooses: loops over what each row sees would have the
/// processor guess their ends.
#[inline(always)]
fn or_hidden<S: Simd>(
    values: Vector<S, f32>,
    i: usize,
    visible: usize,
    hidden: f32,
) -> Vector<S, f32> {
    let seen = numbers::<S>(i * S::lanes32()).lt((visible as u32).splat());
    let hidden = hidden.splat::<S>().reinterpret();
    seen.select(values.reinterpret(), hidden).reinterpret()
}

/// The largest of the first `visible` values; NaN is none.
#[inline(always)]
fn largest<S: Simd>(values: &[f32], visible: usize) -> f32 {
    let mut most = f32::NEG_INFINITY.splat::<S>();
    for (i, part) in values.chunks_exact(S::lanes32()).enumerate() {
        let part = or_hidden::<S>(load(part), i, visible, f32::NEG_INFINITY);
        most = part.gt(most).select(part, most);
    }
    most.reduce_max()
}

/// Replaces each score by `exp(score - most)`, or by 0 if it is dropped or not among the first
/// `visible`; gives the sum of all that are.
#[inline(always)]
fn exponentials<S: Simd>(
    scores: &mut [f32],
    visible: usize,
    most: f32,
    dropped: Option<RowMask>,
) -> f32 {
    let lanes = S::lanes32();
    let (most, mut sum) = (most.splat::<S>(), 0f32.splat::<S>());
    for (i, part) in scores.chunks_exact_mut(lanes).enumerate() {
        let mut value = exp_each(load::<S>(part) - most);
        value = or_hidden(value, i, visible, 0.0);
        sum += value;
        if let Some(mask) = dropped {
            value *= mask.factors(i * lanes);
        }
        store(part, value);
    }
    sum.reduce_add()
}

/// From scores and the gradients of the probabilities after dropout, in rows that begin `apart`
/// values apart: the probabilities after dropout in place of the scores, and in place of the
/// gradients those of the products of queries and keys. `before` has room for a row.
#[inline(always)]
pub(super) fn softmax_backward<S: Simd>(
    [scores, gradients]: [&mut [f32]; 2],
    before: &mut [f32],
    apart: usize,
    rows: Rows,
    logarithms: &[f32],
    scale: f32,
) {
    let scores = scores.chunks_exact_mut(apart);
    let both = scores.zip(gradients.chunks_exact_mut(apart));
    for (row, ((scores, gradients), logarithm)) in both.zip(logarithms).enumerate() {
        let [scores, gradients] = [scores, gradients].map(|row| &mut row[..whole(rows.seen)]);
        let dropped = rows.dropped(row);
        let parts = [&mut *scores, &mut *gradients, &mut *before];
        let along = probabilities::<S>(parts, rows.visible(row), *logarithm, dropped);
        let all = match dropped {
            None => &*scores,
            Some(_) => &*before,
        };
        through::<S>(all, gradients, along, scale);
    }
}

/// Makes probabilities of the first `visible` scores, and 0 of the others; gives the sum of their
/// products with `gradients`. If some are dropped, they are also written as they were `before` that,
/// and the gradients become those of these.
#[inline(always)]
fn probabilities<S: Simd>(
    [scores, gradients, before]: [&mut [f32]; 3],
    visible: usize,
    logarithm: f32,
    dropped: Option<RowMask>,
) -> f32 {
    let lanes = S::lanes32();
    let (logarithm, mut sum) = (logarithm.splat::<S>(), 0f32.splat::<S>());
    let gradients = gradients.chunks_exact_mut(lanes);
    let before = before.chunks_exact_mut(lanes);
    let parts = scores.chunks_exact_mut(lanes).zip(gradients).zip(before);
    for (i, ((scores, gradients), before)) in parts.enumerate() {
        let probability = exp_each(load::<S>(scores) - logarithm);
        let probability = or_hidden(probability, i, visible, 0.0);
        // What is hidden may be anything.
        let mut gradient = or_hidden(load::<S>(gradients), i, visible, 0.0);
        let mut kept = probability;
        if let Some(mask) = dropped {
            let factor = mask.factors(i * lanes);
            kept *= factor;
            gradient *= factor;
            store(before, probability);
        }
        store(gradients, gradient);
        sum = probability.mul_add(gradient, sum);
        store(scores, kept);
    }
    sum.reduce_add()
}

/// The gradients of the scores, times `scale`, in place of those of their softmax.
#[inline(always)]
fn through<S: Simd>(probabilities: &[f32], gradients: &mut [f32], along: f32, scale: f32) {
    let lanes = S::lanes32();
    let (along, scale) = (along.splat::<S>(), scale.splat::<S>());
    let probabilities = probabilities.chunks_exact(lanes);
    for (gradients, probability) in gradients.chunks_exact_mut(lanes).zip(probabilities) {
        let gradient = load::<S>(gradients) - along;
        store(gradients, load::<S>(probability) * gradient * scale);
    }
}

/// The sum of all products of two values of whole vectors.
#[inline(always)]
pub(super) fn dot<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    let lanes = S::lanes32();
    let mut sum = 0f32.splat::<S>();
    for (a, b) in a.chunks_exact(lanes).zip(b.chunks_exact(lanes)) {
        sum = load::<S>(a).mul_add(load(b), sum);
    }
    sum.reduce_add()
}
