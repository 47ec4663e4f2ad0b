//! The factors that a new adapter starts from.

use burn::tensor::{Device, Distribution, Tensor};

use crate::{InitLoraWeights, LoraAdapter};

/// How an adapter on a weight starts out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightKind {
    Linear,
    Embedding,
}

/// What an adapter is made from.
#[derive(Debug, Clone)]
pub(crate) struct NewAdapter {
    pub(crate) kind: WeightKind,
    pub(crate) rank: usize,
    pub(crate) scaling: f64,
    pub(crate) dropout: f64,
    pub(crate) init: InitLoraWeights,
    pub(crate) use_dora: bool,
}

impl NewAdapter {
    /// An adapter for `weight`, `[d_in, d_out]`.
    pub(crate) fn init(
        &self,
        dims: [usize; 2],
        weight: impl FnOnce() -> Tensor<2>,
        device: &Device,
    ) -> LoraAdapter {
        let Self {
            rank,
            scaling,
            dropout,
            ..
        } = *self;
        let [d_in, d_out] = dims;
        let normal = |shape: [usize; 2], deviation| {
            Tensor::<2>::random(shape, Distribution::Normal(0.0, deviation), device)
        };
        let uniform = |shape: [usize; 2], bound: f64| {
            Tensor::<2>::random(shape, Distribution::Uniform(-bound, bound), device)
        };
        let deviation = 1.0 / rank as f64;
        let adapter = match (self.kind, self.init) {
            (WeightKind::Linear, InitLoraWeights::Kaiming) => {
                LoraAdapter::linear(dims, rank, scaling, dropout, device)
            }
            (WeightKind::Embedding, InitLoraWeights::Kaiming) => {
                LoraAdapter::embedding(dims, rank, scaling, device)
            }
            (WeightKind::Linear, InitLoraWeights::Gaussian) => LoraAdapter::from_factors(
                normal([d_in, rank], deviation),
                Tensor::zeros([rank, d_out], device),
                scaling,
                dropout,
            ),
            (WeightKind::Embedding, InitLoraWeights::Gaussian) => LoraAdapter::from_factors(
                Tensor::zeros([d_in, rank], device),
                normal([rank, d_out], deviation),
                scaling,
                0.0,
            ),
            // What PyTorch gives layers of these shapes before anybody initializes them.
            (WeightKind::Linear, InitLoraWeights::Random) => LoraAdapter::from_factors(
                uniform([d_in, rank], 1.0 / (d_in as f64).sqrt()),
                uniform([rank, d_out], 1.0 / (rank as f64).sqrt()),
                scaling,
                dropout,
            ),
            (WeightKind::Embedding, InitLoraWeights::Random) => LoraAdapter::from_factors(
                normal([d_in, rank], 1.0),
                normal([rank, d_out], 1.0),
                scaling,
                0.0,
            ),
        };
        match self.use_dora {
            true => adapter.with_magnitude(weight()),
            false => adapter,
        }
    }
}
