//! Every operation, with the gradients of its inputs.

use burn::tensor::{Device, Tensor};
use lora_core::ops::{
    Affine, AttentionOptions, Gelu, LowRank, Sequences, attention, gelu, layer_norm, linear,
    low_rank_linear, residual_norm, self_attention,
};
use lora_train::loss::cross_entropy;

use crate::compare::{Named, assert_same, ids, values};

/// The output of `f` on matrices of these shapes, and the gradient of each.
fn case<const N: usize>(
    shapes: [[usize; 2]; N],
    device: &Device,
    f: impl Fn([Tensor<2>; N]) -> Tensor<2>,
) -> Named {
    let mut number = 0;
    let inputs = shapes.map(|shape| {
        number += 1;
        values(shape, number, device).require_grad()
    });
    let output = f(inputs.clone());
    let weight = values(output.dims(), 99, device);
    let gradients = (output.clone() * weight).sum().backward();
    let mut named = vec![("output".to_string(), output.into_data())];
    for (index, input) in inputs.iter().enumerate() {
        let gradient = input.grad(&gradients).unwrap();
        named.push((format!("gradient of input {index}"), gradient.into_data()));
    }
    named
}

fn affine(gamma: Tensor<2>, beta: Tensor<2>) -> Affine {
    Affine {
        gamma: gamma.squeeze_dim(0),
        beta: beta.squeeze_dim(0),
        epsilon: 1e-5,
    }
}

#[test]
fn gelu_in_both_forms() {
    for form in [Gelu::Exact, Gelu::Tanh] {
        assert_same(|device| case([[7, 40]], device, |[x]| gelu(x.mul_scalar(3.0), form)));
    }
}

#[test]
fn layer_norms() {
    assert_same(|device| {
        let shapes = [[5, 24], [1, 24], [1, 24]];
        case(shapes, device, |[x, g, b]| layer_norm(x, affine(g, b)))
    });
    assert_same(|device| {
        let shapes = [[5, 24], [5, 24], [1, 24], [1, 24]];
        case(shapes, device, |[x, residual, g, b]| {
            residual_norm(x, residual, 0.0, affine(g, b))
        })
    });
}

#[test]
fn attention_of_sequences_of_several_lengths() {
    let sequences = Sequences::packed([3, 1, 6]);
    for causal in [false, true] {
        let options = AttentionOptions {
            heads: 2,
            scale: 0.35,
            causal,
            dropout: 0.0,
        };
        assert_same(|device| {
            case([[10, 16]; 3], device, |[q, k, v]| {
                attention(q, k, v, &sequences, &options)
            })
        });
        assert_same(|device| {
            case([[10, 48]], device, |[x]| {
                self_attention(x, &sequences, &options)
            })
        });
    }
}

#[test]
fn linear_layers_with_and_without_an_update() {
    assert_same(|device| {
        case([[9, 20], [20, 33], [1, 33]], device, |[x, w, b]| {
            linear(x, w, Some(b.squeeze_dim(0)))
        })
    });
    assert_same(|device| {
        let shapes = [[9, 20], [20, 33], [1, 33], [20, 4], [4, 33]];
        case(shapes, device, |[x, w, bias, a, b]| {
            let update = LowRank {
                a,
                b,
                scaling: 2.0,
                dropout: 0.0,
            };
            low_rank_linear(x, w, Some(bias.squeeze_dim(0)), update)
        })
    });
}

#[test]
fn a_table_as_an_output_layer_and_the_loss() {
    assert_same(|device| {
        case([[9, 16], [50, 16]], device, |[x, table]| {
            x.matmul(table.transpose())
        })
    });
    assert_same(|device| {
        let targets = ids([12], 30, device);
        case([[12, 30]], device, move |[logits]| {
            cross_entropy(logits.mul_scalar(4.0), targets.clone(), Some(3)).reshape([1, 1])
        })
    });
}
