//! Products of matrices that share a short side, for some rows on one thread.
//!
//! A library for large products first brings its operands into another order. With eight columns that
//! takes longer than the product, which could be done while the wide matrix is read.

use macerator::{Scalar, Simd};

use crate::ops::flex::Buffer;
use crate::ops::gemm::{Matrix, tile};

/// Rows of the wide matrix that are multiplied together: each vector of the other one is then read for
/// three of them.
pub(super) const ROWS: usize = 3;

/// Vectors of columns that are added to together.
const VECTORS: usize = 3;

/// `to = factor · wide·turnedᵀ`, for `[rank, width]`: `turned` has `rank` rows of `width` values, and
/// `wide` as many rows as `to` has rows of `rank`.
///
/// # Panics
///
/// Panics if the slices do not have these sizes, or if the rank is 0.
#[macerator::with_simd]
pub(super) fn onto_narrow<S: Simd>(
    wide: &[f32],
    turned: &[f32],
    shape: [usize; 2],
    factor: f32,
    to: &mut [f32],
) {
    let [rank, width] = shape;
    let rows = to.len() / rank;
    let sizes = [wide.len(), turned.len(), to.len()];
    assert_eq!(sizes, [rows * width, rank * width, rows * rank], "sizes");
    let product = Narrow {
        wide,
        turned,
        shape,
        factor,
    };
    let mut column = 0;
    while column < rank {
        // 32 registers with vectors of 16 values, 16 with shorter ones.
        // SAFETY: the sizes were checked, the columns are below `rank`, and the macro sees to the
        // instructions.
        column += unsafe {
            match rank - column {
                8.. if S::lanes32() >= 16 => product.columns::<S, 8>(column, to),
                4.. => product.columns::<S, 4>(column, to),
                _ => product.columns::<S, 1>(column, to),
            }
        };
    }
}

/// What [`onto_narrow`] multiplies.
struct Narrow<'a> {
    wide: &'a [f32],
    turned: &'a [f32],
    shape: [usize; 2],
    factor: f32,
}

impl Narrow<'_> {
    /// Writes `C` columns from `column` on; gives `C`.
    ///
    /// # Safety
    ///
    /// The slices must have the sizes that [`onto_narrow`] asks for and the product these columns, and
    /// the processor must have the instructions of `S`.
    #[inline(always)]
    unsafe fn columns<S: Simd, const C: usize>(&self, column: usize, to: &mut [f32]) -> usize {
        let [rank, _] = self.shape;
        let rows = to.len() / rank;
        let mut row = 0;
        // SAFETY: the rows are below `rows`, the columns as the caller promises.
        unsafe {
            while row + ROWS <= rows {
                let sums = self.dots::<S, ROWS, C>(row, column);
                for (r, sums) in sums.iter().enumerate() {
                    to[(row + r) * rank + column..][..C].copy_from_slice(sums);
                }
                row += ROWS;
            }
            while row < rows {
                let [sums] = self.dots::<S, 1, C>(row, column);
                to[row * rank + column..][..C].copy_from_slice(&sums);
                row += 1;
            }
        }
        C
    }

    /// The products of `R` rows with `C` rows of `turned`, whose sums are in registers.
    ///
    /// # Safety
    ///
    /// As [`Narrow::columns`], and there must be `R` rows from `row` on.
    #[inline(always)]
    unsafe fn dots<S: Simd, const R: usize, const C: usize>(
        &self,
        row: usize,
        column: usize,
    ) -> [[f32; C]; R] {
        let [_, width] = self.shape;
        let lanes = S::lanes32();
        let whole = width - width % lanes;
        let wide = self.wide.as_ptr().wrapping_add(row * width);
        let turned = self.turned.as_ptr().wrapping_add(column * width);
        let mut sums = [[0f32.splat::<S>(); C]; R];
        let mut i = 0;
        // SAFETY: the vectors end at or before `whole` in rows that are there, as the caller promises.
        unsafe {
            while i < whole {
                let mut vectors = [0f32.splat::<S>(); R];
                for (r, vector) in vectors.iter_mut().enumerate() {
                    *vector = f32::vload_unaligned::<S>(wide.add(r * width + i));
                }
                for c in 0..C {
                    let other = f32::vload_unaligned::<S>(turned.add(c * width + i));
                    for (sums, vector) in sums.iter_mut().zip(vectors) {
                        sums[c] = vector.mul_add(other, sums[c]);
                    }
                }
                i += lanes;
            }
        }
        let mut found = [[0.0; C]; R];
        for (r, (found, sums)) in found.iter_mut().zip(sums).enumerate() {
            for (c, (found, sum)) in found.iter_mut().zip(sums).enumerate() {
                let mut sum = sum.reduce_add();
                for i in whole..width {
                    // SAFETY: as above.
                    sum += unsafe { *wide.add(r * width + i) * *turned.add(c * width + i) };
                }
                *found = self.factor * sum;
            }
        }
        found
    }
}

/// Adds `narrowᵀ·wide` to `to`, for `[rank, width]`: `narrow` has rows of `rank` values, `wide` as many
/// of `width`, and `to` `rank` rows of `width`.
///
/// # Panics
///
/// Panics if the slices do not have these sizes, or if the rank is 0.
#[macerator::with_simd]
pub(super) fn onto_wide<S: Simd>(narrow: &[f32], wide: &[f32], shape: [usize; 2], to: &mut [f32]) {
    let [rank, width] = shape;
    let rows = narrow.len() / rank;
    let sizes = [narrow.len(), wide.len(), to.len()];
    assert_eq!(sizes, [rows * rank, rows * width, rank * width], "sizes");
    let narrow = Matrix::of(narrow, rank).transposed();
    let (wide, to) = (Matrix::of(wide, width), Matrix::of_mut(to, width));
    // SAFETY: the sizes were checked, `to` is borrowed for writing, and the macro sees to the
    // instructions.
    unsafe {
        // 32 registers with vectors of 16 values, 16 with shorter ones.
        match S::lanes32() >= 16 {
            true => add_rows::<S, 8>([rank, width, rows], to, narrow, wide),
            false => add_rows::<S, 4>([rank, width, rows], to, narrow, wide),
        }
    }
}

/// Adds `narrow·wide` to `to`, `R` rows at a time as long as there are so many.
///
/// # Safety
///
/// As [`tile::multiply`].
#[inline(always)]
unsafe fn add_rows<S: Simd, const R: usize>(
    [rank, width, rows]: [usize; 3],
    to: Matrix,
    narrow: Matrix,
    wide: Matrix,
) {
    let strip = VECTORS * S::lanes32();
    let (tall, broad) = (rank - rank % R, width - width % strip);
    // SAFETY: each part is inside the matrices, which are as the caller promises.
    unsafe {
        let mut column = 0;
        while column < broad {
            let (to, wide) = (to.from(0, column), wide.from(0, column));
            let mut row = 0;
            while row < tall {
                let (to, narrow) = (to.from(row, 0), narrow.from(row, 0));
                tile::tile::<S, R, VECTORS>(rows, to, true, narrow, wide);
                row += R;
            }
            column += strip;
        }
        let (rest, beside) = (to.from(0, broad), wide.from(0, broad));
        tile::multiply::<S>([tall, width - broad, rows], rest, true, narrow, beside);
        let (rest, below) = (to.from(tall, 0), narrow.from(tall, 0));
        tile::multiply::<S>([rank - tall, width, rows], rest, true, below, wide);
    }
}

/// The transpose of a matrix with rows of `width` values.
///
/// # Panics
///
/// Panics if the rows are not whole.
pub(super) fn transposed(from: &[f32], width: usize) -> Buffer {
    const BLOCK: usize = 8;
    let mut to = Buffer::any(from.len());
    if from.is_empty() {
        return to;
    }
    let rows = from.len() / width;
    assert_eq!(from.len(), rows * width, "whole rows");
    let blocks = from.chunks_exact(BLOCK * width);
    let rest = blocks.remainder().chunks_exact(width);
    for (block, values) in blocks.enumerate() {
        let lines: [&[f32]; BLOCK] = std::array::from_fn(|row| &values[row * width..][..width]);
        for column in 0..width {
            let to = &mut to[column * rows + block * BLOCK..][..BLOCK];
            for (to, line) in to.iter_mut().zip(lines) {
                *to = line[column];
            }
        }
    }
    for (row, values) in (rows - rows % BLOCK..rows).zip(rest) {
        for (column, value) in values.iter().enumerate() {
            to[column * rows + row] = *value;
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::panels::matrices::values;

    /// The sum of `n` products, exact but for the last rounding.
    fn dot(n: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f64 {
        (0..n).map(|i| f64::from(a(i)) * f64::from(b(i))).sum()
    }

    proptest! {
        #[test]
        fn products_with_a_narrow_matrix(rows in 0usize..20, rank in 1usize..70, width in 0usize..200) {
            let (wide, turned) = (values(rows * width, 1), values(rank * width, 2));
            let mut found = vec![f32::NAN; rows * rank];
            onto_narrow(&wide, &turned, [rank, width], 0.7, &mut found);
            for (i, found) in found.iter().enumerate() {
                let (wide, turned) = (&wide[i / rank * width..], &turned[i % rank * width..]);
                let expected = 0.7 * dot(width, |i| wide[i], |i| turned[i]);
                prop_assert!((f64::from(*found) - expected).abs() <= 1e-5, "{i}");
            }
        }

        #[test]
        fn products_over_the_rows(rows in 0usize..40, rank in 1usize..70, width in 0usize..200) {
            let (narrow, wide) = (values(rows * rank, 1), values(rows * width, 2));
            let before = values(rank * width, 3);
            let mut found = before.clone();
            onto_wide(&narrow, &wide, [rank, width], &mut found);
            for (i, (found, before)) in found.iter().zip(before).enumerate() {
                let (row, column) = (i / width, i % width);
                let product = dot(rows, |i| narrow[i * rank + row], |i| wide[i * width + column]);
                let expected = f64::from(before) + product;
                prop_assert!((f64::from(*found) - expected).abs() <= 1e-5, "{row} {column}");
            }
        }

        #[test]
        fn a_transpose_has_every_value_in_its_place(rows in 0usize..40, width in 0usize..40) {
            let from = values(rows * width, 1);
            let to = transposed(&from, width);
            for (i, value) in from.iter().enumerate() {
                prop_assert_eq!(*value, to[i % width * rows + i / width]);
            }
        }
    }
}
