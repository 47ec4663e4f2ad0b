//! Lookups in a table of vectors and products with it, where the table may be larger than the part of
//! a buffer that a device's kernels can be given: as with WebGPU, which only promises 128 MiB, less than
//! the tokens of RoBERTa-base or GPT-2 take.
//!
//! Such a table is one tensor all the same. What reads it takes some of its rows at a time, which are a
//! view of the same memory.

use std::ops::Range;

use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor};

/// A part begins at a multiple of so many rows: then it begins at a multiple of 256 bytes, as devices
/// ask of what is a view.
const ROWS: usize = 64;

/// The rows of `table` that the device's kernels can be given at a time.
pub(crate) fn parts([rows, width]: [usize; 2], device: &Device) -> Vec<Range<usize>> {
    split(rows, size_of::<f32>() * width, limit(device))
}

/// The vectors of `ids`.
///
/// A gradient of a table in several parts needs a tensor of its size, which the device refuses.
///
/// # Shapes
///
/// - `table`: `[rows, width]`
/// - `ids`: `[batch, sequence]`
/// - output: `[batch, sequence, width]`
pub(crate) fn lookup(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    let parts = parts(table.dims(), &table.device());
    lookup_in(parts, table, ids)
}

/// `x·tableᵀ` by tensor operations.
///
/// # Shapes
///
/// As [`tied_linear`](super::tied_linear).
pub(super) fn product(x: Tensor<2>, table: Tensor<2>) -> Tensor<2> {
    let parts = parts(table.dims(), &table.device());
    product_in(parts, x, table)
}

fn lookup_in(parts: Vec<Range<usize>>, table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if parts.len() <= 1 {
        return embedding(table, ids);
    }
    let vectors = parts.into_iter().map(|rows| {
        let ids = ids.clone() - rows.start as i64;
        let elsewhere = ids
            .clone()
            .lower_elem(0)
            .bool_or(ids.clone().greater_equal_elem(rows.len() as i64));
        let found = embedding(part(&table, rows), ids.mask_fill(elsewhere.clone(), 0));
        found.mask_fill(elsewhere.unsqueeze_dim(2), 0.0)
    });
    let sum = vectors.reduce(|sum, vectors| sum + vectors);
    sum.unwrap_or_else(|| embedding(table, ids))
}

fn product_in(parts: Vec<Range<usize>>, x: Tensor<2>, table: Tensor<2>) -> Tensor<2> {
    if parts.len() <= 1 {
        return x.matmul(table.transpose());
    }
    let products = parts.into_iter();
    let products = products.map(|rows| x.clone().matmul(part(&table, rows).transpose()));
    Tensor::cat(products.collect(), 1)
}

fn part(table: &Tensor<2>, rows: Range<usize>) -> Tensor<2> {
    let [_, width] = table.dims();
    table.clone().slice([rows, 0..width])
}

fn split(rows: usize, row_bytes: usize, limit: Option<usize>) -> Vec<Range<usize>> {
    let whole = vec![0..rows];
    let Some(limit) = limit else { return whole };
    if rows.saturating_mul(row_bytes) <= limit {
        return whole;
    }
    let most = (limit / row_bytes / ROWS * ROWS).max(ROWS);
    let starts = (0..rows).step_by(most);
    starts.map(|start| start..rows.min(start + most)).collect()
}

/// The bytes that a kernel can be given of a buffer, where there is such a limit.
#[cfg(any(
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "rocm"
))]
fn limit(device: &Device) -> Option<usize> {
    use burn::backend::DispatchDevice;
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(device) => {
            let bytes = device.client().properties().memory.max_page_size;
            Some(usize::try_from(bytes).unwrap_or(usize::MAX))
        }
        #[allow(
            unreachable_patterns,
            reason = "without other backends compiled in, it is"
        )]
        _ => None,
    }
}

/// The bytes that a kernel can be given of a buffer, where there is such a limit.
#[cfg(not(any(
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "rocm"
)))]
fn limit(_device: &Device) -> Option<usize> {
    None
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;

    #[test]
    fn parts_are_below_the_limit_and_all_of_the_table() {
        assert_eq!(split(1000, 8, None), [0..1000]);
        assert_eq!(split(1000, 8, Some(8000)), [0..1000]);
        assert_eq!(split(1000, 8, Some(7999)), [0..960, 960..1000]);
        assert_eq!(split(1000, 8, Some(4000)), [0..448, 448..896, 896..1000]);
        // As few rows as can be, if not even these are below it.
        assert_eq!(split(130, 8, Some(1)), [0..64, 64..128, 128..130]);
        assert_eq!(split(0, 8, Some(1)), [0..0]);
        // RoBERTa-base's tokens, with what WebGPU promises.
        assert_eq!(
            split(50_265, 3072, Some(128 << 20)),
            [0..43_648, 43_648..50_265]
        );
    }

    #[test]
    fn parts_give_what_the_whole_gives_with_its_gradients() {
        let device = crate::default_device().autodiff();
        let values = |len: usize| (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
        let tensor = |shape: [usize; 2]| {
            let data: Vec<f32> = values(shape[0] * shape[1]).collect();
            Tensor::<2>::from_data(TensorData::new(data, shape), &device).require_grad()
        };
        let ids = Tensor::<2, Int>::from_data([[0, 63, 64], [127, 128, 69]], &device);
        let run = |parts: Vec<Range<usize>>| {
            let (table, x) = (tensor([130, 5]), tensor([4, 5]));
            let vectors = lookup_in(parts.clone(), table.clone(), ids.clone());
            let product = product_in(parts, x.clone(), table.clone());
            let loss = vectors.clone().powi_scalar(3).sum() + product.clone().powi_scalar(2).sum();
            let gradients = loss.backward();
            let of = |tensor: &Tensor<2>| tensor.grad(&gradients).unwrap().into_data();
            [vectors.into_data(), product.into_data(), of(&table), of(&x)]
        };
        let (whole, parts) = (run(vec![0..130]), run(split(130, 8, Some(1))));
        for (found, expected) in parts.iter().zip(&whole) {
            found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-5, 1e-5));
        }
    }
}
