//! Outputs that are computed again for the backward pass.

use burn::tensor::{Device, Tensor};
use lora_core::ops::{
    Affine, AttentionOptions, Gelu, LowRank, Sequences, gelu, layer_norm, linear, low_rank_linear,
    self_attention,
};

use crate::common::{near, normal};

const WIDTH: usize = 16;
const RANK: usize = 4;

/// The weights of a transformer's block: what is frozen, and the factors of two adapters.
struct Block {
    projection: Tensor<2>,
    output: Tensor<2>,
    up: Tensor<2>,
    down: Tensor<2>,
    factors: [Tensor<2>; 4],
}

impl Block {
    fn new(values: &[Tensor<2>; 8], trains_up: bool, device: &Device) -> Self {
        let at = |i: usize| Tensor::from_data(values[i].to_data(), device);
        let up: Tensor<2> = at(2);
        Self {
            projection: at(0),
            output: at(1),
            up: if trains_up { up.require_grad() } else { up },
            down: at(3),
            factors: [4, 5, 6, 7].map(|i| Tensor::<2>::require_grad(at(i))),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [a, b, c, d] = self.factors.clone();
        let update = |a, b| LowRank {
            a,
            b,
            scaling: 0.5,
            dropout: 0.2,
        };
        let norm = |x: Tensor<2>| {
            let device = x.device();
            let affine = Affine {
                gamma: Tensor::ones([WIDTH], &device),
                beta: Tensor::zeros([WIDTH], &device),
                epsilon: 1e-5,
            };
            layer_norm(x, affine)
        };
        let projected =
            low_rank_linear(norm(x.clone()), self.projection.clone(), None, update(a, b));
        let options = AttentionOptions {
            heads: 2,
            scale: 0.35,
            causal: true,
            dropout: 0.1,
        };
        let attended = self_attention(projected, &Sequences::packed([7, 13]), &options);
        let x = x + linear(attended, self.output.clone(), None);
        let inner = gelu(linear(norm(x.clone()), self.up.clone(), None), Gelu::Exact);
        x + low_rank_linear(inner, self.down.clone(), None, update(c, d))
    }
}

#[test]
fn gradients_are_those_of_outputs_that_are_kept() {
    let shapes = [
        [WIDTH, 3 * WIDTH],
        [WIDTH, WIDTH],
        [WIDTH, 4 * WIDTH],
        [4 * WIDTH, WIDTH],
        [WIDTH, RANK],
        [RANK, 3 * WIDTH],
        [4 * WIDTH, RANK],
        [RANK, WIDTH],
    ];
    let blocks = [0; 3].map(|_| shapes.map(|shape| normal(shape).mul_scalar(0.3)));
    let input = normal([20, WIDTH]);
    for (trains_up, tracks_input) in [(false, false), (true, false), (true, true)] {
        let run = |device: &Device| {
            device.seed(41);
            let blocks = blocks.each_ref();
            let blocks = blocks.map(|values| Block::new(values, trains_up, device));
            let x = Tensor::<2>::from_data(input.to_data(), device);
            let x = if tracks_input { x.require_grad() } else { x };
            let output = blocks.iter().fold(x.clone(), |x, block| block.forward(x));
            let gradients = output.clone().powi_scalar(2).sum().backward();
            let mut found = vec![output.without_autodiff()];
            let trained = blocks
                .iter()
                .flat_map(|block| block.factors.iter().chain([&block.up]));
            let trained = trained.chain([&x]);
            found.extend(
                trained.filter_map(|tensor| Some(tensor.grad(&gradients)?.without_autodiff())),
            );
            found
        };
        let device = lora_core::default_device().autodiff();
        let expected = run(&device);
        assert_eq!(
            expected.len(),
            1 + 3 * (4 + usize::from(trains_up)) + usize::from(tracks_input)
        );
        let found = run(&device.gradient_checkpointing());
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            near(found, expected, 0.0);
        }
    }
}
