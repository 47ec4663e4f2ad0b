//! The product on Burn's CPU backend.

use burn::backend::flex::FlexTensor;

use crate::ops::flex::Values;
use crate::ops::linear::flex::{dims, product};

pub(crate) fn forward(x: FlexTensor, table: FlexTensor) -> FlexTensor {
    let (x, table) = (Values::of(x), Values::of(table));
    let ([rows, width], [tokens, _]) = (dims(&x), dims(&table));
    product([rows, tokens, width], [&x, &table], [false, true], 1.0)
}

/// The gradients of `x` and of the table, of those whose other side there is.
pub(crate) fn backward(
    [x, table]: [Option<FlexTensor>; 2],
    gradient: FlexTensor,
) -> [Option<FlexTensor>; 2] {
    let gradient = Values::of(gradient);
    let [rows, tokens] = dims(&gradient);
    let dx = table.map(Values::of).map(|table| {
        let [_, width] = dims(&table);
        product([rows, width, tokens], [&gradient, &table], [false; 2], 1.0)
    });
    let dtable = x.map(Values::of).map(|x| {
        let [_, width] = dims(&x);
        product([tokens, width, rows], [&gradient, &x], [true, false], 1.0)
    });
    [dx, dtable]
}
