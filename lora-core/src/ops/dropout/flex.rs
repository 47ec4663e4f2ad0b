//! Dropout on Burn's CPU backend.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;
use macerator::Simd;

use super::mask::{Mask, RowMask};
use crate::ops::flex::{Buffer, Values, for_rows, tensor};
use crate::ops::simd::fma;

pub(crate) fn forward(x: FlexTensor, mask: Mask) -> FlexTensor {
    if mask.is_empty() {
        return x;
    }
    let mut x = Values::of(x);
    let width = width(&x.shape());
    if let Some(values) = x.unique() {
        scale_rows(values, width, mask);
        return x.into_tensor();
    }
    let mut out = Buffer::any(x.len());
    for_rows(&mut out, width, |first, rows| {
        scale_rows_into(&x[first * width..][..rows.len()], width, first, mask, rows);
    });
    tensor(out, x.shape())
}

/// Sets `out` to some rows of `width` values, of which `first` is the number of the first, without what
/// the mask drops.
pub(crate) fn scale_rows_into(x: &[f32], width: usize, first: usize, mask: Mask, out: &mut [f32]) {
    let width = width.max(1);
    for (row, (out, x)) in out.chunks_mut(width).zip(x.chunks(width)).enumerate() {
        scale_into(x, mask.row(first + row), out);
    }
}

/// `residual` and `x` without what the mask drops, in the memory of `x` if nobody else reads it.
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
    let mut out = Buffer::copy(&x);
    for_rows(&mut out, width, add_rows);
    tensor(out, shape)
}

/// Drops what the mask drops, in rows of `width` values.
pub(crate) fn scale_rows(values: &mut [f32], width: usize, mask: Mask) {
    for_rows(values, width, |first, rows| {
        for (row, values) in rows.chunks_mut(width).enumerate() {
            scale(values, mask.row(first + row));
        }
    });
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
fn scale_into<S: Simd>(x: &[f32], mask: RowMask, out: &mut [f32]) {
    for (column, (out, x)) in out.iter_mut().zip(x).enumerate() {
        *out = x * mask.factor(column);
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
