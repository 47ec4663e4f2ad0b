//! The gradients of attention.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};

use super::rows::softmax_backward;
use super::{BLOCK, Head, Inputs, for_heads, with_scratch};
use crate::ops::attention::Attention;
use crate::ops::backend::AttentionInputs;
use crate::ops::flex::{Buffer, Values, tensor};
use crate::ops::gemm::{Matrix, product};

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

    fn head(&self, head: &Head, [to_query, to_key, to_value]: [Option<Matrix>; 3]) {
        let (heads, scale) = (self.attention.heads, self.attention.scale);
        let size = self.width / heads;
        let column = head.index * size;
        let keys = head.keys.start;
        let gradient = Matrix::of(&self.gradient, self.width);
        let [query, key, value] = self.inputs;
        let (k, v) = (key.from(keys, column), value.from(keys, column));
        let [to_key, to_value] = [to_key, to_value].map(|to| Some(to?.from(keys, column)));
        // One block sees all keys and sets their gradients; several add to them.
        let add = head.queries.len() > BLOCK || head.queries.is_empty();
        if add {
            for to in [to_key, to_value].into_iter().flatten() {
                for row in 0..head.keys.len() {
                    // SAFETY: these rows and columns belong to this head of this sequence, which
                    // this thread alone computes.
                    unsafe { to.row_mut(row, size) }.fill(0.0);
                }
            }
        }
        for rows in head.blocks(self.attention) {
            let (first, count, seen) = (rows.first, rows.count, rows.seen);
            with_scratch(2 * count * seen, |scratch| {
                let (scores, slopes) = scratch.split_at_mut(count * seen);
                let (q, g) = (query.from(first, column), gradient.from(first, column));
                let block = Matrix::of_mut(scores, seen);
                let slope = Matrix::of_mut(slopes, seen);
                // SAFETY: the matrices have these rows and columns, by the shapes that were checked
                // in the forward pass; this thread alone has the scratch memory.
                unsafe {
                    let shape = [count, seen, size];
                    product(shape, block, false, q, k.transposed(), scale, false);
                    product(shape, slope, false, g, v.transposed(), 1.0, false);
                }
                let mut logarithms = [0.0; BLOCK];
                for (row, logarithm) in logarithms[..count].iter_mut().enumerate() {
                    *logarithm = self.normalisers[(first + row) * heads + head.index];
                }
                softmax_backward(scores, slopes, rows, &logarithms[..count], scale);
                // SAFETY: as above, and these rows and columns of the gradients belong to this head
                // of this sequence.
                unsafe {
                    let shape = [seen, size, count];
                    if let Some(to) = to_value {
                        product(shape, to, add, block.transposed(), g, 1.0, false);
                    }
                    if let Some(to) = to_key {
                        product(shape, to, add, slope.transposed(), q, 1.0, false);
                    }
                    if let Some(to) = to_query {
                        let to = to.from(first, column);
                        product([count, size, seen], to, false, slope, k, 1.0, false);
                    }
                }
            });
        }
    }
}
