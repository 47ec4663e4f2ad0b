//! A weight in few bits as the right-hand side of a product, from either side.

use std::ops::Range;

use crate::ops::panels::Panels;
use crate::quantization::PackedWeight;

/// The weight as `[d_in, d_out]`: what a layer's input is multiplied with.
pub(super) struct Forward<'a>(pub(super) &'a PackedWeight);

impl Panels for Forward<'_> {
    fn dims(&self) -> [usize; 2] {
        let [d_out, d_in] = self.0.shape();
        [d_in, d_out]
    }

    fn fill(&self, rows: Range<usize>, first: usize, width: usize, to: &mut [f32]) {
        for column in 0..width {
            let to = &mut to[column..];
            self.0.each(first + column, rows.clone(), |i, value| {
                to[i * width] = value;
            });
        }
    }
}

/// The weight as `[d_out, d_in]`: what the gradient of a layer's output is multiplied with.
pub(super) struct Backward<'a>(pub(super) &'a PackedWeight);

impl Panels for Backward<'_> {
    fn dims(&self) -> [usize; 2] {
        self.0.shape()
    }

    fn fill(&self, rows: Range<usize>, first: usize, width: usize, to: &mut [f32]) {
        for (to, row) in to.chunks_exact_mut(width).zip(rows) {
            self.0
                .each(row, first..first + width, |i, value| to[i] = value);
        }
    }
}
