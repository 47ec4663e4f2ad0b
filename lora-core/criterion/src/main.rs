//! Each operation beside the same in Burn's own operations, forward and backward, in the shapes of
//! RoBERTa-base with 16 sequences of 64 tokens.
//!
//! ```text
//! cd lora-core/criterion
//! cargo run --release -- --bench gelu
//! ```

#![allow(missing_docs, reason = "criterion writes functions without")]

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::activation::{gelu as burns_gelu, softmax};
use burn::tensor::module::{layer_norm as burns_layer_norm, linear as burns_linear};
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use lora_core::ops::{
    Affine, AttentionOptions, Gelu, LowRank, Sequences, attention, dropout, gelu, low_rank_linear,
    residual_norm,
};

const BATCH: usize = 16;
const LENGTH: usize = 64;
const ROWS: usize = BATCH * LENGTH;
const WIDTH: usize = 768;
const INNER: usize = 3072;
const HEADS: usize = 12;
const RANK: usize = 8;

fn device() -> Device {
    Device::flex().autodiff()
}

fn normal<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
}

fn tracked<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    normal(shape).require_grad()
}

/// Times the forward and backward passes of `fused` and of `plain`.
fn compare(
    criterion: &mut Criterion,
    name: &str,
    fused: impl Fn() -> Tensor<2>,
    plain: impl Fn() -> Tensor<2>,
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(3));
    let forms: [(&str, &dyn Fn() -> Tensor<2>); 2] = [("fused", &fused), ("plain", &plain)];
    for (form, run) in forms {
        group.bench_function(form, |bencher| bencher.iter(|| black_box(run().backward())));
    }
    group.finish();
}

fn gelus(criterion: &mut Criterion) {
    let x = tracked([ROWS, INNER]);
    let fused = || gelu(x.clone(), Gelu::Exact);
    compare(criterion, "gelu", fused, || burns_gelu(x.clone()));
}

fn norms(criterion: &mut Criterion) {
    let [x, before] = [tracked([ROWS, WIDTH]), tracked([ROWS, WIDTH])];
    let [gamma, beta] = [normal([WIDTH]), normal([WIDTH])];
    let affine = || Affine {
        gamma: gamma.clone(),
        beta: beta.clone(),
        epsilon: 1e-5,
    };
    let fused = || residual_norm(x.clone(), before.clone(), 0.1, affine());
    let plain = || {
        let kept = x.random_like(Distribution::Bernoulli(0.9));
        let sum = x.clone() * kept * (1.0 / 0.9) + before.clone();
        burns_layer_norm(sum, gamma.clone(), Some(beta.clone()), 1e-5)
    };
    compare(criterion, "dropout, residual and layer norm", fused, plain);
}

fn dropouts(criterion: &mut Criterion) {
    let x = tracked([ROWS, WIDTH]);
    let plain = || x.clone() * x.random_like(Distribution::Bernoulli(0.9)) * (1.0 / 0.9);
    compare(criterion, "dropout", || dropout(x.clone(), 0.1), plain);
}

fn attentions(criterion: &mut Criterion) {
    let [query, key, value] = [(); 3].map(|()| tracked([ROWS, WIDTH]));
    let size = WIDTH / HEADS;
    let scale = 1.0 / (size as f64).sqrt();
    let options = AttentionOptions {
        heads: HEADS,
        scale,
        causal: false,
        dropout: 0.1,
    };
    let fused = |sequences: &Sequences| {
        attention(
            query.clone(),
            key.clone(),
            value.clone(),
            sequences,
            &options,
        )
    };
    let plain = || {
        let split = |x: &Tensor<2>| {
            x.clone()
                .reshape([BATCH, LENGTH, HEADS, size])
                .swap_dims(1, 2)
        };
        let scores = split(&query)
            .mul_scalar(scale)
            .matmul(split(&key).swap_dims(2, 3));
        let probabilities = softmax(scores, 3);
        let kept = probabilities.random_like(Distribution::Bernoulli(0.9));
        let output = (probabilities * kept * (1.0 / 0.9)).matmul(split(&value));
        output.swap_dims(1, 2).reshape([ROWS, WIDTH])
    };
    let equal = Sequences::padded(BATCH, LENGTH, None);
    compare(criterion, "attention", || fused(&equal), plain);
    // As many tokens in sequences from 8 to 120 long.
    let ragged = Sequences::packed((0..BATCH).map(|i| if i % 2 == 0 { 8 } else { 120 }));
    compare(
        criterion,
        "attention, ragged beside equal",
        || fused(&ragged),
        || fused(&equal),
    );
}

fn linears(criterion: &mut Criterion) {
    let (x, weight, bias) = (
        tracked([ROWS, WIDTH]),
        normal([WIDTH, WIDTH]),
        normal([WIDTH]),
    );
    let [a, b] = [tracked([WIDTH, RANK]), tracked([RANK, WIDTH])];
    let fused = || {
        let update = LowRank {
            a: a.clone(),
            b: b.clone(),
            scaling: 2.0,
            dropout: 0.0,
        };
        low_rank_linear(x.clone(), weight.clone(), Some(bias.clone()), update)
    };
    let plain = || {
        let base = burns_linear(x.clone(), weight.clone(), Some(bias.clone()));
        base + x
            .clone()
            .matmul(a.clone())
            .mul_scalar(2.0)
            .matmul(b.clone())
    };
    compare(criterion, "low-rank linear", fused, plain);
}

criterion_group!(ops, gelus, norms, dropouts, attentions, linears);
criterion_main!(ops);
