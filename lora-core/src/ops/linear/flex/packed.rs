//! A weight in few bits as the right-hand side of a product, from either side.

use std::ops::Range;

use crate::ops::int8::{self, Side};
use crate::ops::panels::{Panels, multiply};
use crate::ops::{Activations, activations};
use crate::quantization::PackedWeight;

/// Writes the product of a layer's input with the weight, or adds it if `add`.
pub(super) fn forward(to: &mut [f32], add: bool, x: &[f32], weight: &PackedWeight) {
    if !in_whole_numbers(to, add, x, weight, Side::Inputs) {
        multiply(to, add, x, &Forward(weight));
    }
}

/// Writes the product of the gradient of a layer's output with the weight, or adds it if `add`.
pub(super) fn backward(to: &mut [f32], add: bool, gradient: &[f32], weight: &PackedWeight) {
    if !in_whole_numbers(to, add, gradient, weight, Side::Outputs) {
        multiply(to, add, gradient, &Backward(weight));
    }
}

/// The same with both sides in 8 bits, if that is asked for and the weight is in 8 bits: then it is true.
fn in_whole_numbers(
    to: &mut [f32],
    add: bool,
    x: &[f32],
    weight: &PackedWeight,
    side: Side,
) -> bool {
    if activations() != Activations::Int8 {
        return false;
    }
    weight.int8().is_some_and(|(codes, steps)| {
        let weight = int8::Weight {
            codes,
            steps: &steps,
        };
        int8::multiply(to, add, x, weight, side)
    })
}

/// The weight as `[d_in, d_out]`: what a layer's input is multiplied with.
struct Forward<'a>(&'a PackedWeight);

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
struct Backward<'a>(&'a PackedWeight);

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
