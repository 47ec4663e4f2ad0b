//! GELU on Burn's CPU backend.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

use burn::backend::flex::FlexTensor;
use macerator::Simd;

use super::Gelu;
use crate::ops::flex::{Buffer, Values, map_chunks, tensor};
use crate::ops::simd::{erf, exp, fma};

/// The density of the standard normal distribution at 0.
const DENSITY: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5;
/// `2·√(2/π)`.
const SCALE: f32 = FRAC_2_SQRT_PI * SQRT_2;
const CUBIC: f32 = 0.044715;

pub(crate) fn forward(x: FlexTensor, form: Gelu) -> FlexTensor {
    let x = Values::of(x);
    let mut out = Buffer::any(x.len());
    map_chunks(&x, &mut out, |x, out| match form {
        Gelu::Exact => exact(x, out),
        Gelu::Tanh => by_tanh(x, out),
    });
    tensor(out, x.shape())
}

pub(crate) fn backward(x: FlexTensor, gradient: FlexTensor, form: Gelu) -> FlexTensor {
    let x = Values::of(x);
    let mut gradient = Values::of(gradient);
    let scale = |x: &[f32], gradient: &mut [f32]| match form {
        Gelu::Exact => scale_by_exact_slope(x, gradient),
        Gelu::Tanh => scale_by_tanh_slope(x, gradient),
    };
    if let Some(values) = gradient.unique() {
        map_chunks(&x, values, scale);
        return gradient.into_tensor();
    }
    let mut out = Buffer::copy(&gradient);
    map_chunks(&x, &mut out, scale);
    tensor(out, x.shape())
}

#[macerator::with_simd]
fn exact<S: Simd>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = x * cumulative::<S>(*x);
    }
}

#[macerator::with_simd]
fn scale_by_exact_slope<S: Simd>(x: &[f32], gradient: &mut [f32]) {
    for (gradient, x) in gradient.iter_mut().zip(x) {
        let density = DENSITY * exp::<S>(-0.5 * x * x);
        *gradient *= fma::<S>(*x, density, cumulative::<S>(*x));
    }
}

/// The standard normal distribution's function `Φ`.
#[inline(always)]
fn cumulative<S: Simd>(x: f32) -> f32 {
    fma::<S>(0.5, erf::<S>(x * FRAC_1_SQRT_2), 0.5)
}

#[macerator::with_simd]
fn by_tanh<S: Simd>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = x * sigmoid::<S>(*x);
    }
}

#[macerator::with_simd]
fn scale_by_tanh_slope<S: Simd>(x: &[f32], gradient: &mut [f32]) {
    for (gradient, x) in gradient.iter_mut().zip(x) {
        let sigmoid = sigmoid::<S>(*x);
        let inner = fma::<S>(x * x, 3.0 * CUBIC * SCALE, SCALE);
        *gradient *= fma::<S>(x * inner, sigmoid * (1.0 - sigmoid), sigmoid);
    }
}

/// `1/2 · (1 + tanh u) = 1 / (1 + e⁻²ᵘ)` with `u = √(2/π) · (x + 0.044715 x³)`.
#[inline(always)]
fn sigmoid<S: Simd>(x: f32) -> f32 {
    let twice = x * fma::<S>(x * x, CUBIC * SCALE, SCALE);
    1.0 / (1.0 + exp::<S>(-twice))
}
