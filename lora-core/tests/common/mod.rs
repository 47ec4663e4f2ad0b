//! What tests share: a module such as a user would write, with Burn's own layers beside lora-core's, and
//! numbers that are the same in every run.
//!
//! The tests of lora-core are a package of their own because its operations need optimisation, in tests
//! too, and the tests, which take far longer to compile with it, do not.
#![allow(missing_docs, reason = "nothing but tests uses it")]

pub mod numbers;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Gradients, Int, Tensor};
use lora_core::{LoraLinear, LoraLinearConfig, default_device};
pub use numbers::{fill_adapters, normal, redrawn};

pub const TOKENS: usize = 11;
pub const WIDTH: usize = 8;
pub const INNER: usize = 6;
pub const CLASSES: usize = 3;

#[derive(Module, Debug)]
pub struct Block {
    pub query: Linear,
    pub value: LoraLinear,
    pub norm: LayerNorm,
    pub up: Linear,
    pub down: LoraLinear,
}

#[derive(Module, Debug)]
pub struct Model {
    pub embed: Embedding,
    pub layers: Vec<Block>,
    pub shift: Param<Tensor<1>>,
    pub mix: Param<Tensor<2>>,
    pub classifier: Linear,
}

impl Model {
    pub fn new(device: &Device) -> Self {
        let block = || Block {
            query: LinearConfig::new(WIDTH, WIDTH).init(device),
            value: LoraLinearConfig::new(WIDTH, WIDTH).init(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
            up: LinearConfig::new(WIDTH, INNER)
                .with_bias(false)
                .init(device),
            down: LoraLinearConfig::new(INNER, WIDTH).init(device),
        };
        let model = Self {
            embed: EmbeddingConfig::new(TOKENS, WIDTH).init(device),
            layers: vec![block(), block()],
            shift: Param::from_tensor(Tensor::zeros([WIDTH], device)),
            mix: Param::from_tensor(Tensor::zeros([WIDTH, WIDTH], device)),
            classifier: LinearConfig::new(WIDTH, CLASSES).init(device),
        };
        let mut model = redrawn(model, 0.2);
        model.embed.weight = Param::from_tensor(normal([TOKENS, WIDTH], device));
        model.shift = Param::from_tensor(normal([WIDTH], device));
        model.mix = Param::from_tensor(normal([WIDTH, WIDTH], device));
        model
    }

    /// `[batch, sequence]` ids to `[batch, CLASSES]` logits.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let [batch, sequence] = ids.dims();
        let mut x = self.embed.forward(ids) + self.shift.val().unsqueeze();
        for layer in &self.layers {
            let mixed = tanh(layer.query.forward(x.clone())) * layer.value.forward(x.clone());
            x = layer.norm.forward(x + mixed);
            x = x.clone() + layer.down.forward(tanh(layer.up.forward(x)));
        }
        let x = x.reshape([batch * sequence, WIDTH]).matmul(self.mix.val());
        let pooled = x
            .reshape([batch, sequence, WIDTH])
            .mean_dim(1)
            .reshape([batch, WIDTH]);
        self.classifier.forward(pooled)
    }

    pub fn on(&self, device: &Device) -> Tensor<2> {
        self.forward(ids(device))
    }
}

pub fn training_device() -> Device {
    default_device().autodiff()
}

pub fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([[1, 4, 2, 9], [3, 3, 10, 0]], device)
}

/// The largest difference between two tensors of one shape.
#[track_caller]
pub fn difference<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) -> f32 {
    let (a, b) = (a.clone().into_data(), b.clone().into_data());
    assert_eq!(a.shape(), b.shape());
    let pairs = a.iter::<f32>().zip(b.iter::<f32>());
    // A NaN is a difference too: `max` alone would drop it.
    let differences = pairs.map(|(x, y)| {
        if (x - y).is_nan() {
            f32::INFINITY
        } else {
            (x - y).abs()
        }
    });
    differences.fold(0.0, f32::max)
}

/// The names of the parameters that have a gradient.
pub fn with_gradient<M: Module>(model: &M, gradients: &Gradients) -> Vec<String> {
    struct Collect<'a>(&'a Gradients, Vec<bool>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(param.base().grad(self.0).is_some());
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    model.visit(&mut collect);
    let all = lora_core::state::parameters(model);
    assert_eq!(all.len(), collect.1.len());
    all.into_iter()
        .zip(collect.1)
        .filter(|(_, has)| *has)
        .map(|(info, _)| info.name)
        .collect()
}

/// The names of the parameters that are configured to train.
pub fn trainable<M: Module>(model: &M) -> Vec<String> {
    let all = lora_core::state::parameters(model);
    all.into_iter()
        .filter(|p| p.trainable)
        .map(|p| p.name)
        .collect()
}
