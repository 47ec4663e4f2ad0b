//! The outputs of attention.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};
use macerator::Simd;

use super::copies::copy;
use super::products::{Turned, weighted};
use super::rows::softmax;
use super::scratch::{stride, whole, with_scratch};
use super::{BLOCK, Head, Inputs, for_heads};
use crate::ops::attention::Attention;
use crate::ops::backend::AttentionInputs;
use crate::ops::flex::{Buffer, tensor};
use crate::ops::gemm::Matrix;

/// The output, and the logarithm of the sum of exponentials of each query and head,
/// `[queries, heads]`.
pub(crate) fn forward(
    inputs: AttentionInputs<Flex>,
    attention: &Attention,
) -> (FlexTensor, FlexTensor) {
    let inputs = Inputs::of(inputs);
    let (queries, width) = (attention.sequences.queries(), inputs.width);
    let heads = attention.heads;
    let mut out = Buffer::any(queries * width);
    let mut normalisers = Buffer::any(queries * heads);
    let pass = Pass {
        inputs: inputs.matrices(),
        to: Matrix::of_mut(&mut out, width),
        logarithms: Matrix::of_mut(&mut normalisers, heads),
        attention,
        size: width / heads,
    };
    for_heads(attention, |head| pass.head(&head));
    (
        tensor(out, Shape::new([queries, width])),
        tensor(normalisers, Shape::new([queries, heads])),
    )
}

/// What all heads need.
struct Pass<'a> {
    inputs: [Matrix; 3],
    to: Matrix,
    logarithms: Matrix,
    attention: &'a Attention,
    /// The width of a head.
    size: usize,
}

impl Pass<'_> {
    fn head(&self, head: &Head) {
        let (keys, apart) = (head.keys.len(), stride(head.keys.len()));
        let (size, wide) = (self.size, whole(self.size));
        let lens = [
            size * apart,
            keys * wide,
            head.block() * apart,
            head.block() * wide,
        ];
        with_scratch(lens, |scratch| run(self, head, scratch));
    }
}

/// The output of one head. All of it is in one function, so that the instructions are chosen once.
#[macerator::with_simd]
fn run<'a, S: Simd>(pass: &Pass<'a>, head: &Head, scratch: [&mut [f32]; 4]) {
    let [turned, copied, scores, spare] = scratch;
    let (size, scale) = (pass.size, pass.attention.scale);
    let (keys, apart) = (head.keys.len(), stride(head.keys.len()));
    let column = head.index * size;
    let few = head.has_few_queries(size);
    let [query, key, value] = pass.inputs;
    let [key, mut value] = [key, value].map(|matrix| matrix.from(head.keys.start, column));
    // SAFETY: the matrices have these rows and columns, by the shapes that were checked against
    // `sequences`. This thread alone has the scratch memory, and these rows and columns of the
    // output, which belong to one head. The instructions are there.
    unsafe {
        let key = Turned::new::<S>(key, [keys, size], scale, few, (turned, apart));
        if !few {
            copy(value, [keys, size], copied);
            value = Matrix::of(copied, whole(size));
        }
        for rows in head.blocks(pass.attention) {
            let (first, count, seen) = (rows.first, rows.count, rows.seen);
            let query = query.from(first, column);
            key.times::<S>([count, seen, size], query, (scores, apart));
            let (mut logarithms, mut shares) = ([0.0; BLOCK], [0.0; BLOCK]);
            softmax::<S>((scores, apart), rows, &mut logarithms, &mut shares);
            let to = pass.to.from(first, column);
            let factors = [Matrix::of(scores, apart), value];
            weighted::<S>([count, size, seen], to, false, factors, spare);
            for row in 0..count {
                let to = to.row_mut(row, size);
                to.iter_mut().for_each(|value| *value *= shares[row]);
                let logarithm = pass.logarithms.from(first + row, head.index);
                logarithm.row_mut(0, 1)[0] = logarithms[row];
            }
        }
    }
}
