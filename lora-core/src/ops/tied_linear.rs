//! Products with a table of tokens, as the output layer of a language model has them.

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;

use burn::tensor::Tensor;

/// `x·tableᵀ`: for each row of `x` its product with each row of the table.
///
/// # Shapes
///
/// - `x`: `[rows, width]`
/// - `table`: `[tokens, width]`
/// - output: `[rows, tokens]`, on the device of the table
///
/// # Panics
///
/// Panics if the widths differ.
pub fn tied_linear(x: Tensor<2>, table: Tensor<2>) -> Tensor<2> {
    assert_eq!(
        x.dims()[1],
        table.dims()[1],
        "the rows of a table are as long as those it is multiplied with"
    );
    // A table that is too large for the device is on the CPU, and the logits may be larger still.
    let x = match x.device() == table.device() {
        true => x,
        false => x.to_device(&table.device()),
    };
    #[cfg(feature = "flex")]
    if super::is_fast(&x) && super::is_fast(&table) {
        use super::backend::LoraBackend;
        let (x, table) = (x.into_dispatch(), table.into_dispatch());
        return Tensor::from_dispatch(burn::backend::Dispatch::fused_tied_linear(x, table));
    }
    x.matmul(table.transpose())
}
