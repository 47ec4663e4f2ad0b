//! Products of matrices that fit in a cache, on one thread, for callers that chose the instructions.
//!
//! A tile of the result stays in registers while its products are added up. For the matrices of one
//! head of attention, handing them to the library for large products takes longer than the products.

use macerator::{Scalar, Simd};

use super::Matrix;

/// Vectors of a wide tile. With 32 registers, six rows of four leave eight for the factors.
const WIDE: usize = 4;

/// `to = a·b`, or added to what `to` has if `add`, for `[m, n, k]`. `a` may be stored either way
/// round; the columns of `b` and `to` must lie side by side.
///
/// # Safety
///
/// `a` must have `m` rows and `k` columns, `b` `k` rows and `n` columns and `to` `m` rows and `n`
/// columns, all of them in live memory of which nobody else writes `a` and `b`, nor reads or writes
/// `to`, meanwhile; and the processor must have the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(
    [m, n, k]: [usize; 3],
    to: Matrix,
    add: bool,
    a: Matrix,
    b: Matrix,
) {
    debug_assert_eq!([b.column, to.column], [1, 1]);
    let lanes = S::lanes32();
    let mut column = 0;
    // SAFETY: each part is inside the matrices, which are as the caller promises.
    unsafe {
        while column < n {
            let (to, b) = (to.from(0, column), b.from(0, column));
            let vectors = (n - column) / lanes;
            column += match vectors {
                // 32 registers with vectors of 16 values, 16 with shorter ones.
                WIDE.. if lanes >= 16 => {
                    strip::<S, 6, WIDE>(m, k, to, add, a, b);
                    WIDE * lanes
                }
                2.. if lanes >= 16 => {
                    strip::<S, 12, 2>(m, k, to, add, a, b);
                    2 * lanes
                }
                2.. => {
                    strip::<S, 6, 2>(m, k, to, add, a, b);
                    2 * lanes
                }
                1 => {
                    strip::<S, 8, 1>(m, k, to, add, a, b);
                    lanes
                }
                _ => {
                    one_by_one([m, n - column, k], to, add, a, b);
                    n - column
                }
            };
        }
    }
}

/// All rows of `V` vectors of columns, `R` rows at a time.
///
/// # Safety
///
/// As [`multiply`].
#[inline(always)]
unsafe fn strip<S: Simd, const R: usize, const V: usize>(
    m: usize,
    k: usize,
    to: Matrix,
    add: bool,
    a: Matrix,
    b: Matrix,
) {
    let mut row = 0;
    // SAFETY: as asked of the caller.
    unsafe {
        while row + R <= m {
            tile::<S, R, V>(k, to.from(row, 0), add, a.from(row, 0), b);
            row += R;
        }
        while row < m {
            let (to, a) = (to.from(row, 0), a.from(row, 0));
            row += match m - row {
                6.. => {
                    tile::<S, 6, V>(k, to, add, a, b);
                    6
                }
                3.. => {
                    tile::<S, 3, V>(k, to, add, a, b);
                    3
                }
                _ => {
                    tile::<S, 1, V>(k, to, add, a, b);
                    1
                }
            };
        }
    }
}

/// `R` rows of `V` vectors, whose sums are in registers.
///
/// # Safety
///
/// As [`multiply`], for `R` rows and `V` vectors of columns.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    k: usize,
    to: Matrix,
    add: bool,
    a: Matrix,
    b: Matrix,
) {
    let lanes = S::lanes32();
    let mut sums = [[0f32.splat::<S>(); V]; R];
    // SAFETY: as asked of the caller.
    unsafe {
        for i in 0..k {
            let mut vectors = [0f32.splat::<S>(); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = f32::vload_unaligned::<S>(b.start.add(i * b.row + v * lanes));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = *a.start.add(r * a.row + i * a.column);
                let value = value.splat::<S>();
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = value.mul_add(vector, *sum);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let to = to.start.add(r * to.row + v * lanes);
                let sum = match add {
                    true => sum + f32::vload_unaligned::<S>(to),
                    false => sum,
                };
                f32::vstore_unaligned::<S>(to, sum);
            }
        }
    }
}

/// The last columns, which are fewer than a vector has values.
///
/// # Safety
///
/// As [`multiply`].
unsafe fn one_by_one([m, n, k]: [usize; 3], to: Matrix, add: bool, a: Matrix, b: Matrix) {
    // SAFETY: as asked of the caller.
    unsafe {
        for row in 0..m {
            for column in 0..n {
                let product = |i| *a.from(row, i).start * *b.from(i, column).start;
                let sum: f32 = (0..k).map(product).sum();
                let to = to.from(row, column).start;
                *to = if add { *to + sum } else { sum };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::panels::matrices::values;

    #[macerator::with_simd]
    fn run<S: Simd>(shape: [usize; 3], to: Matrix, add: bool, a: Matrix, b: Matrix) {
        // SAFETY: the test's matrices have this shape, and the instructions are there.
        unsafe { multiply::<S>(shape, to, add, a, b) };
    }

    proptest! {
        #[test]
        fn is_the_product_for_any_shape_and_stored_either_way_round(
            m in 0usize..30, n in 0usize..150, k in 0usize..40, turned: bool, add: bool, beside in 0usize..3,
        ) {
            let (a, b) = (values(m * k, 1), values(k * (n + beside), 2));
            let mut to = values(m * (n + beside), 3);
            let before = to.clone();
            let left = match turned {
                true => Matrix::of(&a, m.max(1)).transposed(),
                false => Matrix::of(&a, k),
            };
            let right = Matrix::of(&b, n + beside);
            run([m, n, k], Matrix::of_mut(&mut to, n + beside), add, left, right);
            for row in 0..m {
                for column in 0..n + beside {
                    let place = row * (n + beside) + column;
                    let value = |i: usize| if turned { a[i * m + row] } else { a[row * k + i] };
                    let product: f32 = (0..k).map(|i| value(i) * b[i * (n + beside) + column]).sum();
                    let expected = match (column < n, add) {
                        (true, true) => before[place] + product,
                        (true, false) => product,
                        (false, _) => before[place],
                    };
                    prop_assert!((to[place] - expected).abs() <= 1e-5, "{row} {column}");
                }
            }
        }
    }
}
