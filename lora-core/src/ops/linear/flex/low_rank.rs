//! The products of a low-rank update that have a short side, in as few passes over the wide matrices as
//! there can be: reading those takes longer than the products.

#[cfg(test)]
mod tests;

use std::ops::Range;

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::narrow::{ROWS, onto_narrow, onto_wide, transposed};
use super::product;
use super::rows::add_rows;
use crate::ops::dropout::flex::{forward as drop_values, scale_rows_into};
use crate::ops::dropout::mask::Mask;
use crate::ops::flex::{Buffer, Values, rows_at_once, tensor};
use crate::ops::gemm::write;

/// Up to this rank; beyond it matrices are wide enough for the library's products.
const MOST: usize = 64;

/// The backward pass is done in at most this many parts, each with sums of its own.
const PARTS: usize = 32;

/// The least rows of a part. Its sums are as large as `rank` of its rows, and are written and read once
/// more to be added up.
const PART: usize = 128;

/// Whether a product is large enough for a second thread to wake up before it is done.
fn is_large(multiplications: usize) -> bool {
    multiplications >= 1 << 20 && rayon::current_num_threads() > 1
}

/// The input of a low-rank update, without what a mask drops.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// Rows that are as long as the mask's.
    pub(super) values: &'a Values,
    pub(super) mask: Mask,
}

impl Input<'_> {
    /// `dropout(x)·A`, of `rank` columns.
    pub(super) fn times(&self, a: &[f32], rank: usize) -> Buffer {
        if !(1..=MOST).contains(&rank) {
            return self.times_at_once(a, rank);
        }
        let [rows, width] = self.values.shape().dims();
        let mut out = Buffer::any(rows * rank);
        let turned = transposed(a, rank);
        let at_once = block(width);
        let set = |scratch: &mut Vec<f32>, (number, out): (usize, &mut [f32])| {
            let first = number * at_once;
            let x = self.rows(first..first + out.len() / rank, width, scratch);
            onto_narrow(x, &turned, [rank, width], 1.0, out);
        };
        match is_large(rows * rank * width) {
            true => {
                let blocks = out.par_chunks_mut(at_once * rank).enumerate();
                blocks.for_each_init(Vec::new, set);
            }
            false => {
                let mut scratch = Vec::new();
                let blocks = out.chunks_mut(at_once * rank).enumerate();
                blocks.for_each(|block| set(&mut scratch, block));
            }
        }
        out
    }

    /// The same as one product of the library's.
    fn times_at_once(&self, a: &[f32], rank: usize) -> Buffer {
        let [rows, width] = self.values.shape().dims();
        let mut out = Buffer::any(rows * rank);
        let whole = self.whole();
        let inputs = [whole.as_deref().unwrap_or(self.values), a];
        write(
            [rows, rank, width],
            &mut out,
            false,
            inputs,
            [false; 2],
            1.0,
        );
        out
    }

    /// Some of the rows, in `scratch` if something of them is dropped.
    fn rows<'b>(
        &'b self,
        rows: Range<usize>,
        width: usize,
        scratch: &'b mut Vec<f32>,
    ) -> &'b [f32] {
        let values = &self.values[rows.start * width..rows.end * width];
        if self.mask.is_empty() {
            return values;
        }
        scratch.resize(values.len(), 0.0);
        scale_rows_into(values, width, rows.start, self.mask, scratch);
        scratch
    }

    /// All of the rows, if something of them is dropped.
    fn whole(&self) -> Option<Values> {
        let tensor = || self.values.tensor().clone();
        (!self.mask.is_empty()).then(|| Values::of(drop_values(tensor(), self.mask)))
    }
}

/// Rows that stay in a cache near the processor; but not too few, because sums over the rows are read and
/// written once for each block.
fn block(width: usize) -> usize {
    rows_at_once(width).max(12).next_multiple_of(ROWS)
}

/// What the backward pass multiplies.
pub(super) struct Backward<'a> {
    /// That of the output.
    pub(super) gradient: &'a [f32],
    pub(super) b: &'a [f32],
    pub(super) scaling: f32,
    /// `dropout(x)·A`, if the gradient of `B` is wanted.
    pub(super) narrow: Option<&'a [f32]>,
    /// If the gradient of `A` is wanted.
    pub(super) input: Option<Input<'a>>,
    /// The rows, the input's and the output's columns, and the rank.
    pub(super) dims: [usize; 4],
}

/// The gradients of `dropout(x)·A`, of `A` and of `B`, of those that are wanted.
pub(super) struct Slopes {
    pub(super) slope: Buffer,
    pub(super) da: Option<FlexTensor>,
    pub(super) db: Option<FlexTensor>,
}

impl Backward<'_> {
    pub(super) fn run(&self) -> Slopes {
        let [rows, d_in, d_out, rank] = self.dims;
        if !(1..=MOST).contains(&rank) {
            return self.one_by_one();
        }
        let mut slope = Buffer::any(rows * rank);
        // Not by the number of threads: then the sums are the same on any machine.
        let at_once = rows.div_ceil(PARTS).max(PART);
        let is_large = is_large(rows * rank * d_in.max(d_out));
        let part = |(number, slope): (usize, &mut [f32])| self.part(number * at_once, slope);
        let (da, db): (Vec<_>, Vec<_>) = match is_large {
            true => {
                let parts = slope.par_chunks_mut(at_once * rank).enumerate();
                parts.map(part).unzip()
            }
            false => {
                let parts = slope.chunks_mut(at_once * rank).enumerate();
                parts.map(part).unzip()
            }
        };
        let da = || {
            self.input.as_ref().map(|_| {
                let sum = add_up(da, rank * d_in, 1.0);
                tensor(transposed(&sum, d_in), Shape::new([d_in, rank]))
            })
        };
        let db = || {
            self.narrow.map(|_| {
                let sum = add_up(db, rank * d_out, self.scaling);
                tensor(sum, Shape::new([rank, d_out]))
            })
        };
        let (da, db) = match is_large {
            true => rayon::join(da, db),
            false => (da(), db()),
        };
        Slopes { slope, da, db }
    }

    /// Writes the slope of some rows, of which `first` is the first, and gives their parts of the
    /// transposed gradient of `A` and, but for the scaling, of that of `B`: empty if not wanted.
    fn part(&self, first: usize, slope: &mut [f32]) -> (Buffer, Buffer) {
        let [_, d_in, d_out, rank] = self.dims;
        let mut da = zeros(self.input.map_or(0, |_| rank * d_in));
        let mut db = zeros(self.narrow.map_or(0, |_| rank * d_out));
        let mut scratch = Vec::new();
        let at_once = block(d_in.max(d_out));
        for (number, slope) in slope.chunks_mut(at_once * rank).enumerate() {
            let start = first + number * at_once;
            let rows = start..start + slope.len() / rank;
            let gradient = &self.gradient[rows.start * d_out..rows.end * d_out];
            onto_narrow(gradient, self.b, [rank, d_out], self.scaling, slope);
            if let Some(narrow) = self.narrow {
                let narrow = &narrow[rows.start * rank..rows.end * rank];
                onto_wide(narrow, gradient, [rank, d_out], &mut db);
            }
            if let Some(input) = &self.input {
                let x = input.rows(rows, d_in, &mut scratch);
                onto_wide(slope, x, [rank, d_in], &mut da);
            }
        }
        (da, db)
    }

    /// The same as products of the library's, one after the other.
    fn one_by_one(&self) -> Slopes {
        let [rows, d_in, d_out, rank] = self.dims;
        let mut slope = Buffer::any(rows * rank);
        let inputs = [self.gradient, self.b];
        let shape = [rows, rank, d_out];
        write(
            shape,
            &mut slope,
            false,
            inputs,
            [false, true],
            self.scaling,
        );
        let da = self.input.map(|input| {
            let whole = input.whole();
            let x = whole.as_ref().unwrap_or(input.values);
            product([d_in, rank, rows], [x, &slope], [true, false], 1.0)
        });
        let db = self.narrow.map(|narrow| {
            let inputs = [narrow, self.gradient];
            product([rank, d_out, rows], inputs, [true, false], self.scaling)
        });
        Slopes { slope, da, db }
    }
}

fn zeros(len: usize) -> Buffer {
    let mut zeros = Buffer::any(len);
    zeros.fill(0.0);
    zeros
}

/// `factor` times the sum of the parts, of `len` values each, always in the same order.
fn add_up(parts: Vec<Buffer>, len: usize, factor: f32) -> Buffer {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| zeros(len));
    for part in parts {
        add_rows(&part, &mut sum);
    }
    sum.iter_mut().for_each(|value| *value *= factor);
    sum
}
