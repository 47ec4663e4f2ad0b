//! The products of a step with frozen weights alone: what a step cannot be faster than.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use lora_core::ops::{linear, tied_linear};
use lora_models::bert::BertConfig;

/// The linear layers of an encoder, and inputs of their widths.
pub(super) struct Products {
    weights: Vec<Tensor<2>>,
    inputs: [Tensor<2>; 2],
}

impl Products {
    pub(super) fn new(config: &BertConfig, tokens: usize, device: &Device) -> Self {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let normal =
            |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
        let square = [width, width];
        let layer = [
            square,
            square,
            square,
            square,
            [width, inner],
            [inner, width],
        ];
        // A weight for each layer, as in a model, so that none is in the cache already.
        let shapes = std::iter::repeat_n(layer, config.num_hidden_layers).flatten();
        Self {
            weights: shapes.map(normal).collect(),
            inputs: [[tokens, width], [tokens, inner]].map(normal),
        }
    }

    /// The floating-point operations of all of them, in units of 10⁹: two for each value of a weight
    /// and each token, forward and for the gradient of the input.
    pub(super) fn gflop(&self) -> f64 {
        let [tokens, _] = self.inputs[0].dims();
        let values: usize = self
            .weights
            .iter()
            .map(|weight| weight.dims().iter().product::<usize>())
            .sum();
        4.0 * (tokens * values) as f64 / 1e9
    }

    /// The seconds that they take.
    pub(super) fn seconds(&self) -> f64 {
        let [narrow, wide] = &self.inputs;
        let of_width = |width: usize| match narrow.dims()[1] == width {
            true => narrow.clone(),
            false => wide.clone(),
        };
        let start = Instant::now();
        for weight in &self.weights {
            let [from, to] = weight.dims();
            linear(of_width(from), weight.clone(), None);
            // With the weight transposed where it is read, as in the backward pass: no copy is made.
            tied_linear(of_width(to), weight.clone());
        }
        start.elapsed().as_secs_f64()
    }
}
