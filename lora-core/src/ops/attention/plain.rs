//! Attention by tensor operations, which every backend has.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

use super::{AttentionOptions, Sequences};
use crate::ops::dropout;

pub(super) fn attention(
    query: Tensor<2>,
    key: Tensor<2>,
    value: Tensor<2>,
    sequences: &Sequences,
    options: &AttentionOptions,
) -> Tensor<2> {
    let count = sequences.len();
    if let Some(lengths) = sequences.common_lengths() {
        return equal_lengths(
            query,
            [key, value],
            count,
            lengths,
            sequences.padding(),
            options,
        );
    }
    let [_, width] = query.dims();
    let outputs = (0..count).filter(|index| !sequences.query_rows(*index).is_empty());
    let outputs = outputs.map(|index| {
        let (queries, keys) = (sequences.query_rows(index), sequences.key_rows(index));
        let lengths = [queries.len(), keys.len()];
        let query = query.clone().slice([queries, 0..width]);
        let part = |x: &Tensor<2>| x.clone().slice([keys.clone(), 0..width]);
        equal_lengths(query, [part(&key), part(&value)], 1, lengths, None, options)
    });
    match outputs.collect::<Vec<_>>() {
        none if none.is_empty() => query,
        outputs => Tensor::cat(outputs, 0),
    }
}

/// Attention within each of `count` sequences of the same lengths, of queries and of keys.
fn equal_lengths(
    query: Tensor<2>,
    [key, value]: [Tensor<2>; 2],
    count: usize,
    [queries, keys]: [usize; 2],
    padding: Option<&Tensor<2, Bool>>,
    options: &AttentionOptions,
) -> Tensor<2> {
    let [_, width] = query.dims();
    let heads = options.heads;
    let split = |x: Tensor<2>, length: usize| {
        x.reshape([count, length, heads, width / heads])
            .swap_dims(1, 2)
    };
    // Scaling the queries costs less than scaling the scores.
    let query = split(query.mul_scalar(options.scale), queries);
    let (key, value) = (split(key, keys), split(value, keys));
    let mut scores = query.matmul(key.swap_dims(2, 3));
    let shape = scores.dims();
    if let Some(padding) = padding {
        let padding = padding.clone().reshape([count, 1, 1, keys]);
        scores = scores.mask_fill(padding.expand(shape), f32::MIN);
    }
    if options.causal {
        let offset = keys as i64 - queries as i64;
        let later = Tensor::<2, Bool>::tril_mask([queries, keys], offset, &scores.device());
        let later = later.reshape([1, 1, queries, keys]).expand(shape);
        scores = scores.mask_fill(later, f32::MIN);
    }
    let probabilities = dropout::plain(softmax(scores, 3), options.dropout);
    probabilities
        .matmul(value)
        .swap_dims(1, 2)
        .reshape([count * queries, width])
}
