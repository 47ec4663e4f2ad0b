//! Cross-entropy on Burn's CPU backend.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};
use macerator::Simd;
use rayon::prelude::*;

use super::Targets;
use crate::ops::backend::CrossEntropyState;
use crate::ops::flex::{Buffer, Values, for_rows, rows_at_once, tensor};
use crate::ops::simd::{LANES, at_least, exp, fma, sum};

/// The loss of each row, and what the backward pass needs.
pub(crate) fn forward(
    logits: FlexTensor,
    targets: &Targets,
) -> (FlexTensor, CrossEntropyState<Flex>) {
    let logits = Values::of(logits);
    let rows = targets.classes.len();
    let width = logits.len() / rows.max(1);
    let mut losses = Buffer::any(rows);
    let mut normalisers = Buffer::any(rows);
    let at_once = rows_at_once(width);
    let outputs = losses
        .par_chunks_mut(at_once)
        .zip(normalisers.par_chunks_mut(at_once));
    // Without classes there are no rows either: a target is one of them.
    let inputs = logits.par_chunks((at_once * width).max(1));
    inputs
        .zip(outputs)
        .zip(targets.classes.par_chunks(at_once))
        .for_each(|((logits, (losses, normalisers)), classes)| {
            entropies(logits, classes, targets.smoothing, losses, normalisers);
        });
    let state = CrossEntropyState {
        logits: logits.into_tensor(),
        normalisers: tensor(normalisers, Shape::new([rows])),
    };
    (tensor(losses, Shape::new([rows])), state)
}

#[macerator::with_simd]
fn entropies<S: Simd>(
    logits: &[f32],
    classes: &[usize],
    smoothing: f32,
    losses: &mut [f32],
    normalisers: &mut [f32],
) {
    let width = logits.len() / classes.len();
    let rows = logits.chunks_exact(width).zip(classes);
    for (row, (x, class)) in rows.enumerate() {
        let most = largest(x);
        let total = sum(width, |i| exp::<S>(x[i] - most));
        let normaliser = most + total.ln();
        normalisers[row] = normaliser;
        losses[row] = normaliser - x[*class];
        if smoothing != 0.0 {
            let mean = sum(width, |i| x[i]) / width as f32;
            losses[row] = fma::<S>(smoothing, x[*class] - mean, losses[row]);
        }
    }
}

/// The largest value of a row that has some; anything if one is not a number.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = at_least(*x, *most);
        }
    }
    let all = most.iter().chain(rest).copied();
    all.fold(f32::NEG_INFINITY, |most, x| at_least(x, most))
}

/// The gradients of the logits: `g·(softmax - (1 - ε)·[is the target] - ε/classes)`.
pub(crate) fn backward(
    state: CrossEntropyState<Flex>,
    gradient: FlexTensor,
    targets: &Targets,
) -> FlexTensor {
    let mut logits = Values::of(state.logits);
    let (normalisers, gradient) = (Values::of(state.normalisers), Values::of(gradient));
    let shape = logits.shape();
    let rows = targets.classes.len();
    let width = logits.len() / rows.max(1);
    let slopes = |first: usize, values: &mut [f32]| {
        for (row, values) in (first..).zip(values.chunks_mut(width)) {
            let uniform = targets.smoothing / width as f32;
            scaled_softmax(values, normalisers[row], gradient[row], uniform);
            values[targets.classes[row]] -= gradient[row] * (1.0 - targets.smoothing);
        }
    };
    if let Some(values) = logits.unique() {
        for_rows(values, width, slopes);
        return logits.into_tensor();
    }
    let mut out = Buffer::copy(&logits);
    for_rows(&mut out, width, slopes);
    tensor(out, shape)
}

#[macerator::with_simd]
fn scaled_softmax<S: Simd>(x: &mut [f32], normaliser: f32, gradient: f32, uniform: f32) {
    for x in x {
        *x = gradient * (exp::<S>(*x - normaliser) - uniform);
    }
}
