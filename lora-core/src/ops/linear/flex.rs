//! Linear layers on Burn's CPU backend.

mod low_rank;
mod narrow;
mod packed;
mod rows;

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};

use super::Update;
use crate::ops::backend::{LinearState, LinearWeight};
use crate::ops::dropout::flex::scale_rows;
use crate::ops::flex::{Buffer, Values, for_rows, tensor};
use crate::ops::gemm::write;
use crate::quantization::PackedWeight;
use low_rank::{Backward, Input, Slopes};
use narrow::transposed;
use rows::{set_products, sum_rows};

/// Up to this rank the update is added row by row while the output is set up, which writes it once;
/// beyond, as a product of its own.
const NARROW: usize = 16;

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
    let is_set = update.is_some() || !bias.is_empty();
    let mut narrow = None;
    match update {
        Some(([a, b], Update { scaling, mask })) => {
            let (a, b) = (Values::of(a), Values::of(b));
            let [rank, _] = dims(&b);
            let found = Input { values: &x, mask }.times(&a, rank);
            let update = Product {
                narrow: &found,
                wide: &b,
                rank,
                width: d_out,
                scaling,
            };
            update.set(&mut out, &bias);
            narrow = Some(tensor(found, Shape::new([rows, rank])));
        }
        None if is_set => fill(&mut out, &bias, d_out),
        None => {}
    }
    match &weight {
        Weight::Dense(weight) => write(
            [rows, d_out, d_in],
            &mut out,
            is_set,
            [&x, weight],
            [false; 2],
            1.0,
        ),
        Weight::Packed(weight) => packed::forward(&mut out, is_set, &x, weight),
    }
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
    let mut dx = None;
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
        dx = wanted[0].then(|| {
            let mut out = Buffer::any(rows * d_in);
            let update = Product {
                narrow: &slope,
                wide: &transposed(&a, rank),
                rank,
                width: d_in,
                scaling: 1.0,
            };
            update.set(&mut out, &[]);
            if !mask.is_empty() {
                scale_rows(&mut out, d_in, mask);
            }
            out
        });
    }
    let dx = state.weight.filter(|_| wanted[0]).map(|weight| {
        let weight = Weight::of(weight);
        let [d_in, _] = weight.dims();
        let is_set = dx.is_some();
        let mut out = dx.unwrap_or_else(|| Buffer::any(rows * d_in));
        let shape = [rows, d_in, d_out];
        match &weight {
            Weight::Dense(weight) => write(
                shape,
                &mut out,
                is_set,
                [&gradient, weight],
                [false, true],
                1.0,
            ),
            Weight::Packed(weight) => packed::backward(&mut out, is_set, &gradient, weight),
        }
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

/// What a linear layer's input is multiplied with, ready to be read.
enum Weight {
    Dense(Values),
    Packed(Arc<PackedWeight>),
}

impl Weight {
    fn of(weight: LinearWeight<Flex>) -> Self {
        match weight {
            LinearWeight::Dense(tensor) => Self::Dense(Values::of(tensor)),
            LinearWeight::Packed(packed) => Self::Packed(packed),
        }
    }

    /// `[d_in, d_out]`.
    fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(values) => dims(values),
            Self::Packed(packed) => {
                let [d_out, d_in] = packed.shape();
                [d_in, d_out]
            }
        }
    }
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

/// Sets each row to the bias.
fn fill(out: &mut [f32], bias: &[f32], width: usize) {
    for_rows(out, width, |_, rows| {
        for row in rows.chunks_mut(width) {
            row.copy_from_slice(bias);
        }
    });
}

/// `scaling · narrow·wide`, of matrices that share a short side.
struct Product<'a> {
    narrow: &'a [f32],
    wide: &'a [f32],
    rank: usize,
    width: usize,
    scaling: f32,
}

impl Product<'_> {
    /// Sets each row of `out` to the bias (0 if it is empty) and the product.
    fn set(&self, out: &mut [f32], bias: &[f32]) {
        let Self { rank, width, .. } = *self;
        if rank <= NARROW {
            return for_rows(out, width, |first, rows| {
                let narrow = &self.narrow[first * rank..][..rows.len() / width * rank];
                set_products(rows, bias, narrow, self.wide, self.scaling, rank, width);
            });
        }
        if !bias.is_empty() {
            fill(out, bias, width);
        }
        let shape = [out.len() / width, width, rank];
        let inputs = [self.narrow, self.wide];
        write(
            shape,
            out,
            !bias.is_empty(),
            inputs,
            [false; 2],
            self.scaling,
        );
    }
}
