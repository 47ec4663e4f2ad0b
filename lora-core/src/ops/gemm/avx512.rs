//! Products with AVX-512, of many rows and the weight of a layer, or its transpose in the backward pass.
//!
//! A thread takes some rows of `a` and writes them side by side, six at a time, into memory that stays
//! in its second-level cache. Then it brings 64 columns of `b` at a time into place, and multiplies all
//! its rows with them; a thread that has done its own takes over columns of another's. The sums of six
//! rows and 64 columns are in registers.
//!
//! A bias and a low-rank update make the common side of the matrices longer by one and by the rank. So
//! the output is written once.

mod kernel;
mod pack;
mod scratch;

use std::ops::Range;

use rayon::prelude::*;

use super::{Matrix, Terms};
use kernel::tile;
pub(crate) use pack::transpose;
use pack::{copy, lengthen, lengthen_panel, pack, turn};
use scratch::with_scratch;

/// The rows and columns whose sums are in registers, the columns in vectors of `LANES`.
const HEIGHT: usize = 6;
const WIDTH: usize = VECTORS * LANES;
const VECTORS: usize = 4;
const LANES: usize = 16;

/// How much of the common side is multiplied at a time: so many values of 64 columns of `b` and of the
/// rows of `a` are in the second-level cache together.
const DEPTH: usize = 768;

/// The fewest and the most rows of a job: with fewer, bringing `b` into place costs too much of what is
/// then done with it; more would not stay in the cache.
const ROWS: Range<usize> = 192..512;

/// The right-hand side of a product, `[k, n]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) values: &'a [f32],
    /// Whether it is stored as `[n, k]`.
    pub(crate) is_transposed: bool,
}

/// Writes `to = a·b + terms`, or adds that to what `to` has if `add`, where that is worthwhile: then it is
/// true. For `[m, n, k]`, `a` has `m` rows of `k` values.
///
/// # Panics
///
/// Panics if the slices do not have the sizes of their matrices.
pub(crate) fn multiply_if_faster(
    [m, n, k]: [usize; 3],
    to: &mut [f32],
    add: bool,
    a: &[f32],
    b: Right,
    terms: &Terms,
) -> bool {
    if m < ROWS.start || n < WIDTH || k < LANES || !is_x86_feature_detected!("avx512f") {
        return false;
    }
    assert_eq!(
        [a.len(), b.values.len(), to.len()],
        [m * k, n * k, m * n],
        "sizes of a product"
    );
    terms.check(m, n);
    let product = Product {
        a,
        b,
        terms,
        n,
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

/// `to = a·b + terms`, or added to `to`.
struct Product<'a> {
    /// Rows of `k` values.
    a: &'a [f32],
    /// Columns of `k` values, `n` of them.
    b: Right<'a>,
    terms: &'a Terms<'a>,
    n: usize,
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
        let deepest = DEPTH.min(self.k) + self.terms.depth();
        // One vector more than is used: the last row that is packed is written with it.
        with_scratch(strips * HEIGHT * deepest + LANES, |left| {
            for start in (0..self.k).step_by(DEPTH) {
                let part = start..self.k.min(start + DEPTH);
                self.pack_rows(&job.rows, &part, left);
                let left = &*left;
                let columns = job.columns.clone().into_par_iter().step_by(WIDTH);
                // Each can be taken by another thread, to the last.
                columns.with_max_len(1).for_each(|column| {
                    let columns = column..job.columns.end.min(column + WIDTH);
                    with_scratch(WIDTH * deepest, |right| {
                        // SAFETY: as asked of the caller; nobody else has these columns.
                        unsafe { self.panel(left, right, &job.rows, columns, &part) };
                    });
                });
            }
        });
    }

    /// Packs a part of the common side of `rows`.
    #[target_feature(enable = "avx512f")]
    fn pack_rows(&self, rows: &Range<usize>, part: &Range<usize>, left: &mut [f32]) {
        let terms = self.terms_of(part);
        let depth = part.len() + terms.map_or(0, Terms::depth);
        for (index, row) in rows.clone().step_by(HEIGHT).enumerate() {
            let rows = row..rows.end.min(row + HEIGHT);
            let strip = &mut left[index * HEIGHT * depth..];
            pack(self.a, self.k, rows.clone(), part.clone(), strip);
            if let Some(terms) = terms {
                lengthen(terms, rows, &mut strip[HEIGHT * part.len()..]);
            }
        }
    }

    /// The terms that are added together with a part of the common side: with the last one.
    fn terms_of(&self, part: &Range<usize>) -> Option<&Terms<'_>> {
        (part.end == self.k).then_some(self.terms)
    }

    /// Multiplies `rows`, a part of which has been packed to the `left`, with `columns`, which are brought
    /// into place to the `right`.
    ///
    /// # Safety
    ///
    /// As for [`run`](Self::run), with these rows and columns.
    #[target_feature(enable = "avx512f")]
    unsafe fn panel(
        &self,
        left: &[f32],
        right: &mut [f32],
        rows: &Range<usize>,
        columns: Range<usize>,
        part: &Range<usize>,
    ) {
        match self.b.is_transposed {
            true => turn(self.b.values, self.k, columns.clone(), part.clone(), right),
            false => copy(self.b.values, self.n, columns.clone(), part.clone(), right),
        }
        let mut depth = part.len();
        if let Some(terms) = self.terms_of(part) {
            let right = &mut right[WIDTH * depth..];
            lengthen_panel(terms, self.n, columns.clone(), right);
            depth += terms.depth();
        }
        let right = &right[..WIDTH * depth];
        let add = self.add || part.start > 0;
        let strips = left.chunks_exact(HEIGHT * depth);
        for (row, strip) in rows.clone().step_by(HEIGHT).zip(strips) {
            let used = [HEIGHT.min(rows.end - row), columns.len()];
            let to = self.to.from(row, columns.start);
            // SAFETY: `to` has these rows and columns, which only this job uses.
            unsafe { tile(strip, right, to, used, add) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::panels::matrices::values;

    /// Compares with a product in 64-bit numbers, if the processor has the instructions; `rank` and
    /// `has_bias` are those of the terms.
    fn check_with([m, n, k]: [usize; 3], add: bool, rank: usize, has_bias: bool) {
        let (a, b, start) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
        let (narrow, wide, bias) = (values(m * rank, 4), values(rank * n, 5), values(n, 6));
        let terms = Terms {
            narrow: &narrow,
            wide: &wide,
            rank,
            scaling: 0.5,
            bias: if has_bias { &bias } else { &[] },
        };
        for is_transposed in [false, true] {
            let mut found = start.clone();
            let right = Right {
                values: &b,
                is_transposed,
            };
            if !multiply_if_faster([m, n, k], &mut found, add, &a, right, &terms) {
                assert_eq!(found, start, "nothing may be written");
                assert!(!is_x86_feature_detected!("avx512f"));
                return;
            }
            for (place, found) in found.into_iter().enumerate() {
                let (row, column) = (place / n, place % n);
                let b = |i: usize| match is_transposed {
                    true => b[column * k + i],
                    false => b[i * n + column],
                };
                let product = |(a, b): (f32, f32)| f64::from(a) * f64::from(b);
                let sides = (0..k).map(|i| (a[row * k + i], b(i)));
                let updates = (0..rank).map(|j| (narrow[row * rank + j], wide[j * n + column]));
                let mut expected = sides.map(product).sum::<f64>();
                expected += 0.5 * updates.map(product).sum::<f64>();
                expected += if has_bias {
                    f64::from(bias[column])
                } else {
                    0.0
                };
                expected += if add { f64::from(start[place]) } else { 0.0 };
                assert!(
                    (f64::from(found) - expected).abs() <= 1e-4,
                    "{row} {column}: {found} {expected}"
                );
            }
        }
    }

    fn check(shape: [usize; 3], add: bool) {
        check_with(shape, add, 0, false);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn is_the_product_for_any_shape(m in 192usize..230, n in 64usize..200, k in 16usize..100, add: bool) {
            check([m, n, k], add);
        }

        #[test]
        fn terms_are_added(
            m in 192usize..230,
            n in 64usize..200,
            k in 16usize..40,
            rank in 0usize..20,
            has_bias: bool,
        ) {
            check_with([m, n, k], false, rank, has_bias);
        }
    }

    #[test]
    fn is_the_product_where_the_common_side_is_longer_than_what_is_done_at_a_time() {
        check([193, 70, DEPTH + 17], false);
        check([193, 70, DEPTH + 17], true);
        check([1100, 130, 33], true);
    }

    #[test]
    fn terms_are_added_once_where_the_common_side_is_long() {
        check_with([193, 70, 2 * DEPTH], false, 3, true);
        check_with([1100, 130, DEPTH + 1], true, 1, true);
    }

    #[test]
    #[should_panic(expected = "sizes of an update")]
    fn terms_that_do_not_fit_are_refused() {
        let terms = Terms {
            rank: 1,
            ..Terms::default()
        };
        terms.check(2, 3);
    }

    #[test]
    fn small_products_are_left_to_others() {
        for shape in [[191, 64, 16], [192, 63, 16], [192, 64, 15]] {
            let [m, n, k] = shape;
            let mut to = vec![1.5; m * n];
            let (a, b) = (values(m * k, 1), values(n * k, 2));
            let right = Right {
                values: &b,
                is_transposed: true,
            };
            let terms = Terms::default();
            assert!(!multiply_if_faster(
                shape, &mut to, false, &a, right, &terms
            ));
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
