//! The product on Burn's CPU backend.

use burn::backend::Shape;
use burn::backend::flex::FlexTensor;

use crate::ops::flex::{Buffer, Values, tensor};
use crate::ops::gemm::write;

pub(crate) fn forward(x: FlexTensor, table: FlexTensor) -> FlexTensor {
    let (x, table) = (Values::of(x), Values::of(table));
    let ([rows, width], [tokens, _]) = (dims(&x), dims(&table));
    product([rows, tokens, width], [&x, &table], [false, true])
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
        product([rows, width, tokens], [&gradient, &table], [false, false])
    });
    let dtable = x.map(Values::of).map(|x| {
        let [_, width] = dims(&x);
        product([tokens, width, rows], [&gradient, &x], [true, false])
    });
    [dx, dtable]
}

fn product(shape: [usize; 3], sides: [&[f32]; 2], transposed: [bool; 2]) -> FlexTensor {
    let [rows, columns, _] = shape;
    let mut out = Buffer::any(rows * columns);
    write(shape, &mut out, false, sides, transposed, 1.0);
    tensor(out, Shape::new([rows, columns]))
}

fn dims(values: &Values) -> [usize; 2] {
    let shape = values.shape();
    [shape[0], shape[1]]
}
