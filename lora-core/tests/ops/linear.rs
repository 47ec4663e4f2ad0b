//! Linear layers with and without a low-rank update.

use burn::tensor::Tensor;
use burn::tensor::module::linear as burns;
use lora_core::ops::{LowRank, linear, low_rank_linear};
use proptest::prelude::*;

use crate::common::{near, normal, tracked};

/// The output, and the gradients of those inputs that are tracked.
fn run(
    inputs: &[Tensor<2>; 4],
    bias: Option<&Tensor<1>>,
    tracks: [bool; 5],
    weight: &Tensor<2>,
    f: impl Fn([Tensor<2>; 4], Option<Tensor<1>>) -> Tensor<2>,
) -> (Tensor<2>, Vec<Option<Tensor<2>>>) {
    let track = |x: &Tensor<2>, is_tracked| match is_tracked {
        true => tracked(x.clone()),
        false => Tensor::from_inner(x.clone()),
    };
    let matrices = [0, 1, 2, 3].map(|i| track(&inputs[i], tracks[i]));
    let bias = bias.map(|bias| match tracks[4] {
        true => tracked(bias.clone()),
        false => Tensor::from_inner(bias.clone()),
    });
    let output = f(matrices.clone(), bias.clone());
    let loss = (output.clone() * Tensor::from_inner(weight.clone())).sum();
    let gradients = loss.backward();
    let found = matrices.iter().map(|matrix| matrix.grad(&gradients));
    let bias = bias.map(|bias| bias.grad(&gradients).map(|gradient| gradient.unsqueeze()));
    (output, found.chain(bias).collect())
}

fn check([rows, d_in, d_out, rank]: [usize; 4], has_bias: bool, tracks: [bool; 5], low_rank: bool) {
    let inputs = [
        normal([rows, d_in]),
        normal([d_in, d_out]),
        normal([d_in, rank]),
        normal([rank, d_out]),
    ];
    let bias = has_bias.then(|| normal([d_out]));
    let weight = normal([rows, d_out]);
    let fused = |[x, w, a, b]: [Tensor<2>; 4], bias| match low_rank {
        false => linear(x, w, bias),
        true => {
            let update = LowRank {
                a,
                b,
                scaling: 0.7,
                dropout: 0.0,
            };
            low_rank_linear(x, w, bias, update)
        }
    };
    let plain = |[x, w, a, b]: [Tensor<2>; 4], bias| {
        let base = burns(x.clone(), w, bias);
        match low_rank {
            false => base,
            true => base + x.matmul(a).matmul(b).mul_scalar(0.7),
        }
    };
    let (found, slopes) = run(&inputs, bias.as_ref(), tracks, &weight, fused);
    let (expected, expected_slopes) = run(&inputs, bias.as_ref(), tracks, &weight, plain);
    let tolerance = 2e-6 * ((d_in + d_out + rows + rank) as f32).max(10.0);
    near(&found, &expected, tolerance);
    for (found, expected) in slopes.iter().zip(&expected_slopes) {
        assert_eq!(found.is_some(), expected.is_some());
        if let (Some(found), Some(expected)) = (found, expected) {
            near(found, expected, tolerance);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_gradient_that_is_asked_for_and_no_other(
        rows in 1usize..40,
        d_in in 1usize..50,
        d_out in 1usize..50,
        rank in 1usize..24,
        has_bias: bool,
        low_rank: bool,
        tracks: [bool; 5],
    ) {
        prop_assume!(tracks.iter().any(|tracks| *tracks));
        let is_used = [true, true, low_rank, low_rank, has_bias];
        prop_assume!(tracks.iter().zip(is_used).any(|(tracks, used)| *tracks && used));
        check([rows, d_in, d_out, rank], has_bias, tracks, low_rank);
    }
}

#[test]
fn layers_that_take_all_threads() {
    for tracks in [[true; 5], [true, false, true, true, false]] {
        for rank in [8, 33, 70] {
            check([300, 257, 129, rank], true, tracks, true);
        }
        check([300, 257, 129, 1], true, tracks, false);
    }
}

#[test]
fn dropout_changes_the_update_alone_and_is_the_same_backward() {
    lora_core::default_device().seed(29);
    let (rows, d_in, d_out) = (50, 40, 40);
    let [x, w] = [normal([rows, d_in]), normal([d_in, d_out])];
    // With the identity for both factors the update is what dropout leaves of the input.
    let eye = Tensor::<2>::eye(d_in, &x.device());
    let weight = normal([rows, d_out]);
    let inputs = [x.clone(), w.clone(), eye.clone(), eye];
    let tracks = [true, false, true, true, false];
    let fused = |[x, w, a, b]: [Tensor<2>; 4], bias| {
        let update = LowRank {
            a,
            b,
            scaling: 1.0,
            dropout: 0.25,
        };
        low_rank_linear(x, w, bias, update)
    };
    let (found, slopes) = run(&inputs, None, tracks, &weight, fused);
    let left = found.clone().without_autodiff() - x.clone().matmul(w);
    let factors = (left / x).greater_elem(0.5).float().mul_scalar(4.0 / 3.0);
    let share = factors.clone().mean().into_scalar::<f32>() * 0.75;
    assert!((share - 0.75).abs() < 0.04, "{share}");
    let plain = |[x, w, a, b]: [Tensor<2>; 4], _| {
        let dropped = x.clone() * Tensor::from_inner(factors.clone());
        x.matmul(w) + dropped.matmul(a).matmul(b)
    };
    let (expected, expected_slopes) = run(&inputs, None, tracks, &weight, plain);
    near(&found, &expected, 1e-4);
    for (found, expected) in slopes
        .iter()
        .flatten()
        .zip(expected_slopes.iter().flatten())
    {
        near(found, expected, 1e-4);
    }
}
