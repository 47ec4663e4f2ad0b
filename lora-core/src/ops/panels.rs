//! Matrix products whose right-hand side is brought into place a panel at a time.
//!
//! A product of a few hundred rows with the weight of a layer is done with each value of the weight
//! after a few microseconds of work. So a thread takes some columns, writes a part of them that stays
//! in its first-level cache side by side (which is where a weight that is stored in another form is
//! decoded), and multiplies all rows with it. The left-hand side is read where it is.

mod kernel;
#[cfg(test)]
pub(crate) mod matrices;

use std::ops::Range;

use rayon::prelude::*;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use kernel::{Job, Output, WIDTH};

/// The right-hand side of a product, of which any part can be written as 32-bit values.
pub(crate) trait Panels: Sync {
    /// How many rows and columns there are.
    fn dims(&self) -> [usize; 2];

    /// Writes rows `rows` of columns `first..first + width` into `to`, `width` values a row.
    ///
    /// `rows` begins at a multiple of 128, and both ranges are inside the matrix.
    fn fill(&self, rows: Range<usize>, first: usize, width: usize, to: &mut [f32]);
}

/// About as many jobs for each thread are enough that none waits long for the others.
const JOBS: usize = 8;

/// With fewer rows than this, bringing a panel into place costs too much of what is then done with
/// it.
const ROWS: usize = 192;

/// `to = a·b`, or added to what `to` has if `add`, on all threads; rows of `to` and `a` lie one after
/// the other.
///
/// # Panics
///
/// Panics if the slices do not have the sizes of their matrices.
pub(crate) fn multiply(to: &mut [f32], add: bool, a: &[f32], b: &impl Panels) {
    let [k, n] = b.dims();
    let m = to.len().checked_div(n).unwrap_or(a.len() / k.max(1));
    assert_eq!([a.len(), to.len()], [m * k, m * n], "sizes of a product");
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if amx::multiply_if_faster(
        to,
        add,
        &amx::Strided::new(a, [m, k], true),
        &amx::Decoded(b),
    ) {
        return;
    }
    if !add && k == 0 {
        to.fill(0.0);
    }
    if m * n * k == 0 {
        return;
    }
    // A smaller product is done before a second thread has woken up.
    let threads = match m * n * k >= 1 << 20 {
        true => rayon::current_num_threads().max(1),
        false => 1,
    };
    let panels = n.div_ceil(WIDTH);
    let parts = match threads {
        1 => 1,
        _ => (JOBS * threads).div_ceil(panels).min((m / ROWS).max(1)),
    };
    let height = m.div_ceil(parts);
    let output = Output::of(to);
    // One block of rows after the other, so that they stay in a thread's second-level cache.
    let job = |index: usize| {
        let (row, column) = (index / panels * height, index % panels * WIDTH);
        Job {
            output,
            add,
            a,
            b,
            rows: row..m.min(row + height),
            columns: column..n.min(column + WIDTH),
        }
    };
    let jobs = m.div_ceil(height) * panels;
    // SAFETY: the slices are as long as their shapes ask, `to` is borrowed for writing until all jobs
    // are done, and no two jobs have a row and a column of it in common.
    let run = |index| unsafe { job(index).run() };
    match threads {
        1 => (0..jobs).for_each(run),
        // Each can be taken by another thread, to the last.
        _ => (0..jobs).into_par_iter().with_max_len(1).for_each(run),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::matrices::{RowMajor, Transposed, values};
    use super::*;

    fn transpose(values: &[f32], width: usize) -> Vec<f32> {
        let columns = (0..width).flat_map(|column| values.iter().skip(column).step_by(width));
        columns.copied().collect()
    }

    fn reference(
        [m, n, k]: [usize; 3],
        start: &[f32],
        add: bool,
        a: &[f32],
        b: &[f32],
    ) -> Vec<f32> {
        let value = |row: usize, column: usize| {
            let products = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + column]));
            let start = f64::from(start[row * n + column]);
            (products.sum::<f64>() + if add { start } else { 0.0 }) as f32
        };
        let places = (0..m).flat_map(|row| (0..n).map(move |column| (row, column)));
        places.map(|(row, column)| value(row, column)).collect()
    }

    fn require_close(found: &[f32], expected: &[f32]) {
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-4,
                "{place}: {found} {expected}"
            );
        }
    }

    fn check([m, n, k]: [usize; 3], add: bool) {
        let (a, b, start) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
        let expected = reference([m, n, k], &start, add, &a, &b);
        let mut found = start.clone();
        multiply(&mut found, add, &a, &RowMajor::new(&b, [k, n]));
        require_close(&found, &expected);
        let mut found = start;
        let turned = transpose(&b, n.max(1));
        multiply(&mut found, add, &a, &Transposed::new(&turned, [k, n]));
        require_close(&found, &expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn is_the_product_for_any_shape(m in 0usize..20, n in 0usize..150, k in 0usize..300, add: bool) {
            check([m, n, k], add);
        }
    }

    #[test]
    fn a_size_of_zero_gives_nothing_or_zeros() {
        for [m, n, k] in [
            [1, 0, 1],
            [0, 1, 1],
            [1, 1, 0],
            [3, 0, 0],
            [0, 0, 5],
            [0, 4, 0],
        ] {
            check([m, n, k], false);
            check([m, n, k], true);
        }
    }

    #[test]
    fn is_the_product_on_all_threads_and_in_blocks_of_rows() {
        for [m, n, k] in [[400, 70, 130], [1000, 64, 40], [7, 1000, 200]] {
            check([m, n, k], false);
            check([m, n, k], true);
        }
    }

    #[test]
    fn is_the_product_with_each_instruction_set() {
        let [m, n, k] = [17, 75, 300];
        let (a, b, start) = (values(m * k, 1), values(k * n, 2), values(m * n, 3));
        let expected = reference([m, n, k], &start, true, &a, &b);
        for arch in instruction_sets() {
            let mut found = start.clone();
            let job = Job {
                output: Output::of(&mut found),
                add: true,
                a: &a,
                b: &RowMajor::new(&b, [k, n]),
                rows: 0..m,
                columns: 0..n,
            };
            // SAFETY: the sizes are right, and the processor has the instructions.
            unsafe { arch.dispatch(job) };
            require_close(&found, &expected);
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn instruction_sets() -> Vec<macerator::Arch> {
        use macerator::Arch;
        let mut sets = vec![Arch::Scalar, Arch::detect()];
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            sets.extend([Arch::V2, Arch::V3]);
        }
        sets
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn instruction_sets() -> Vec<macerator::Arch> {
        vec![macerator::Arch::detect()]
    }

    #[test]
    #[should_panic(expected = "sizes of a product")]
    fn matrices_that_do_not_fit_are_refused() {
        multiply(
            &mut [0.0; 6],
            false,
            &[0.0; 5],
            &RowMajor::new(&[0.0; 6], [2, 3]),
        );
    }
}
