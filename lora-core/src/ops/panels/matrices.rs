//! Matrices of 32-bit values as panels, and values for them.

use std::ops::Range;

use super::Panels;

/// Values that look random, the same for the same seed.
pub(crate) fn values(len: usize, seed: u32) -> Vec<f32> {
    let numbers = (0..len as u32).map(|i| (i ^ seed).wrapping_mul(0x9E37_79B9) ^ seed);
    let numbers = numbers.map(|i| (i ^ (i >> 15)).wrapping_mul(0x85EB_CA6B) >> 8);
    numbers.map(|i| i as f32 / (1 << 24) as f32 - 0.5).collect()
}

/// A matrix whose rows lie one after the other.
pub(crate) struct RowMajor<'a> {
    values: &'a [f32],
    dims: [usize; 2],
}

impl<'a> RowMajor<'a> {
    /// The matrix of `[rows, columns]`.
    ///
    /// # Panics
    ///
    /// Panics if there are more or fewer values.
    pub(crate) fn new(values: &'a [f32], dims: [usize; 2]) -> Self {
        assert_eq!(values.len(), dims[0] * dims[1], "the size of a matrix");
        Self { values, dims }
    }
}

impl Panels for RowMajor<'_> {
    fn dims(&self) -> [usize; 2] {
        self.dims
    }

    fn fill(&self, rows: Range<usize>, first: usize, width: usize, to: &mut [f32]) {
        let row = self.dims[1];
        for (to, i) in to.chunks_exact_mut(width).zip(rows) {
            to.copy_from_slice(&self.values[i * row + first..][..width]);
        }
    }
}

/// A matrix whose columns lie one after the other.
pub(crate) struct Transposed<'a> {
    values: &'a [f32],
    dims: [usize; 2],
}

impl<'a> Transposed<'a> {
    /// The matrix of `[rows, columns]`.
    ///
    /// # Panics
    ///
    /// Panics if there are more or fewer values.
    pub(crate) fn new(values: &'a [f32], dims: [usize; 2]) -> Self {
        assert_eq!(values.len(), dims[0] * dims[1], "the size of a matrix");
        Self { values, dims }
    }
}

/// The columns and rows of a block that is transposed at a time, in registers.
const COLUMNS: usize = 16;
const ROWS: usize = 8;

impl Panels for Transposed<'_> {
    fn dims(&self) -> [usize; 2] {
        self.dims
    }

    fn fill(&self, rows: Range<usize>, first: usize, width: usize, to: &mut [f32]) {
        let length = self.dims[0];
        let column = |j: usize| &self.values[(first + j) * length..][rows.clone()];
        let (whole_columns, whole_rows) = (width - width % COLUMNS, rows.len() - rows.len() % ROWS);
        for j in (0..whole_columns).step_by(COLUMNS) {
            let columns: [&[f32]; COLUMNS] = std::array::from_fn(|offset| column(j + offset));
            for i in (0..whole_rows).step_by(ROWS) {
                let mut block = [[0.0; COLUMNS]; ROWS];
                for (offset, column) in columns.iter().enumerate() {
                    let part = &column[i..i + ROWS];
                    for (row, value) in block.iter_mut().zip(part) {
                        row[offset] = *value;
                    }
                }
                for (row, block) in block.iter().enumerate() {
                    to[(i + row) * width + j..][..COLUMNS].copy_from_slice(block);
                }
            }
            for i in whole_rows..rows.len() {
                for (offset, column) in columns.iter().enumerate() {
                    to[i * width + j + offset] = column[i];
                }
            }
        }
        for j in whole_columns..width {
            for (to, value) in to[j..].iter_mut().step_by(width).zip(column(j)) {
                *to = *value;
            }
        }
    }
}
