//! Linear layers on Burn's CPU backend.

mod low_rank;
mod narrow;
mod packed;
mod rows;
mod weight;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};

use super::Update;
use crate::ops::backend::{LinearState, LinearWeight};
use crate::ops::flex::{Buffer, Values, tensor};
use crate::ops::gemm::{Terms, write};
use low_rank::{Backward, Input, Slopes};
use narrow::transposed;
use rows::sum_rows;
use weight::Weight;

/// The output, and `dropout(x)·A` if there is an update.
pub(crate) fn forward(
    x: FlexTensor,
    weight: LinearWeight<Flex>,
    bias: FlexTensor,
    update: Option<([FlexTensor; 2], Update)>,
) -> (FlexTensor, Option<FlexTensor>) {
    let (x, weight, bias) = (Values::of(x), Weight::of(weight), Values::of(bias));
    let ([rows, d_in], [_, d_out]) = (dims(&x), weight.dims());
    let mut out = Buffer::any(rows * d_out);
    let update = update.map(|([a, b], Update { scaling, mask })| {
        let (a, b) = (Values::of(a), Values::of(b));
        let [rank, _] = dims(&b);
        (Input { values: &x, mask }.times(&a, rank), b, rank, scaling)
    });
    let terms = update
        .as_ref()
        .map(|(narrow, wide, rank, scaling)| Terms::update(narrow, wide, *rank, *scaling));
    let terms = terms.unwrap_or_default().with_bias(&bias);
    weight.multiply([rows, d_out, d_in], &mut out, &x, false, &terms, None);
    let narrow = update.map(|(narrow, _, rank, _)| tensor(narrow, Shape::new([rows, rank])));
    (tensor(out, Shape::new([rows, d_out])), narrow)
}

/// The gradients of `x`, the weight, the bias, `A` and `B`, of those that are `wanted`.
pub(crate) fn backward(
    state: LinearState<Flex>,
    gradient: FlexTensor,
    wanted: [bool; 5],
) -> [Option<FlexTensor>; 5] {
    let gradient = Values::of(gradient);
    let [rows, d_out] = dims(&gradient);
    let x = state.x.map(Values::of);
    let mut update = None;
    let [mut da, mut db] = [const { None }; 2];
    if let Some(low_rank) = state.low_rank {
        let [a, b] = low_rank.factors.map(Values::of);
        let Update { scaling, mask } = low_rank.update;
        let [d_in, rank] = dims(&a);
        let narrow = wanted[4].then(|| Values::of(low_rank.narrow));
        let values = x.as_ref().filter(|_| wanted[3]);
        let pass = Backward {
            gradient: &gradient,
            b: &b,
            scaling,
            narrow: narrow.as_deref(),
            input: values.map(|values| Input { values, mask }),
            dims: [rows, d_in, d_out, rank],
        };
        let slope;
        Slopes { slope, da, db } = pass.run();
        update = wanted[0].then(|| (slope, transposed(&a, rank), rank, mask));
    }
    let dx = state.weight.filter(|_| wanted[0]).map(|weight| {
        let weight = Weight::of(weight);
        let [d_in, _] = weight.dims();
        let mut out = Buffer::any(rows * d_in);
        let terms = update
            .as_ref()
            .map(|(slope, wide, rank, _)| Terms::update(slope, wide, *rank, 1.0));
        let terms = terms.unwrap_or_default();
        let mask = update.as_ref().map(|(.., mask)| *mask);
        let shape = [rows, d_in, d_out];
        weight.multiply(shape, &mut out, &gradient, true, &terms, mask);
        tensor(out, Shape::new([rows, d_in]))
    });
    let dw = x.filter(|_| wanted[1]).map(|x| {
        let [_, d_in] = dims(&x);
        product([d_in, d_out, rows], [&x, &gradient], [true, false], 1.0)
    });
    let dbias = wanted[2].then(|| {
        let sums = sum_rows(&gradient, d_out);
        tensor(Buffer::copy(&sums), Shape::new([d_out]))
    });
    [dx, dw, dbias, da, db]
}

pub(in crate::ops) fn dims(values: &Values) -> [usize; 2] {
    values.shape().dims()
}

/// The product of two matrices, each of which may be stored the other way round.
pub(in crate::ops) fn product(
    shape: [usize; 3],
    inputs: [&[f32]; 2],
    transposed: [bool; 2],
    factor: f32,
) -> FlexTensor {
    let [rows, columns, _] = shape;
    let mut out = Buffer::any(rows * columns);
    write(shape, &mut out, false, inputs, transposed, factor);
    tensor(out, Shape::new([rows, columns]))
}
