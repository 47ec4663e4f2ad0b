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
    let (scale, shift) = (Values::of(gamma.clone()), Values::of(beta.clone()));
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
    let output = tensor(out, shape);
    let goes_back = goes_back(&scale, &shift);
    let state = NormState {
        values: match goes_back {
            true => output.clone(),
            false => x.into_tensor(),
        },
        statistics: tensor(statistics, Shape::new([rows, 2])),
        gamma,
        beta: goes_back.then_some(beta),
    };
    (output, state)
}

/// How many times as large as its factor a feature's shift may be for the normalised value to be
/// found from the output: what it loses is this many units in the last place of 1.
const LARGEST_SHIFT: f32 = 16.0;

/// Whether the output says all that a backward pass needs, as it does in most layers of trained
/// models. Other layers keep it anyway, so that the input need not be.
fn goes_back(gamma: &[f32], beta: &[f32]) -> bool {
    let mut features = gamma.iter().zip(beta);
    features.all(|(gamma, beta)| gamma.is_normal() && beta.abs() <= LARGEST_SHIFT * gamma.abs())
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

/// How normalised values come from those that were kept: the input, whose rows have a mean and a
/// scale, or the output, whose features have a shift and a factor.
struct Normalised<'a> {
    values: &'a [f32],
    /// The mean and the inverse standard deviation of each row.
    statistics: &'a [f32],
    /// What is taken from each feature of an output, and what it is multiplied by then.
    features: Option<[&'a [f32]; 2]>,
    width: usize,
}

impl<'a> Normalised<'a> {
    /// Those of some rows.
    fn rows(&self, first: usize, count: usize) -> Normalised<'a> {
        Normalised {
            values: &self.values[first * self.width..][..count * self.width],
            statistics: &self.statistics[first * 2..][..count * 2],
            ..*self
        }
    }
}

/// The gradients of the sum that was normalised, and of `γ` and `β` if `affine`.
pub(crate) fn backward(
    state: NormState<Flex>,
    gradient: FlexTensor,
    affine: bool,
) -> NormGradients<Flex> {
    let values = Values::of(state.values);
    let (statistics, gamma) = (Values::of(state.statistics), Values::of(state.gamma));
    let beta = state.beta.map(Values::of);
    let factors: Vec<f32> = gamma.iter().map(|gamma| gamma.recip()).collect();
    let mut gradient = Values::of(gradient);
    let width = gamma.len();
    let normalised = Normalised {
        values: &values,
        statistics: &statistics,
        features: beta.as_deref().map(|beta| [beta, &factors[..]]),
        width,
    };
    let affine = match affine {
        true => affine_gradients(&normalised, &gradient).map(Some),
        false => [None, None],
    };
    let shape = gradient.shape();
    let rows = |first: usize, values: &mut [f32]| {
        let normalised = normalised.rows(first, values.len() / width);
        let mut buffer = vec![0.0; width];
        input_gradient(&normalised, &gamma, values, &mut buffer);
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

/// Writes the normalised values of one row.
#[inline(always)]
fn normalised_row(from: &Normalised<'_>, row: usize, out: &mut [f32]) {
    let width = out.len();
    let values = &from.values[row * width..][..width];
    match from.features {
        Some([shift, factor]) => {
            let (shift, factor) = (&shift[..width], &factor[..width]);
            for i in 0..width {
                out[i] = (values[i] - shift[i]) * factor[i];
            }
        }
        None => {
            let (mean, inverse) = (from.statistics[2 * row], from.statistics[2 * row + 1]);
            for i in 0..width {
                out[i] = (values[i] - mean) * inverse;
            }
        }
    }
}

/// With `n` the normalised values and `g` the gradient times `γ`:
/// `(g - mean(g) - n · mean(g·n)) / √(variance + ε)`.
#[macerator::with_simd]
fn input_gradient<'a, S: Simd>(
    from: &Normalised<'a>,
    gamma: &[f32],
    gradient: &mut [f32],
    normalised: &mut [f32],
) {
    let width = gamma.len();
    let normalised = &mut normalised[..width];
    for (row, gradient) in gradient.chunks_exact_mut(width).enumerate() {
        normalised_row(from, row, normalised);
        let inverse = from.statistics[2 * row + 1];
        let average = sum(width, |i| gradient[i] * gamma[i]) / width as f32;
        let along = sum(width, |i| gradient[i] * gamma[i] * normalised[i]) / width as f32;
        for i in 0..width {
            let rest = fma::<S>(gradient[i], gamma[i], -average);
            gradient[i] = inverse * fma::<S>(-normalised[i], along, rest);
        }
    }
}

/// The gradients of `γ` and `β`: sums over all rows.
fn affine_gradients(normalised: &Normalised<'_>, gradient: &[f32]) -> [FlexTensor; 2] {
    let width = normalised.width;
    let all = gradient.len() / width;
    let rows = rows_at_once(width).max(all / rayon::current_num_threads().max(1) + 1);
    let chunks = gradient.par_chunks(rows * width).enumerate();
    let parts: Vec<Vec<f32>> = chunks
        .map(|(chunk, gradient)| {
            let mut sums = vec![0.0; 3 * width];
            let normalised = normalised.rows(chunk * rows, gradient.len() / width);
            affine_sums(&normalised, gradient, &mut sums);
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

/// Adds up those of `γ` and `β` at the beginning of `sums`, which is three rows long.
#[macerator::with_simd]
fn affine_sums<'a, S: Simd>(from: &Normalised<'a>, gradient: &[f32], sums: &mut [f32]) {
    let width = sums.len() / 3;
    let (gamma, rest) = sums.split_at_mut(width);
    let (beta, normalised) = rest.split_at_mut(width);
    for (row, gradient) in gradient.chunks_exact(width).enumerate() {
        normalised_row(from, row, normalised);
        for i in 0..width {
            gamma[i] = fma::<S>(gradient[i], normalised[i], gamma[i]);
            beta[i] += gradient[i];
        }
    }
}
