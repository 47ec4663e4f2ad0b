//! The weight of a linear layer in its products.

use std::sync::Arc;

use burn::backend::Flex;

use super::rows::set_products;
use super::{dims, packed};
use crate::ops::backend::LinearWeight;
use crate::ops::dropout::flex::scale_rows;
use crate::ops::dropout::mask::Mask;
use crate::ops::flex::{Values, for_rows};
use crate::ops::gemm::{Terms, write, write_with_terms};
use crate::quantization::PackedWeight;

/// Up to this rank an update is added row by row while the output is set up, which writes it once;
/// beyond, as a product of its own.
const NARROW: usize = 16;

/// What a linear layer's input is multiplied with, ready to be read.
pub(super) enum Weight {
    Dense(Values),
    Packed(Arc<PackedWeight>),
}

impl Weight {
    pub(super) fn of(weight: LinearWeight<Flex>) -> Self {
        match weight {
            LinearWeight::Dense(tensor) => Self::Dense(Values::of(tensor)),
            LinearWeight::Packed(packed) => Self::Packed(packed),
        }
    }

    /// `[d_in, d_out]`.
    pub(super) fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(values) => dims(values),
            Self::Packed(packed) => {
                let [d_out, d_in] = packed.shape();
                [d_in, d_out]
            }
        }
    }

    /// `to = x·W + terms` for `[rows, columns, common side]`, or with the transposed weight. What a mask
    /// drops is dropped from the terms.
    pub(super) fn multiply(
        &self,
        shape: [usize; 3],
        to: &mut [f32],
        x: &[f32],
        is_transposed: bool,
        terms: &Terms,
        mask: Option<Mask>,
    ) {
        let mask = mask.filter(|mask| !mask.is_empty());
        if let (Self::Dense(weight), None) = (self, mask)
            && write_with_terms(shape, to, [x, weight], is_transposed, terms)
        {
            return;
        }
        let [_, width, _] = shape;
        let is_set = terms.set(to, width);
        if let Some(mask) = mask {
            scale_rows(to, width, mask);
        }
        match self {
            Self::Dense(weight) => {
                let transposed = [false, is_transposed];
                write(shape, to, is_set, [x, weight], transposed, 1.0);
            }
            Self::Packed(weight) if is_transposed => packed::backward(to, is_set, x, weight),
            Self::Packed(weight) => packed::forward(to, is_set, x, weight),
        }
    }
}

impl Terms<'_> {
    /// Sets the rows of `to`, `width` values each, to the terms, if there are some: then it is true.
    fn set(&self, to: &mut [f32], width: usize) -> bool {
        let Self {
            narrow,
            wide,
            rank,
            scaling,
            bias,
        } = *self;
        if (1..=NARROW).contains(&rank) {
            for_rows(to, width, |first, rows| {
                let narrow = &narrow[first * rank..][..rows.len() / width * rank];
                set_products(rows, bias, narrow, wide, scaling, rank, width);
            });
            return true;
        }
        if !bias.is_empty() {
            for_rows(to, width, |_, rows| {
                for row in rows.chunks_mut(width) {
                    row.copy_from_slice(bias);
                }
            });
        }
        if rank > 0 {
            let shape = [to.len() / width, width, rank];
            let add = !bias.is_empty();
            write(shape, to, add, [narrow, wide], [false; 2], scaling);
        }
        rank > 0 || !bias.is_empty()
    }
}
