//! Parts of matrices in the form in which products read them fastest.

use macerator::Simd;

use super::scratch::{VECTOR, whole};
use super::turn::{Block, turn};
use crate::ops::gemm::Matrix;

/// Copies `[rows, columns]` to rows that lie one after the other, each filled up with zeros to whole
/// vectors.
///
/// # Safety
///
/// `from` must have these rows and columns, the columns side by side, and nobody may write them
/// meanwhile.
#[inline(always)]
pub(super) unsafe fn copy(from: Matrix, [rows, columns]: [usize; 2], to: &mut [f32]) {
    // The rows of one vector after the other: each row on its own would become a library call.
    for column in (0..columns).step_by(VECTOR) {
        let from = from.from(0, column);
        let to = to.chunks_exact_mut(whole(columns)).take(rows);
        for (row, to) in to.enumerate() {
            // SAFETY: as asked of the caller.
            let vector = unsafe { vector(from, row, columns - column) };
            to[column..][..VECTOR].copy_from_slice(&vector);
        }
    }
}

/// Writes the transposed of `[rows, columns]`, times `factor`, to rows that begin `apart` values
/// apart, each filled up with zeros to whole vectors.
///
/// # Safety
///
/// As [`copy`], and the processor must have the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn transpose<S: Simd>(
    from: Matrix,
    [rows, columns]: [usize; 2],
    factor: f32,
    to: &mut [f32],
    apart: usize,
) {
    for row in (0..rows).step_by(VECTOR) {
        for column in (0..columns).step_by(VECTOR) {
            let part = from.from(row, column);
            let [rows, columns] = [rows - row, columns - column];
            let mut filled = Block::default();
            let whole = rows >= VECTOR && columns >= VECTOR;
            if !whole {
                for (i, line) in filled.iter_mut().enumerate().take(rows) {
                    // SAFETY: as asked of the caller.
                    *line = unsafe { vector(part, i, columns) };
                }
            }
            let lines = std::array::from_fn(|i| match whole {
                // SAFETY: as asked of the caller.
                true => unsafe { part.row(i, VECTOR) }
                    .first_chunk()
                    .unwrap_or(&filled[i]),
                false => &filled[i],
            });
            let block = turn::<S>(lines, factor);
            for (i, line) in block.iter().enumerate().take(columns) {
                to[(column + i) * apart + row..][..VECTOR].copy_from_slice(line);
            }
        }
    }
}

/// The first values of a row, with zeros after the first `columns`.
///
/// # Safety
///
/// As [`copy`], for this row.
#[inline(always)]
unsafe fn vector(from: Matrix, row: usize, columns: usize) -> [f32; VECTOR] {
    // SAFETY: as asked of the caller.
    let values = unsafe { from.row(row, columns.min(VECTOR)) };
    match values.first_chunk() {
        Some(vector) => *vector,
        None => {
            let mut vector = [0.0; VECTOR];
            vector[..values.len()].copy_from_slice(values);
            vector
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scratch::stride;
    use super::*;
    use crate::ops::panels::matrices::values;

    #[macerator::with_simd]
    unsafe fn transposed<S: Simd>(
        from: Matrix,
        shape: [usize; 2],
        factor: f32,
        to: &mut [f32],
        apart: usize,
    ) {
        // SAFETY: as asked of the caller.
        unsafe { transpose::<S>(from, shape, factor, to, apart) };
    }

    #[test]
    fn rows_and_columns_of_any_number_with_zeros_after_them() {
        for [rows, columns] in [[0, 5], [1, 1], [5, 16], [16, 20], [33, 7], [40, 64]] {
            let beside = columns + 3;
            let from = values(rows * beside, 1);
            let matrix = Matrix::of(&from, beside);
            let value = |row: usize, column: usize| match row < rows && column < columns {
                true => from[row * beside + column],
                false => 0.0,
            };
            let mut copied = vec![f32::NAN; rows * whole(columns)];
            // SAFETY: the matrix has these rows and columns, and is only read.
            unsafe { copy(matrix, [rows, columns], &mut copied) };
            for (i, found) in copied.iter().enumerate() {
                assert_eq!(*found, value(i / whole(columns), i % whole(columns)));
            }
            let apart = stride(rows);
            let mut turned = vec![f32::NAN; columns * apart];
            // SAFETY: as above.
            unsafe { transposed(matrix, [rows, columns], 2.0, &mut turned, apart) };
            for (column, found) in turned.chunks(apart).enumerate() {
                for (row, found) in found[..whole(rows)].iter().enumerate() {
                    assert_eq!(*found, 2.0 * value(row, column), "{row} {column}");
                }
            }
        }
    }
}
