//! Attention on Burn's CPU backend.

mod backward;
mod copies;
mod forward;
mod products;
mod rows;
mod scratch;
mod turn;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

use burn::backend::Flex;
use rayon::prelude::*;

use super::Attention;
use crate::ops::backend::AttentionInputs;
use crate::ops::flex::Values;
use crate::ops::gemm::Matrix;
use rows::Rows;
use scratch::whole;

/// How many queries are computed at a time: their scores stay in the cache, and those of a causal
/// model are not multiplied with many keys that they do not see.
const BLOCK: usize = 64;

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
    /// The number of queries of the largest block.
    fn block(&self) -> usize {
        BLOCK.min(self.queries.len())
    }

    /// Whether there are so few queries that keys and values, in heads of this size, are best read as
    /// they are.
    fn has_few_queries(&self, size: usize) -> bool {
        self.queries.len() < 4 && size == whole(size)
    }

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
