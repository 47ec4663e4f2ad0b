//! The vectors of a batch that count.

use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::failed;
use crate::LoraError;

/// The rows of `[batch · sequence, d]` that a mask of `[batch, sequence]` has, and how many rows it
/// is for.
pub(super) fn rows_of(positions: Tensor<2, Bool>) -> (usize, Vec<i64>) {
    let positions = positions.into_data();
    let chosen = positions.iter::<bool>().enumerate();
    let rows = chosen.filter(|(_, counts)| *counts).map(|(i, _)| i as i64);
    (positions.num_elements(), rows.collect())
}

/// The rows of `input` that count.
pub(super) fn counted(
    module: &str,
    input: Tensor<2>,
    rows: Option<&(usize, Vec<i64>)>,
) -> Result<Tensor<2>, LoraError> {
    let Some((all, rows)) = rows else {
        return Ok(input);
    };
    let [found, _] = input.dims();
    if found != *all {
        let message = format!(
            "it got {found} vectors, and the positions are for {all}: exclude the layer, or do \
             without positions"
        );
        return Err(failed(module, message));
    }
    let rows = TensorData::new(rows.clone(), [rows.len()]);
    let rows = Tensor::<1, Int>::from_data(rows, &input.device());
    Ok(input.select(0, rows))
}
