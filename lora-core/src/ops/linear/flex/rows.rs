//! What is done row by row in linear layers.

use macerator::Simd;
use rayon::prelude::*;

use crate::ops::flex::rows_at_once;
use crate::ops::simd::fma;

/// Sets each row of `out` to the bias (0 if it is empty) and `scaling · narrow·B`, where `narrow` has
/// rows of `rank` and `b` rows of `width` values.
#[macerator::with_simd]
pub(super) fn set_products<S: Simd>(
    out: &mut [f32],
    bias: &[f32],
    narrow: &[f32],
    b: &[f32],
    scaling: f32,
    rank: usize,
    width: usize,
) {
    for (out, narrow) in out.chunks_exact_mut(width).zip(narrow.chunks_exact(rank)) {
        match bias.is_empty() {
            true => out.fill(0.0),
            false => out.copy_from_slice(bias),
        }
        // Four at a time: then each value of the row is read and written a quarter as often.
        let (quads, rest) = narrow.as_chunks::<4>();
        for (quad, b) in quads.iter().zip(b.chunks_exact(4 * width)) {
            let (b0, b) = b.split_at(width);
            let (b1, b) = b.split_at(width);
            let (b2, b3) = b.split_at(width);
            let b3 = &b3[..width];
            let [n0, n1, n2, n3] = quad.map(|value| value * scaling);
            for i in 0..width {
                let sum = fma::<S>(n0, b0[i], out[i]);
                let sum = fma::<S>(n1, b1[i], sum);
                let sum = fma::<S>(n2, b2[i], sum);
                out[i] = fma::<S>(n3, b3[i], sum);
            }
        }
        for (value, b) in rest
            .iter()
            .zip(b[4 * quads.len() * width..].chunks_exact(width))
        {
            let value = value * scaling;
            for (out, b) in out.iter_mut().zip(b) {
                *out = fma::<S>(value, *b, *out);
            }
        }
    }
}

/// The sum of all rows of `width` values.
pub(super) fn sum_rows(values: &[f32], width: usize) -> Vec<f32> {
    let width = width.max(1);
    let threads = rayon::current_num_threads().max(1);
    let rows = rows_at_once(width).max(values.len() / width / threads + 1);
    let parts = values.par_chunks(rows * width).map(|rows| {
        let mut sum = vec![0.0; width];
        add_rows(rows, &mut sum);
        sum
    });
    let parts: Vec<Vec<f32>> = parts.collect();
    let mut sum = vec![0.0; width];
    parts.iter().for_each(|part| add_rows(part, &mut sum));
    sum
}

/// Adds each of the rows, which are as long as it, to `sum`.
#[macerator::with_simd]
pub(super) fn add_rows<S: Simd>(rows: &[f32], sum: &mut [f32]) {
    for row in rows.chunks_exact(sum.len().max(1)) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
