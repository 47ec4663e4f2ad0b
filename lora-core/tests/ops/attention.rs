//! Attention.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};
use lora_core::ops::{AttentionOptions, Sequences, attention, self_attention};
use proptest::prelude::*;

use crate::common::{gradients, near, normal};

fn options(heads: usize, causal: bool) -> AttentionOptions {
    AttentionOptions {
        heads,
        scale: 0.3,
        causal,
        dropout: 0.0,
    }
}

/// One sequence after the other and one head after the other, as the paper has it.
fn reference(
    [query, key, value]: [Tensor<2>; 3],
    lengths: &[[usize; 2]],
    options: &AttentionOptions,
) -> Tensor<2> {
    let size = query.dims()[1] / options.heads;
    let (mut query_row, mut key_row) = (0, 0);
    let mut rows = Vec::new();
    for &[queries, keys] in lengths {
        if queries > 0 {
            let heads = (0..options.heads).map(|head| {
                let columns = head * size..(head + 1) * size;
                let q = query
                    .clone()
                    .slice([query_row..query_row + queries, columns.clone()]);
                let part =
                    |x: &Tensor<2>| x.clone().slice([key_row..key_row + keys, columns.clone()]);
                let mut scores = q.matmul(part(&key).transpose()).mul_scalar(options.scale);
                if options.causal {
                    let offset = keys as i64 - queries as i64;
                    let device = scores.device();
                    let later = Tensor::<2, Bool>::tril_mask([queries, keys], offset, &device);
                    scores = scores.mask_fill(later, f32::MIN);
                }
                softmax(scores, 1).matmul(part(&value))
            });
            rows.push(Tensor::cat(heads.collect(), 1));
        }
        query_row += queries;
        key_row += keys;
    }
    Tensor::cat(rows, 0)
}

fn check(lengths: &[[usize; 2]], heads: usize, size: usize, causal: bool) {
    let width = heads * size;
    let queries: usize = lengths.iter().map(|l| l[0]).sum();
    let keys: usize = lengths.iter().map(|l| l[1]).sum();
    let inputs = [
        normal([queries, width]),
        normal([keys, width]),
        normal([keys, width]),
    ];
    let weight = normal([queries, width]);
    let options = options(heads, causal);
    let sequences =
        Sequences::packed(lengths.iter().map(|l| l[1])).with_queries(lengths.iter().map(|l| l[0]));
    let fused = |[q, k, v]: [Tensor<2>; 3]| attention(q, k, v, &sequences, &options);
    let (found, slopes) = gradients(inputs.clone(), fused, &weight);
    let plain = |inputs| reference(inputs, lengths, &options);
    let (expected, expected_slopes) = gradients(inputs, plain, &weight);
    near(&found, &expected, 1e-5);
    for (found, expected) in slopes.iter().zip(&expected_slopes) {
        near(found, expected, 2e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ragged_sequences_forward_and_backward(
        lengths in prop::collection::vec(1usize..40, 1..6),
        heads in 1usize..4,
        size in 1usize..20,
        causal: bool,
    ) {
        let lengths: Vec<_> = lengths.into_iter().map(|n| [n, n]).collect();
        check(&lengths, heads, size, causal);
    }

    #[test]
    fn fewer_queries_than_keys(
        lengths in prop::collection::vec((1usize..30, 0usize..10), 1..5),
        causal: bool,
    ) {
        let lengths: Vec<_> = lengths.into_iter().map(|(q, more)| [q, q + more]).collect();
        check(&lengths, 2, 8, causal);
    }
}

#[test]
fn sequences_longer_than_a_block_of_queries() {
    for causal in [false, true] {
        check(&[[300, 300], [5, 5], [129, 200]], 2, 8, causal);
    }
}

#[test]
fn lengths_and_head_sizes_around_whole_vectors() {
    let lengths = [1, 5, 16, 17, 33, 64, 65, 130, 300].map(|n| [n, n]);
    for size in [8, 20, 32, 64] {
        for causal in [false, true] {
            check(&lengths, 2, size, causal);
        }
    }
}

#[test]
fn few_queries_of_many_keys() {
    let lengths = [[1, 1], [1, 40], [3, 17], [1, 130], [0, 5], [2, 300], [4, 9]];
    for size in [8, 20, 32, 64] {
        for causal in [false, true] {
            check(&lengths, 2, size, causal);
        }
    }
}

#[test]
fn a_query_that_sees_no_key_is_zero_and_has_no_gradient() {
    for size in [6, 16] {
        for lengths in [[7, 4], [2, 1]] {
            let [queries, keys] = lengths;
            let inputs = [queries, keys, keys].map(|rows| normal([rows, size]));
            let sequences = Sequences::packed([keys, 0]).with_queries([queries, 3]);
            let beside = normal([3, size]);
            let [query, key, value] = inputs;
            let query = Tensor::cat(vec![query, beside], 0);
            let weight = normal([queries + 3, size]);
            let options = options(1, true);
            let fused = |[q, k, v]: [Tensor<2>; 3]| attention(q, k, v, &sequences, &options);
            let (found, slopes) = gradients([query, key, value], fused, &weight);
            for values in [&found, &slopes[0]] {
                let hidden = values.clone().slice([0..queries - keys, 0..size]);
                near(&hidden, &hidden.zeros_like(), 0.0);
                let hidden = values.clone().slice([queries..queries + 3, 0..size]);
                near(&hidden, &hidden.zeros_like(), 0.0);
            }
            for slopes in slopes {
                assert!(slopes.sum().into_scalar::<f32>().is_finite());
            }
        }
    }
}

#[test]
fn a_sequence_without_queries_has_keys_without_gradient() {
    check(&[[3, 3], [0, 4], [2, 2]], 2, 4, false);
}

#[test]
fn one_projection_of_query_key_and_value() {
    let (rows, width) = (21, 12);
    let projected = normal([rows, 3 * width]);
    let weight = normal([rows, width]);
    let sequences = Sequences::packed([4, 10, 7]);
    for causal in [false, true] {
        let options = options(3, causal);
        let fused = |[x]: [Tensor<2>; 1]| self_attention(x, &sequences, &options);
        let separate = |[x]: [Tensor<2>; 1]| {
            let part = |i| x.clone().slice([0..rows, i * width..(i + 1) * width]);
            reference([0, 1, 2].map(part), &[[4, 4], [10, 10], [7, 7]], &options)
        };
        let (found, [dx]) = gradients([projected.clone()], fused, &weight);
        let (expected, [expected_dx]) = gradients([projected.clone()], separate, &weight);
        near(&found, &expected, 1e-5);
        near(&dx, &expected_dx, 2e-5);
    }
}

#[test]
fn padding_is_not_seen() {
    let device = lora_core::default_device();
    let (width, options) = (8, options(2, false));
    let inputs = [normal([6, width]), normal([6, width]), normal([6, width])];
    let padding = [[false, false, true], [false, true, true]];
    let padding = Tensor::<2, Bool>::from_data(padding, &device);
    let padded = Sequences::padded(2, 3, Some(padding));
    let [q, k, v] = inputs.clone();
    let found = attention(q, k, v, &padded, &options);
    let rows = |x: &Tensor<2>| {
        let first = x.clone().slice([0..2, 0..width]);
        Tensor::cat(vec![first, x.clone().slice([3..4, 0..width])], 0)
    };
    let [q, k, v] = inputs.each_ref().map(rows);
    let expected = attention(q, k, v, &Sequences::packed([2, 1]), &options);
    near(&rows(&found), &expected, 1e-6);
}

#[test]
fn dropout_is_the_same_forward_and_backward() {
    let device = lora_core::default_device();
    let lengths = [9, 17, 4];
    let (rows, heads, size) = (30, 2, 40);
    let width = heads * size;
    // A value that tells the keys of a sequence apart shows the probabilities themselves.
    let eye = Tensor::<2>::eye(size, &device);
    let places = lengths.iter().map(|n| eye.clone().slice([0..*n, 0..size]));
    let value = Tensor::cat(places.collect(), 0).repeat(&[1, heads]);
    let [query, key] = [normal([rows, width]), normal([rows, width])];
    let weight = normal([rows, width]);
    let sequences = Sequences::packed(lengths);
    let with = AttentionOptions {
        dropout: 0.4,
        ..options(heads, false)
    };
    let inputs = [query, key, value.clone()];
    device.seed(23);
    let fused = |[q, k, v]: [Tensor<2>; 3]| attention(q, k, v, &sequences, &with);
    let (found, slopes) = gradients(inputs.clone(), fused, &weight);
    let [q, k, v] = inputs.clone();
    let all = attention(q, k, v, &sequences, &options(heads, false));
    let ratio = found.clone() / all.clone().add_scalar(1e-30);
    let factors = ratio
        .clone()
        .greater_elem(0.5)
        .float()
        .mul_scalar(1.0 / 0.6);
    near(&ratio, &factors, 1e-4);
    let places = all
        .clone()
        .greater_elem(0.0)
        .float()
        .sum()
        .into_scalar::<f32>();
    let share = factors
        .clone()
        .greater_elem(0.5)
        .float()
        .sum()
        .into_scalar::<f32>()
        / places;
    assert!((share - 0.6).abs() < 0.06, "{share}");

    // The same with these factors on the probabilities, in plain operations.
    let dense = |[q, k, v]: [Tensor<2>; 3]| {
        let (mut row, mut rows) = (0, Vec::new());
        for n in lengths {
            let heads = (0..heads).map(|head| {
                let columns = head * size..(head + 1) * size;
                let part = |x: &Tensor<2>| x.clone().slice([row..row + n, columns.clone()]);
                let scores = part(&q).matmul(part(&k).transpose()).mul_scalar(with.scale);
                let factors = factors
                    .clone()
                    .slice([row..row + n, head * size..head * size + n]);
                (softmax(scores, 1) * Tensor::from_inner(factors)).matmul(part(&v))
            });
            rows.push(Tensor::cat(heads.collect(), 1));
            row += n;
        }
        Tensor::cat(rows, 0)
    };
    let (expected, expected_slopes) = gradients(inputs, dense, &weight);
    near(&found, &expected, 1e-5);
    for (found, expected) in slopes.iter().zip(&expected_slopes) {
        near(found, expected, 2e-5);
    }
}
