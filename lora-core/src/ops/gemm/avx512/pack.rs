//! Brings the sides of a product into the order in which they are read.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{DEPTH, HEIGHT, LANES, VECTORS, WIDTH};
use crate::ops::gemm::Terms;

/// How many rows before they are copied those of the right-hand side are asked for.
const AHEAD: usize = 24;

/// Writes the values `part` of `rows` side by side, value by value, as if there were `HEIGHT` rows; the
/// missing ones are zeros. What follows them in `to` is overwritten.
#[target_feature(enable = "avx512f")]
pub(super) fn pack(a: &[f32], k: usize, rows: Range<usize>, part: Range<usize>, to: &mut [f32]) {
    let next = a.as_ptr().wrapping_add(rows.end * k + part.start);
    let rows: [&[f32]; HEIGHT] = lines(a, k, rows, &part);
    let whole = part.len() - part.len() % LANES;
    for i in (0..whole).step_by(LANES) {
        let mut vectors = [_mm512_setzero_ps(); LANES];
        for r in 0..HEIGHT {
            vectors[r] = load(&rows[r][i..]);
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(r * k + i).cast());
        }
        transpose(&mut vectors);
        // Eight values each, of which the next ones overwrite two.
        let to = &mut to[i * HEIGHT..][..LANES * HEIGHT + 2];
        for j in 0..LANES {
            store_half(&mut to[j * HEIGHT..], vectors[j]);
        }
    }
    for i in whole..part.len() {
        for (to, row) in to[i * HEIGHT..].iter_mut().zip(rows) {
            *to = row[i];
        }
    }
}

/// Writes the values `part` of the rows `columns` of `b` as columns, as if there were `WIDTH`; the
/// missing ones are zeros.
#[target_feature(enable = "avx512f")]
pub(super) fn turn(b: &[f32], k: usize, columns: Range<usize>, part: Range<usize>, to: &mut [f32]) {
    let whole = part.len() - part.len() % LANES;
    for first in (0..WIDTH).step_by(LANES) {
        let start = columns.end.min(columns.start + first);
        let rows: [&[f32]; LANES] = lines(b, k, start..columns.end.min(start + LANES), &part);
        for i in (0..whole).step_by(LANES) {
            let mut vectors = [_mm512_setzero_ps(); LANES];
            for j in 0..LANES {
                vectors[j] = load(&rows[j][i..]);
            }
            transpose(&mut vectors);
            let to = &mut to[i * WIDTH + first..][..(LANES - 1) * WIDTH + LANES];
            for j in 0..LANES {
                store(&mut to[j * WIDTH..], vectors[j]);
            }
        }
        for i in whole..part.len() {
            for (to, row) in to[i * WIDTH + first..].iter_mut().zip(rows) {
                *to = row[i];
            }
        }
    }
}

/// The values `part` of `rows`, `k` values apart; those that are missing are zeros.
fn lines<'a, const N: usize>(
    values: &'a [f32],
    k: usize,
    rows: Range<usize>,
    part: &Range<usize>,
) -> [&'a [f32]; N] {
    static ZEROS: [f32; DEPTH] = [0.0; DEPTH];
    std::array::from_fn(|r| match rows.start + r {
        row if row < rows.end => &values[row * k..][part.clone()],
        _ => &ZEROS[..part.len()],
    })
}

/// Writes the columns `columns` of the rows `part` of `b`, which has `n` columns, as if there were `WIDTH`;
/// the missing ones are zeros.
#[target_feature(enable = "avx512f")]
pub(super) fn copy(b: &[f32], n: usize, columns: Range<usize>, part: Range<usize>, to: &mut [f32]) {
    for (i, to) in part.zip(to.chunks_exact_mut(WIDTH)) {
        let row = &b[i * n..][columns.clone()];
        for v in 0..VECTORS {
            let line = row.as_ptr().wrapping_add(AHEAD * n + v * LANES);
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
        fill(row, to);
    }
}

/// Writes what the terms add to the common side of six rows, as if there were `HEIGHT`.
#[target_feature(enable = "avx512f")]
pub(super) fn lengthen(terms: &Terms, rows: Range<usize>, to: &mut [f32]) {
    let rank = terms.rank;
    for (r, row) in (0..HEIGHT).zip(rows.start..) {
        let is_used = rows.contains(&row);
        for j in 0..rank {
            to[j * HEIGHT + r] = match is_used {
                true => terms.scaling * terms.narrow[row * rank + j],
                false => 0.0,
            };
        }
        if !terms.bias.is_empty() {
            to[rank * HEIGHT + r] = if is_used { 1.0 } else { 0.0 };
        }
    }
}

/// Writes what the terms, of `n` columns, add to the common side of `columns`, as if there were `WIDTH`.
#[target_feature(enable = "avx512f")]
pub(super) fn lengthen_panel(terms: &Terms, n: usize, columns: Range<usize>, to: &mut [f32]) {
    let wide = terms.wide.chunks_exact(n);
    let bias = Some(terms.bias).filter(|bias| !bias.is_empty());
    for (row, to) in wide.chain(bias).zip(to.chunks_exact_mut(WIDTH)) {
        fill(&row[columns.clone()], to);
    }
}

/// Writes the values, of which there may be fewer than `to` has room for; the missing ones are zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn fill(values: &[f32], to: &mut [f32]) {
    if values.len() == WIDTH {
        for v in 0..VECTORS {
            store(&mut to[v * LANES..], load(&values[v * LANES..]));
        }
        return;
    }
    let (used, rest) = to.split_at_mut(values.len());
    used.copy_from_slice(values);
    rest.fill(0.0);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32]) -> __m512 {
    let values = &values[..LANES];
    // SAFETY: there are as many values as the vector has.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(to: &mut [f32], vector: __m512) {
    let to = &mut to[..LANES];
    // SAFETY: there is room for the vector.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), vector) }
}

/// Stores the first half of the vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_half(to: &mut [f32], vector: __m512) {
    let to = &mut to[..LANES / 2];
    // SAFETY: there is room for half of the vector.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), _mm512_castps512_ps256(vector)) }
}

/// Puts the transpose of 16 by 16 values in their place: by pairs, by fours, and by quarters of a vector.
///
/// Loops and no closures, which would not be compiled into this function but be called, with all vectors
/// in memory.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose(rows: &mut [__m512; LANES]) {
    let mut pairs = [_mm512_setzero_pd(); LANES];
    for i in (0..LANES).step_by(2) {
        pairs[i] = _mm512_castps_pd(_mm512_unpacklo_ps(rows[i], rows[i + 1]));
        pairs[i + 1] = _mm512_castps_pd(_mm512_unpackhi_ps(rows[i], rows[i + 1]));
    }
    // In the quarter q of `fours[4g + j]`: column 4q + j of the rows 4g to 4g + 3.
    let mut fours = [_mm512_setzero_ps(); LANES];
    for i in (0..LANES).step_by(4) {
        for j in 0..2 {
            let (a, b) = (pairs[i + j], pairs[i + j + 2]);
            fours[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            fours[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for j in 0..4 {
        let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
        let (even_ab, odd_ab) = (even_quarters(a, b), odd_quarters(a, b));
        let (even_cd, odd_cd) = (even_quarters(c, d), odd_quarters(c, d));
        rows[j] = even_quarters(even_ab, even_cd);
        rows[4 + j] = even_quarters(odd_ab, odd_cd);
        rows[8 + j] = odd_quarters(even_ab, even_cd);
        rows[12 + j] = odd_quarters(odd_ab, odd_cd);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn even_quarters(a: __m512, b: __m512) -> __m512 {
    _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn odd_quarters(a: __m512, b: __m512) -> __m512 {
    _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b)
}
