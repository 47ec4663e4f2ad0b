//! The gradients of attention.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};
use macerator::Simd;

use super::copies::copy;
use super::products::{Turned, weighted};
use super::rows::softmax_backward;
use super::scratch::{stride, whole, with_scratch};
use super::{BLOCK, Head, Inputs, for_heads};
use crate::ops::attention::Attention;
use crate::ops::backend::AttentionInputs;
use crate::ops::flex::{Buffer, Values, tensor};
use crate::ops::gemm::Matrix;

/// The gradients of the inputs that are `wanted`: of the one matrix, or of query, key and value.
pub(crate) fn backward(
    inputs: AttentionInputs<Flex>,
    normalisers: FlexTensor,
    gradient: FlexTensor,
    attention: &Attention,
    wanted: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let inputs = Inputs::of(inputs);
    let width = inputs.width;
    let sequences = &attention.sequences;
    let rows = [sequences.queries(), sequences.keys(), sequences.keys()];
    let pass = Pass {
        inputs: inputs.matrices(),
        normalisers: Values::of(normalisers),
        gradient: Values::of(gradient),
        attention,
        width,
    };
    if inputs.values.len() == 1 {
        let mut together = Buffer::any(rows[0] * 3 * width);
        let matrix = Matrix::of_mut(&mut together, 3 * width);
        pass.run([0, 1, 2].map(|part| Some(matrix.from(0, part * width))));
        let shape = Shape::new([rows[0], 3 * width]);
        return [Some(tensor(together, shape)), None, None];
    }
    let mut outputs = [0, 1, 2].map(|part| wanted[part].then(|| Buffer::any(rows[part] * width)));
    let to = outputs.each_mut();
    pass.run(to.map(|values| values.as_mut().map(|values| Matrix::of_mut(values, width))));
    let mut rows = rows.into_iter();
    outputs.map(|values| {
        let shape = Shape::new([rows.next().unwrap_or_default(), width]);
        values.map(|values| tensor(values, shape))
    })
}

/// What all heads need.
struct Pass<'a> {
    inputs: [Matrix; 3],
    normalisers: Values,
    gradient: Values,
    attention: &'a Attention,
    width: usize,
}

impl Pass<'_> {
    /// Computes the gradients of query, key and value, where there is a matrix `to` put them.
    fn run(&self, to: [Option<Matrix>; 3]) {
        for_heads(self.attention, |head| self.head(&head, to));
    }

    fn head(&self, head: &Head, to: [Option<Matrix>; 3]) {
        let (keys, apart) = (head.keys.len(), stride(head.keys.len()));
        let (size, block) = (self.width / self.attention.heads, head.block());
        let wide = whole(size);
        let lens = [
            size * apart,
            size * apart,
            keys * wide,
            block * wide,
            block * wide,
            block * apart,
            block * apart,
            apart,
            keys.max(block) * wide,
        ];
        with_scratch(lens, |scratch| run(self, head, to, scratch));
    }
}

/// The gradients of one head. All of it is in one function, so that the instructions are chosen once.
#[macerator::with_simd]
fn run<'a, S: Simd>(
    pass: &Pass<'a>,
    head: &Head,
    to: [Option<Matrix>; 3],
    scratch: [&mut [f32]; 9],
) {
    let [
        turned_key,
        turned_value,
        copied_key,
        copied_query,
        copied_gradient,
        scores,
        slopes,
        before,
        spare,
    ] = scratch;
    let (heads, scale) = (pass.attention.heads, pass.attention.scale);
    let size = pass.width / heads;
    let (keys, apart) = (head.keys.len(), stride(head.keys.len()));
    let column = head.index * size;
    let few = head.has_few_queries(size);
    let [query, key, value] = pass.inputs;
    let [mut key, value] = [key, value].map(|matrix| matrix.from(head.keys.start, column));
    let gradient = Matrix::of(&pass.gradient, pass.width);
    let [to_query, to_key, to_value] = to;
    let [to_key, to_value] = [to_key, to_value].map(|to| Some(to?.from(head.keys.start, column)));
    // One block sees all keys and sets their gradients; several add to them.
    let add = head.queries.len() > BLOCK || head.queries.is_empty();
    // SAFETY: the matrices have these rows and columns, by the shapes that were checked in the
    // forward pass. This thread alone has the scratch memory, and these rows and columns of the
    // gradients, which belong to one head. The instructions are there.
    unsafe {
        if add {
            for to in [to_key, to_value].into_iter().flatten() {
                for row in 0..keys {
                    to.row_mut(row, size).fill(0.0);
                }
            }
        }
        let shape = [keys, size];
        let right_key = Turned::new::<S>(key, shape, scale, few, (turned_key, apart));
        let right_value = Turned::new::<S>(value, shape, 1.0, few, (turned_value, apart));
        if !few {
            copy(key, shape, copied_key);
            key = Matrix::of(copied_key, whole(size));
        }
        for rows in head.blocks(pass.attention) {
            let (first, count, seen) = (rows.first, rows.count, rows.seen);
            let mut lefts = [query, gradient].map(|matrix| matrix.from(first, column));
            if !few {
                for (left, to) in lefts.iter_mut().zip([&mut *copied_query, copied_gradient]) {
                    copy(*left, [count, size], to);
                    *left = Matrix::of(to, whole(size));
                }
            }
            let [q, g] = lefts;
            for (left, right, to) in [(q, right_key, &mut *scores), (g, right_value, slopes)] {
                right.times::<S>([count, seen, size], left, (to, apart));
            }
            let mut logarithms = [0.0; BLOCK];
            for (row, logarithm) in logarithms[..count].iter_mut().enumerate() {
                *logarithm = pass.normalisers[(first + row) * heads + head.index];
            }
            let both = [&mut *scores, slopes];
            softmax_backward::<S>(both, before, apart, rows, &logarithms[..count], scale);
            let [p, s] = [&*scores, slopes].map(|values| Matrix::of(values, apart));
            for (to, weights, rows) in [(to_value, p, g), (to_key, s, q)] {
                if let Some(to) = to {
                    let factors = [weights.transposed(), rows];
                    weighted::<S>([seen, size, count], to, add, factors, spare);
                }
            }
            if let Some(to) = to_query {
                let to = to.from(first, column);
                weighted::<S>([count, size, seen], to, false, [s, key], spare);
            }
        }
    }
}
