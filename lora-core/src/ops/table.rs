//! Tables of vectors that are larger than what a device's kernels can take at once.

use burn::module::Param;
use burn::nn::Initializer;
use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor, TensorData, s};

use crate::device::largest_binding;

/// Every device can begin a part of a buffer at a multiple of this many bytes.
const ALIGNMENT: usize = 256;

/// The rows of `table` that `ids` name.
///
/// A GPU's driver limits how much of a buffer a kernel may see, some to 128 MiB; the table of a large
/// vocabulary is larger. It is then looked at in parts, each of which is a view of some rows, nothing
/// copied. Such a table can be frozen only: its gradient would be as large.
///
/// A device that does not even hold a buffer of that size fails before it comes to this.
///
/// # Shapes
///
/// - `table`: `[n_embedding, d_model]`
/// - `ids`: `[batch, sequence]`, each below `n_embedding`
/// - output: `[batch, sequence, d_model]`
pub fn lookup(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    match rows_at_once(&table) {
        Some(rows) => lookup_in_parts(table, ids, rows),
        None => embedding(table, ids),
    }
}

/// `x·tableᵀ`: what an output layer says that shares its weight with a table of vectors.
///
/// The table may be larger than what a kernel can take, as in [`lookup`].
///
/// # Shapes
///
/// - `x`: `[rows, d_model]`
/// - `table`: `[n_embedding, d_model]`
/// - output: `[rows, n_embedding]`
pub fn lookup_transposed(x: Tensor<2>, table: Tensor<2>) -> Tensor<2> {
    match rows_at_once(&table) {
        Some(rows) => {
            let parts = parts(&table, rows).map(|(_, part)| x.clone().matmul(part.transpose()));
            Tensor::cat(parts.collect(), 1)
        }
        None => x.matmul(table.transpose()),
    }
}

/// A table with fresh vectors.
pub(crate) fn init(
    [rows, width]: [usize; 2],
    initializer: &Initializer,
    device: &Device,
) -> Param<Tensor<2>> {
    let fresh = |rows: usize| initializer.init([rows, width], device);
    match largest(device, [rows, width], size_of::<f32>()) {
        Some(at_once) => {
            let sizes = (0..rows)
                .step_by(at_once)
                .map(|first| at_once.min(rows - first));
            let parts = sizes.map(|rows| fresh(rows).val().into_data().convert::<f32>());
            let values: Vec<f32> = parts
                .flat_map(|part| part.iter::<f32>().collect::<Vec<_>>())
                .collect();
            Param::from_tensor(Tensor::from_data(
                TensorData::new(values, [rows, width]),
                device,
            ))
        }
        None => fresh(rows),
    }
}

/// How many rows a kernel can take, if they are not all.
fn rows_at_once(table: &Tensor<2>) -> Option<usize> {
    largest(&table.device(), table.dims(), table.dtype().size())
}

fn largest(device: &Device, [rows, width]: [usize; 2], size: usize) -> Option<usize> {
    let limit = largest_binding(device)?;
    let row = (width * size).max(1);
    // Views begin where a buffer may be cut.
    let together = ALIGNMENT / gcd(ALIGNMENT, row);
    (rows * row > limit).then(|| (limit / row / together * together).max(together))
}

fn gcd(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

/// Each part with the number of its first row.
fn parts(table: &Tensor<2>, at_once: usize) -> impl Iterator<Item = (usize, Tensor<2>)> {
    let [rows, _] = table.dims();
    (0..rows).step_by(at_once).map(move |first| {
        let end = rows.min(first + at_once);
        (first, table.clone().slice(s![first..end]))
    })
}

fn lookup_in_parts(table: Tensor<2>, ids: Tensor<2, Int>, at_once: usize) -> Tensor<3> {
    let [batch, sequence] = ids.dims();
    let found = parts(&table, at_once).map(|(first, part)| {
        let [rows, _] = part.dims();
        let (first, last) = (first as i64, (first + rows - 1) as i64);
        let inside = ids.clone().greater_equal_elem(first);
        let inside = inside.bool_and(ids.clone().lower_equal_elem(last));
        let local = ids.clone().clamp(first, last).sub_scalar(first);
        // Zeros where the row lies in another part.
        let outside = inside.bool_not().reshape([batch, sequence, 1]);
        embedding(part, local).mask_fill(outside, 0.0)
    });
    found
        .reduce(|sum, part| sum + part)
        .unwrap_or_else(|| embedding(table.clone(), ids.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::default_device;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn a_table_in_parts_gives_the_same_vectors() {
        let device = default_device();
        let table = Tensor::<2>::random([11, 4], Distribution::Normal(0.0, 1.0), &device);
        let ids = Tensor::<2, Int>::from_data([[0, 4, 5, 10], [9, 3, 8, 0]], &device);
        let whole = lookup(table.clone(), ids.clone()).into_data();
        for at_once in [1, 4, 5, 10, 11, 64] {
            let parts = lookup_in_parts(table.clone(), ids.clone(), at_once);
            parts.into_data().assert_eq(&whole, true);
        }
    }

    #[test]
    fn parts_cover_the_table_once() {
        let device = default_device();
        let table = Tensor::<2>::random([11, 4], Distribution::Normal(0.0, 1.0), &device);
        let x = Tensor::<2>::random([3, 4], Distribution::Normal(0.0, 1.0), &device);
        let products: Vec<_> = parts(&table, 4)
            .map(|(_, part)| x.clone().matmul(part.transpose()))
            .collect();
        assert_eq!(products.len(), 3);
        let whole = lookup_transposed(x, table).into_data();
        let found = Tensor::cat(products, 1).into_data();
        found.assert_approx_eq::<f32>(&whole, Tolerance::absolute(1e-6));
    }
}
