//! Matrix products of 32-bit values on the tile units of newer processors (AMX).
//!
//! These units multiply values of 16 bits (bf16: 8 bits of precision, the range of 32 bits) sixteen
//! times as fast as vector instructions multiply 32-bit values, and add up in 32 bits. A value is rounded
//! to 16 bits, or taken as the sum of two such values, which has 16 bits of precision; of the four
//! products of two such sums the smallest is left out (Henry, Tang, Heinecke: *Leveraging the bfloat16
//! Artificial Intelligence Datatype For Higher-Precision Computations*, 2019).
//!
//! In two parts, a value that is infinite makes those it has a part in NaN.

mod instructions;
mod scratch;
mod side;
mod split;

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::Matrix;
use super::precision::{MatmulPrecision, matmul_precision};
pub(crate) use instructions::available;
use instructions::{Configured, SIZE, Tiles, piece};
use scratch::Scratch;
pub(crate) use side::{Decoded, Side, Strided};

/// The depth of what is multiplied at a time, in steps of [`SIZE`]: the two blocks that a thread then
/// works with are in its second-level cache.
const DEEP: usize = 32;
/// The most rows, in blocks of [`SIZE`], that are written in parts at a time.
const TALL: usize = 64;
/// The most columns, in blocks of [`SIZE`].
const WIDE: usize = 48;
/// The blocks of rows and of columns of a thread's job.
const JOB: [usize; 2] = [4, 8];

/// Computes `to = a·b`, or adds it to what `to` has if `add`, if products may be less exact than
/// [`MatmulPrecision::Highest`] and this one is faster that way: its operands have to be brought into
/// another form first, which takes many rows and columns to pay. Says whether it did.
///
/// # Panics
///
/// Panics if the sizes do not fit.
pub(crate) fn multiply_if_faster(to: &mut [f32], add: bool, a: &impl Side, b: &impl Side) -> bool {
    if a.lines().min(b.lines()) < 64 || a.depth() < 32 {
        return false;
    }
    match matmul_precision() {
        MatmulPrecision::Highest => return false,
        MatmulPrecision::High => multiply::<2>(to, add, a, b),
        MatmulPrecision::Medium => multiply::<1>(to, add, a, b),
    }
    true
}

/// `to = a·b`, or added to what `to` has if `add`, on all threads, with values in `PARTS` parts, one or
/// two; rows of `to` lie one after the other.
///
/// # Panics
///
/// Panics if the sizes do not fit, or on a processor without the instructions.
fn multiply<const PARTS: usize>(to: &mut [f32], add: bool, a: &impl Side, b: &impl Side) {
    let [(m, k), (n, b_depth)] = [(a.lines(), a.depth()), (b.lines(), b.depth())];
    assert_eq!((k, to.len()), (b_depth, m * n), "sizes of a product");
    assert!(available(), "this processor has no tiles");
    if k == 0 && !add {
        to.fill(0.0);
    }
    if m * n * k == 0 {
        return;
    }
    let output = Matrix::of_mut(to, n);
    let steps = |size: usize, most: usize| {
        let blocks = size.div_ceil(SIZE);
        (0..blocks)
            .step_by(most)
            .map(move |start| start..blocks.min(start + most))
    };
    let mut scratch = Scratch::take();
    for depth in steps(k, DEEP) {
        for rows in steps(m, TALL) {
            for columns in steps(n, WIDE) {
                let [left, right] = scratch.parts([
                    rows.len() * depth.len() * piece(PARTS),
                    columns.len() * depth.len() * piece(PARTS),
                ]);
                rayon::join(
                    // The rows are the same for all columns.
                    || (columns.start == 0).then(|| split::<PARTS>(a, &rows, &depth, false, left)),
                    || split::<PARTS>(b, &columns, &depth, true, right),
                );
                let product = Product {
                    output,
                    dims: [m, n],
                    add: add || depth.start > 0,
                    rows: rows.clone(),
                    columns,
                    left: Tiles::of(left, depth.len() * piece(PARTS)),
                    right: Tiles::of(right, depth.len() * piece(PARTS)),
                };
                // SAFETY: `to` has `m` rows of `n` values, is borrowed for writing until all jobs
                // are done, and the sides were written for these rows and columns.
                unsafe { product.run::<PARTS>() };
            }
        }
    }
}

/// Writes some blocks of lines in parts, on all threads.
fn split<const PARTS: usize>(
    side: &impl Side,
    blocks: &Range<usize>,
    depth: &Range<usize>,
    pairs: bool,
    to: &mut [split::Line],
) {
    let each = to.par_chunks_exact_mut(depth.len() * piece(PARTS));
    each.zip(blocks.clone()).for_each(|(to, block)| {
        side.split::<PARTS>(block * SIZE, depth.start * SIZE, pairs, to);
    });
}

/// The product of two sides that have been written in parts.
struct Product<'a> {
    output: Matrix,
    dims: [usize; 2],
    add: bool,
    rows: Range<usize>,
    columns: Range<usize>,
    left: Tiles<'a>,
    right: Tiles<'a>,
}

impl Product<'_> {
    /// Computes it, on all threads.
    ///
    /// # Safety
    ///
    /// `output` must point to `dims` values that nobody else reads or writes meanwhile, and the sides
    /// must have as many blocks as there are `rows` and `columns`.
    unsafe fn run<const PARTS: usize>(&self) {
        let [down, across] = [&self.rows, &self.columns].map(Range::len);
        let jobs = [down.div_ceil(JOB[0]), across.div_ceil(JOB[1])];
        (0..jobs[0] * jobs[1])
            .into_par_iter()
            .with_max_len(1)
            .for_each(|job| {
                let tiles = Configured::new();
                let (row, column) = (job % jobs[0] * JOB[0], job / jobs[0] * JOB[1]);
                for column in column..across.min(column + JOB[1]) {
                    for row in row..down.min(row + JOB[0]) {
                        // SAFETY: as asked of the caller; no two jobs have a block in common.
                        unsafe { self.block::<PARTS>(&tiles, row, column) };
                    }
                }
            });
    }

    /// Computes one block of the output.
    ///
    /// # Safety
    ///
    /// As in [`Product::run`], and nobody else may compute the same block meanwhile.
    unsafe fn block<const PARTS: usize>(&self, tiles: &Configured, row: usize, column: usize) {
        let [m, n] = self.dims;
        let (left, right) = (self.left.block(row), self.right.block(column));
        let place = [self.rows.start + row, self.columns.start + column].map(|block| block * SIZE);
        let (height, width) = ((m - place[0]).min(SIZE), (n - place[1]).min(SIZE));
        let to = self.output.from(place[0], place[1]);
        if (height, width) == (SIZE, SIZE) {
            // SAFETY: the output has all these rows and columns.
            return unsafe { tiles.multiply::<PARTS>(left, right, to.start(), n, self.add) };
        }
        let mut whole = [0.0; SIZE * SIZE];
        // SAFETY: `whole` has as many rows and columns as a block.
        unsafe { tiles.multiply::<PARTS>(left, right, whole.as_mut_ptr(), SIZE, false) };
        for (row, sums) in whole.chunks_exact(SIZE).take(height).enumerate() {
            // SAFETY: the output has these rows and columns, and nobody else reads or writes them.
            let to = unsafe { to.row_mut(row, width) };
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = if self.add { *to + sum } else { *sum };
            }
        }
    }
}

#[cfg(test)]
mod tests;
