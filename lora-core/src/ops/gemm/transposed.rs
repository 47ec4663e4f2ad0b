//! Products with a transposed right-hand side, `a·bᵀ`: what the backward pass of a linear layer does
//! with its weight. With AVX-512; the library for products is behind here, because its way through the
//! columns of `b` touches a page for each value.
//!
//! A thread takes some rows of `a` and writes them side by side, six at a time, into memory that stays
//! in its second-level cache. Then it turns 64 rows of `b` at a time, and multiplies all its rows with
//! them. The sums of six rows and 64 columns are in registers.

use std::arch::x86_64::*;
use std::ops::Range;

use rayon::prelude::*;

use super::Matrix;
use crate::ops::flex::Buffer;

/// The rows and columns whose sums are in registers, the columns in vectors of `LANES`.
const HEIGHT: usize = 6;
const WIDTH: usize = VECTORS * LANES;
const VECTORS: usize = 4;
const LANES: usize = 16;

/// How much of the common side is multiplied at a time: so many values of 64 rows of `b` and of the
/// rows of `a` are in the second-level cache together.
const DEPTH: usize = 768;

/// The fewest and the most rows of a job: with fewer, turning `b` costs too much of what is then done
/// with it; more would not stay in the cache.
const ROWS: Range<usize> = 192..512;

/// How far ahead of its use the left-hand side is asked for.
const AHEAD: usize = 32 * HEIGHT;

/// Writes `to = a·bᵀ`, or adds it to what `to` has if `add`, where that is worthwhile: then it is true.
/// For `[m, n, k]`, `a` has `m` rows and `b` has `n`, both of `k` values.
///
/// # Panics
///
/// Panics if the slices do not have the sizes of their matrices.
pub(crate) fn multiply_if_faster(
    [m, n, k]: [usize; 3],
    to: &mut [f32],
    add: bool,
    a: &[f32],
    b: &[f32],
) -> bool {
    if m < ROWS.start || n < WIDTH || k < LANES || !is_x86_feature_detected!("avx512f") {
        return false;
    }
    assert_eq!(
        [a.len(), b.len(), to.len()],
        [m * k, n * k, m * n],
        "sizes of a product"
    );
    let product = Product {
        a,
        b,
        k,
        to: Matrix::of_mut(to, n),
        add,
    };
    let jobs = jobs(m, n, rayon::current_num_threads().max(1));
    jobs.into_par_iter().with_max_len(1).for_each(|job| {
        // SAFETY: the processor has the instructions, the slices are as long as their shapes ask, `to` is
        // borrowed for writing until all jobs are done, and no two of them have a row and a column of it
        // in common.
        unsafe { product.run(job) };
    });
    true
}

/// The rows and columns of the product that are computed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

/// Shares `m` rows and `n` columns out to the threads: by rows, as far as there are enough of them. A job
/// begins at a multiple of 6 rows and of 64 columns.
pub(crate) fn jobs(m: usize, n: usize, threads: usize) -> Vec<Job> {
    let mut parts = threads.min(m / ROWS.start).max(1);
    if m > parts * ROWS.end {
        parts = m.div_ceil(ROWS.end).next_multiple_of(parts);
    }
    let height = m.div_ceil(parts).next_multiple_of(HEIGHT);
    let ranges = threads.div_ceil(parts);
    let width = n.div_ceil(ranges).next_multiple_of(WIDTH);
    let columns = (0..n)
        .step_by(width)
        .map(|first| first..n.min(first + width));
    let rows = (0..m)
        .step_by(height)
        .map(|first| first..m.min(first + height));
    let job = |(rows, columns)| Job { rows, columns };
    rows.flat_map(|rows| columns.clone().map(move |columns| (rows.clone(), columns)))
        .map(job)
        .collect()
}

/// `to = a·bᵀ`, or added to `to`.
struct Product<'a> {
    /// Rows of `k` values.
    a: &'a [f32],
    b: &'a [f32],
    k: usize,
    to: Matrix,
    add: bool,
}

impl Product<'_> {
    /// # Safety
    ///
    /// The processor must have AVX-512, and the matrices the rows and columns of `job`, of which nobody
    /// else reads or writes those of `to`.
    #[target_feature(enable = "avx512f")]
    unsafe fn run(&self, job: Job) {
        let strips = job.rows.len().div_ceil(HEIGHT);
        let depth = DEPTH.min(self.k);
        // One vector more than is used: the last row that is packed is written with it.
        let mut left = Buffer::any(strips * HEIGHT * depth + LANES);
        let mut right = Buffer::any(WIDTH * depth);
        for start in (0..self.k).step_by(DEPTH) {
            let part = start..self.k.min(start + DEPTH);
            let strip = HEIGHT * part.len();
            for (index, row) in job.rows.clone().step_by(HEIGHT).enumerate() {
                let rows = HEIGHT.min(job.rows.end - row);
                pack(
                    self.a,
                    self.k,
                    row..row + rows,
                    part.clone(),
                    &mut left[index * strip..],
                );
            }
            for column in job.columns.clone().step_by(WIDTH) {
                let columns = column..job.columns.end.min(column + WIDTH);
                turn(self.b, self.k, columns.clone(), part.clone(), &mut right);
                for (index, row) in job.rows.clone().step_by(HEIGHT).enumerate() {
                    let used = [HEIGHT.min(job.rows.end - row), columns.len()];
                    let to = self.to.from(row, column);
                    let add = self.add || start > 0;
                    // SAFETY: `to` has these rows and columns, which only this job uses.
                    unsafe { tile(&left[index * strip..][..strip], &right, to, used, add) };
                }
            }
        }
    }
}

/// Writes the values `part` of `rows` side by side, value by value, as if there were `HEIGHT` rows; the
/// missing ones are zeros. What follows them in `to` is overwritten.
#[target_feature(enable = "avx512f")]
fn pack(a: &[f32], k: usize, rows: Range<usize>, part: Range<usize>, to: &mut [f32]) {
    let row = |r: usize| &a[(rows.start + r) * k..][part.clone()];
    let whole = part.len() - part.len() % LANES;
    for i in (0..whole).step_by(LANES) {
        let mut vectors = [_mm512_setzero_ps(); LANES];
        for (r, vector) in vectors[..rows.len()].iter_mut().enumerate() {
            *vector = load(&row(r)[i..]);
        }
        transpose(&mut vectors);
        for (j, column) in vectors.into_iter().enumerate() {
            // Eight values, of which the next ones overwrite two.
            store_half(&mut to[(i + j) * HEIGHT..], column);
        }
    }
    for i in whole..part.len() {
        for r in 0..HEIGHT {
            to[i * HEIGHT + r] = if r < rows.len() { row(r)[i] } else { 0.0 };
        }
    }
}

/// Writes the values `part` of the rows `columns` of `b` as columns, as if there were `WIDTH`; the
/// missing ones are zeros.
#[target_feature(enable = "avx512f")]
fn turn(b: &[f32], k: usize, columns: Range<usize>, part: Range<usize>, to: &mut [f32]) {
    let row = |j: usize| &b[(columns.start + j) * k..][part.clone()];
    let whole = part.len() - part.len() % LANES;
    for first in (0..WIDTH).step_by(LANES) {
        let used = columns.len().saturating_sub(first).min(LANES);
        for i in (0..whole).step_by(LANES) {
            let mut vectors = [_mm512_setzero_ps(); LANES];
            for (j, vector) in vectors[..used].iter_mut().enumerate() {
                *vector = load(&row(first + j)[i..]);
            }
            transpose(&mut vectors);
            for (j, column) in vectors.into_iter().enumerate() {
                store(&mut to[(i + j) * WIDTH + first..], column);
            }
        }
        for i in whole..part.len() {
            for j in 0..LANES {
                to[i * WIDTH + first + j] = if j < used { row(first + j)[i] } else { 0.0 };
            }
        }
    }
}

/// The product of a packed strip and a turned panel, of which the first `used` rows and columns go to
/// `to`.
///
/// # Safety
///
/// `to` must have these rows and columns, which nobody else reads or writes, and the columns must lie
/// side by side.
#[target_feature(enable = "avx512f")]
unsafe fn tile(left: &[f32], right: &[f32], to: Matrix, used: [usize; 2], add: bool) {
    let k = left.len() / HEIGHT;
    assert!(right.len() >= k * WIDTH);
    for r in 0..used[0] {
        for v in 0..VECTORS {
            _mm_prefetch::<_MM_HINT_T0>(to.from(r, v * LANES).start().cast());
        }
    }
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; HEIGHT];
    let (mut a, mut b) = (left.as_ptr(), right.as_ptr());
    // SAFETY: there are `k` times `HEIGHT` values of `a` and `k` times `WIDTH` of `b`; what is asked for
    // ahead need not be there.
    unsafe {
        for i in 0..k {
            if i % 2 == 0 {
                _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(AHEAD).cast());
            }
            let mut vectors = [_mm512_setzero_ps(); VECTORS];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = _mm512_loadu_ps(b.add(v * LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*a.add(r));
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = _mm512_fmadd_ps(value, vector, *sum);
                }
            }
            a = a.add(HEIGHT);
            b = b.add(WIDTH);
        }
    }
    for (r, sums) in sums.iter().enumerate().take(used[0]) {
        // SAFETY: as asked of the caller.
        let row = unsafe { to.from(r, 0).row_mut(0, used[1]) };
        for (to, sum) in row.chunks_mut(LANES).zip(sums) {
            // No bit for what is beyond the last column.
            let mask = (1u32 << to.len()).wrapping_sub(1) as u16;
            // SAFETY: the mask has as many bits as there are values.
            unsafe {
                let sum = match add {
                    true => _mm512_add_ps(*sum, _mm512_maskz_loadu_ps(mask, to.as_ptr())),
                    false => *sum,
                };
                _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, sum);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::panels::matrices::values;

    /// Compares with a product in 64-bit numbers, if the processor has the instructions.
    fn check([m, n, k]: [usize; 3], add: bool) {
        let (a, b, start) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
        let mut found = start.clone();
        if !multiply_if_faster([m, n, k], &mut found, add, &a, &b) {
            assert_eq!(found, start, "nothing may be written");
            assert!(!is_x86_feature_detected!("avx512f"));
            return;
        }
        for (place, found) in found.into_iter().enumerate() {
            let (row, column) = (place / n, place % n);
            let products = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[column * k + i]));
            let before = if add { f64::from(start[place]) } else { 0.0 };
            let expected = before + products.sum::<f64>();
            assert!(
                (f64::from(found) - expected).abs() <= 1e-4,
                "{row} {column}: {found} {expected}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn is_the_product_for_any_shape(m in 192usize..230, n in 64usize..200, k in 16usize..100, add: bool) {
            check([m, n, k], add);
        }
    }

    #[test]
    fn is_the_product_where_the_common_side_is_longer_than_what_is_done_at_a_time() {
        check([193, 70, DEPTH + 17], false);
        check([193, 70, DEPTH + 17], true);
        check([1100, 130, 33], true);
    }

    #[test]
    fn small_products_are_left_to_others() {
        for shape in [[191, 64, 16], [192, 63, 16], [192, 64, 15]] {
            let [m, n, k] = shape;
            let mut to = vec![1.5; m * n];
            let (a, b) = (values(m * k, 1), values(n * k, 2));
            assert!(!multiply_if_faster(shape, &mut to, false, &a, &b));
            assert!(to.iter().all(|value| *value == 1.5));
        }
    }

    #[test]
    fn every_row_and_column_is_in_one_job() {
        for (m, n, threads) in [
            (192, 64, 1),
            (192, 768, 2),
            (1024, 768, 2),
            (1000, 100, 3),
            (5000, 3072, 2),
            (400, 3072, 16),
        ] {
            let mut covered = vec![0; m * n];
            let jobs = jobs(m, n, threads);
            assert!(jobs.len() >= threads.min(n / WIDTH), "{m} {n} {threads}");
            for job in jobs {
                assert!(job.rows.len() <= ROWS.end + HEIGHT);
                for row in job.rows {
                    for column in job.columns.clone() {
                        covered[row * n + column] += 1;
                    }
                }
            }
            assert!(covered.iter().all(|count| *count == 1), "{m} {n} {threads}");
        }
    }
}
