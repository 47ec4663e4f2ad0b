//! Attention on Burn's CPU backend.

mod backward;
mod rows;

pub(crate) use backward::backward;

use std::cell::RefCell;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, Shape};
use rayon::prelude::*;

use super::Attention;
use crate::ops::backend::AttentionInputs;
use crate::ops::flex::{Buffer, Values, tensor};
use crate::ops::gemm::{Matrix, product};
use rows::{Rows, softmax};

/// How many queries are computed at a time: their scores stay in the cache.
const BLOCK: usize = 128;

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
    let (to, logarithms) = (
        Matrix::of_mut(&mut out, width),
        Matrix::of_mut(&mut normalisers, heads),
    );
    let [query, key, value] = inputs.matrices();
    let size = width / heads;
    for_heads(attention, |head| {
        let column = head.index * size;
        let keys = head.keys.start;
        for rows in head.blocks(attention) {
            let (first, count, seen) = (rows.first, rows.count, rows.seen);
            with_scratch(count * seen, |scores| {
                let block = Matrix::of_mut(scores, seen);
                // SAFETY: the matrices have these rows and columns, by the shapes that were checked
                // against `sequences`; this thread alone has `scores`, and these rows and columns
                // of the output, which belong to one block of one head.
                unsafe {
                    let (q, k) = (query.from(first, column), key.from(keys, column));
                    let shape = [count, seen, size];
                    product(
                        shape,
                        block,
                        false,
                        q,
                        k.transposed(),
                        attention.scale,
                        false,
                    );
                }
                let mut sums = [0.0; BLOCK];
                softmax(scores, rows, &mut sums[..count]);
                // SAFETY: as above.
                unsafe {
                    for (row, sum) in sums[..count].iter().enumerate() {
                        logarithms.from(first + row, head.index).row_mut(0, 1)[0] = *sum;
                    }
                    let (o, v) = (to.from(first, column), value.from(keys, column));
                    product([count, size, seen], o, false, block, v, 1.0, false);
                }
            });
        }
    });
    (
        tensor(out, Shape::new([queries, width])),
        tensor(normalisers, Shape::new([queries, heads])),
    )
}

/// Query, key and value.
struct Inputs {
    values: Vec<Values>,
    width: usize,
}

impl Inputs {
    fn of(inputs: AttentionInputs<Flex>) -> Self {
        let (values, parts) = match inputs {
            AttentionInputs::Separate(inputs) => (inputs.map(Values::of).into(), 1),
            AttentionInputs::Together(input) => (vec![Values::of(input)], 3),
        };
        let width = crate::ops::dropout::flex::width(&values[0].shape()) / parts;
        Self { values, width }
    }

    /// Query, key and value as matrices that may only be read.
    fn matrices(&self) -> [Matrix; 3] {
        match &self.values[..] {
            [together] => {
                let matrix = Matrix::of(together, 3 * self.width);
                [0, 1, 2].map(|part| matrix.from(0, part * self.width))
            }
            separate => [0, 1, 2].map(|part| Matrix::of(&separate[part], self.width)),
        }
    }
}

/// One head of one sequence.
struct Head {
    index: usize,
    queries: std::ops::Range<usize>,
    keys: std::ops::Range<usize>,
}

impl Head {
    /// The queries, some at a time, with the keys that they see.
    fn blocks(&self, attention: &Attention) -> impl Iterator<Item = Rows> + use<> {
        let (queries, keys) = (self.queries.clone(), self.keys.len());
        // The last query is at the place of the last key.
        let ahead = (keys as isize) - (queries.len() as isize);
        let causal = attention.causal;
        let mask = attention.mask;
        let numbered = self.index * attention.sequences.queries();
        let starts = queries.clone().step_by(BLOCK);
        starts.map(move |first| {
            let count = BLOCK.min(queries.end - first);
            let place = (first - queries.start) as isize + ahead;
            let limit = |row: usize| (place + row as isize + 1).clamp(0, keys as isize) as usize;
            Rows {
                first,
                count,
                seen: if causal { limit(count - 1) } else { keys },
                place: causal.then_some(place),
                mask,
                number: numbered + first,
            }
        })
    }
}

/// Calls `f` for each head of each sequence, on all threads.
fn for_heads(attention: &Attention, f: impl Fn(Head) + Sync) {
    let (sequences, heads) = (&attention.sequences, attention.heads);
    (0..sequences.len() * heads).into_par_iter().for_each(|i| {
        let (sequence, index) = (i / heads, i % heads);
        f(Head {
            index,
            queries: sequences.query_rows(sequence),
            keys: sequences.key_rows(sequence),
        });
    });
}

/// Calls `f` with `len` values of any content that this thread keeps for the next time.
fn with_scratch(len: usize, f: impl FnOnce(&mut [f32])) {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        f(&mut scratch[..len]);
    });
}
