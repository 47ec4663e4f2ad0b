//! Dropout on Burn's CPU backend.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use macerator::Simd;

use super::mask::{Mask, RowMask};
use crate::ops::flex::{Values, for_rows, tensor};
use crate::ops::simd::fma;

pub(crate) fn forward(x: FlexTensor, mask: Mask) -> FlexTensor {
    if mask.is_empty() {
        return x;
    }
    let mut x = Values::of(x);
    let width = width(&x.shape());
    let scale_rows = |first: usize, rows: &mut [f32]| {
        for (row, values) in rows.chunks_mut(width).enumerate() {
            scale(values, mask.row(first + row));
        }
    };
    if let Some(values) = x.unique() {
        for_rows(values, width, scale_rows);
        return x.into_tensor();
    }
    let mut out = x.to_vec();
    for_rows(&mut out, width, scale_rows);
    tensor(out, x.shape())
}

pub(crate) fn forward_add(x: FlexTensor, residual: FlexTensor, mask: Mask) -> FlexTensor {
    let (mut x, residual) = (Values::of(x), Values::of(residual));
    let shape = x.shape();
    let width = width(&shape);
    let add_rows = |first: usize, rows: &mut [f32]| {
        let residual = &residual[first * width..][..rows.len()];
        let rows = rows.chunks_mut(width).zip(residual.chunks(width));
        for (row, (values, residual)) in rows.enumerate() {
            match mask.is_empty() {
                true => add(values, residual),
                false => scale_add(values, residual, mask.row(first + row)),
            }
        }
    };
    if let Some(values) = x.unique() {
        for_rows(values, width, add_rows);
        return x.into_tensor();
    }
    let mut out = x.to_vec();
    for_rows(&mut out, width, add_rows);
    tensor(out, shape)
}

/// The length of the last axis.
pub(crate) fn width(shape: &Shape) -> usize {
    shape.as_slice().last().copied().unwrap_or(1).max(1)
}

#[macerator::with_simd]
fn scale<S: Simd>(values: &mut [f32], mask: RowMask) {
    for (column, value) in values.iter_mut().enumerate() {
        *value *= mask.factor(column);
    }
}

#[macerator::with_simd]
fn scale_add<S: Simd>(values: &mut [f32], residual: &[f32], mask: RowMask) {
    for (column, (value, residual)) in values.iter_mut().zip(residual).enumerate() {
        *value = fma::<S>(*value, mask.factor(column), *residual);
    }
}

#[macerator::with_simd]
fn add<S: Simd>(values: &mut [f32], residual: &[f32]) {
    for (value, residual) in values.iter_mut().zip(residual) {
        *value += residual;
    }
}
