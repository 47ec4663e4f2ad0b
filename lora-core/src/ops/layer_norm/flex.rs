//! Layer normalisation on Burn's CPU backend.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};
use macerator::Simd;
use rayon::prelude::*;

use crate::ops::backend::{NormGradients, NormState};
use crate::ops::dropout::flex::width;
use crate::ops::dropout::mask::Mask;
use crate::ops::flex::{Buffer, Values, for_rows, rows_at_once, tensor};
use crate::ops::simd::{fma, sum};

/// The norm of `x`, or of its sum with a residual after dropout.
pub(crate) fn forward(
    x: FlexTensor,
    residual: Option<(FlexTensor, Mask)>,
    gamma: FlexTensor,
    beta: FlexTensor,
    epsilon: f64,
) -> (FlexTensor, NormState<Flex>) {
    let x = match residual {
        None => x,
        Some((residual, mask)) => crate::ops::dropout::flex::forward_add(x, residual, mask),
    };
    let x = Values::of(x);
    let shape = x.shape();
    let width = width(&shape);
    let rows = x.len() / width;
    let (scale, shift) = (Values::of(gamma.clone()), Values::of(beta));
    let mut out = Buffer::any(x.len());
    let mut statistics = Buffer::any(2 * rows);
    let chunk = rows_at_once(width);
    let outputs = out.par_chunks_mut(chunk * width);
    let statistics_chunks = statistics.par_chunks_mut(chunk * 2);
    let inputs = x.par_chunks(chunk * width);
    inputs
        .zip(outputs)
        .zip(statistics_chunks)
        .for_each(|((x, out), statistics)| {
            normalise(x, &scale, &shift, epsilon as f32, out, statistics);
        });
    let state = NormState {
        x: x.into_tensor(),
        statistics: tensor(statistics, Shape::new([rows, 2])),
        gamma,
    };
    (tensor(out, shape), state)
}

#[macerator::with_simd]
fn normalise<S: Simd>(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
    out: &mut [f32],
    statistics: &mut [f32],
) {
    let width = gamma.len();
    let beta = &beta[..width];
    let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
    for ((x, out), statistics) in rows.zip(statistics.as_chunks_mut::<2>().0) {
        let mean = sum(width, |i| x[i]) / width as f32;
        let variance = sum(width, |i| (x[i] - mean) * (x[i] - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for i in 0..width {
            out[i] = fma::<S>((x[i] - mean) * inverse, gamma[i], beta[i]);
        }
        *statistics = [mean, inverse];
    }
}

/// The gradients of the sum that was normalised, and of `γ` and `β` if `affine`.
pub(crate) fn backward(
    state: NormState<Flex>,
    gradient: FlexTensor,
    affine: bool,
) -> NormGradients<Flex> {
    let x = Values::of(state.x);
    let (statistics, gamma) = (Values::of(state.statistics), Values::of(state.gamma));
    let mut gradient = Values::of(gradient);
    let width = gamma.len();
    let affine = match affine {
        true => affine_gradients(&x, &statistics, &gradient, width).map(Some),
        false => [None, None],
    };
    let shape = gradient.shape();
    let rows = |first: usize, values: &mut [f32]| {
        let x = &x[first * width..][..values.len()];
        let statistics = &statistics[first * 2..][..values.len() / width * 2];
        input_gradient(x, &gamma, statistics, values);
    };
    let sum = match gradient.unique() {
        Some(values) => {
            for_rows(values, width, rows);
            gradient.into_tensor()
        }
        None => {
            let mut out = Buffer::copy(&gradient);
            for_rows(&mut out, width, rows);
            tensor(out, shape)
        }
    };
    NormGradients { sum, affine }
}

/// With `n` the normalised values and `g` the gradient times `γ`:
/// `(g - mean(g) - n · mean(g·n)) / √(variance + ε)`.
#[macerator::with_simd]
fn input_gradient<S: Simd>(x: &[f32], gamma: &[f32], statistics: &[f32], gradient: &mut [f32]) {
    let width = gamma.len();
    let rows = x.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
    for ((x, gradient), [mean, inverse]) in rows.zip(statistics.as_chunks::<2>().0) {
        let normalised = |i: usize| (x[i] - mean) * inverse;
        let average = sum(width, |i| gradient[i] * gamma[i]) / width as f32;
        let along = sum(width, |i| gradient[i] * gamma[i] * normalised(i)) / width as f32;
        for i in 0..width {
            let rest = fma::<S>(gradient[i], gamma[i], -average);
            gradient[i] = inverse * fma::<S>(-normalised(i), along, rest);
        }
    }
}

/// The gradients of `γ` and `β`: sums over all rows.
fn affine_gradients(
    x: &[f32],
    statistics: &[f32],
    gradient: &[f32],
    width: usize,
) -> [FlexTensor; 2] {
    let rows = rows_at_once(width).max(x.len() / width / rayon::current_num_threads().max(1) + 1);
    let chunks = x
        .par_chunks(rows * width)
        .zip(gradient.par_chunks(rows * width))
        .zip(statistics.par_chunks(rows * 2));
    let parts: Vec<Vec<f32>> = chunks
        .map(|((x, gradient), statistics)| {
            let mut sums = vec![0.0; 2 * width];
            affine_sums(x, statistics, gradient, &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0; 2 * width];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(a, b)| *a += b);
    }
    let (gamma, beta) = total.split_at(width);
    [gamma, beta].map(|values| tensor(Buffer::copy(values), Shape::new([width])))
}

#[macerator::with_simd]
fn affine_sums<S: Simd>(x: &[f32], statistics: &[f32], gradient: &[f32], sums: &mut [f32]) {
    let width = sums.len() / 2;
    let (gamma, beta) = sums.split_at_mut(width);
    let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
    for ((x, gradient), [mean, inverse]) in rows.zip(statistics.as_chunks::<2>().0) {
        for i in 0..width {
            gamma[i] = fma::<S>(gradient[i], (x[i] - mean) * inverse, gamma[i]);
            beta[i] += gradient[i];
        }
    }
}
