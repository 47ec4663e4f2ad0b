//! The factors that a new adapter starts from.

pub(crate) mod conversion;
pub(crate) mod eva;
mod incremental_pca;
mod loftq;
mod olora;
mod orthogonal;
mod pissa;
pub(crate) mod residual;

use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor};

use crate::{InitLoraWeights, LoftQConfig, LoraAdapter, LoraConfig, LoraError};
use residual::Rest;

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
    pub(crate) loftq: LoftQConfig,
    pub(crate) use_dora: bool,
}

/// A new adapter, and what it leaves of the weight if it takes its start out of that.
pub(crate) struct Started {
    pub(crate) adapter: LoraAdapter,
    pub(crate) rest: Option<Rest>,
}

impl NewAdapter {
    /// Whether the adapter's start is taken out of the weight.
    pub(crate) fn changes_base(&self) -> bool {
        self.kind == WeightKind::Linear && self.init.changes_base()
    }

    /// Checks that the module at `path`, whose smaller side is `smallest`, can start this way.
    ///
    /// # Errors
    ///
    /// [`LoraError::ConfigValue`], [`LoraError::Init`].
    pub(crate) fn check(&self, path: &str, smallest: usize) -> Result<(), LoraError> {
        let Self { init, rank, .. } = *self;
        if self.kind == WeightKind::Embedding {
            return match init {
                InitLoraWeights::LoftQ => {
                    Err(self.failed(path, "LoftQ is for linear layers: exclude the embedding"))
                }
                _ => Ok(()),
            };
        }
        let bad = |field, value: String, expected| {
            Err(LoraError::ConfigValue {
                field,
                value,
                expected,
            })
        };
        let value = format!("{rank} for {path}, and `init_lora_weights` is {init}");
        if init == InitLoraWeights::Orthogonal && !rank.is_multiple_of(2) {
            return bad("r", value, "an even rank");
        }
        if init.changes_base() && rank > smallest {
            return bad("r", value, "no more than the smaller side of the weight");
        }
        let is_pissa = matches!(
            init,
            InitLoraWeights::Pissa | InitLoraWeights::PissaNiter(_)
        );
        if is_pissa && self.scaling <= 0.0 {
            let value = format!("not positive for {path}, and `init_lora_weights` is {init}");
            return bad("lora_alpha", value, "a positive number");
        }
        Ok(())
    }

    /// A setting that works for the module at `path` but is likely not meant.
    pub(crate) fn warning(&self, path: &str) -> Option<String> {
        let Self { init, scaling, .. } = *self;
        let plain = matches!(
            init,
            InitLoraWeights::Kaiming | InitLoraWeights::Random | InitLoraWeights::LoftQ
        );
        if self.kind == WeightKind::Embedding && !plain {
            return Some(format!(
                "{path} is an embedding: it starts with A zero and B normal, \
                 `init_lora_weights` = {init} is for linear layers"
            ));
        }
        (init == InitLoraWeights::LoftQ && scaling != 1.0).then(|| {
            format!(
                "the adapter of {path} is scaled by {scaling}, so it does not start as what \
                 quantization loses: LoftQ means `lora_alpha` to be equal to `r`"
            )
        })
    }

    /// An adapter for `weight`, `[d_in, d_out]`, at `path`.
    ///
    /// # Errors
    ///
    /// [`LoraError::Init`].
    pub(crate) fn init(
        &self,
        path: &str,
        dims: [usize; 2],
        weight: impl FnOnce() -> Tensor<2>,
        device: &Device,
    ) -> Result<Started, LoraError> {
        let (mut started, weight) = match self.changes_base() {
            true => {
                let started = self.take_out(path, weight().detach())?;
                let rest = started.rest.as_ref().map(|rest| rest.weight.clone());
                (started, rest)
            }
            false => {
                let started = Started {
                    adapter: self.apart(dims, device),
                    rest: None,
                };
                (started, self.use_dora.then(weight))
            }
        };
        if let Some(weight) = weight.filter(|_| self.use_dora) {
            started.adapter = started.adapter.with_magnitude(weight);
        }
        Ok(started)
    }

    /// An adapter whose start does not depend on the weight.
    fn apart(&self, dims: [usize; 2], device: &Device) -> LoraAdapter {
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
        match (self.kind, self.init) {
            // What PyTorch gives layers of these shapes before anybody initializes them.
            (WeightKind::Embedding, InitLoraWeights::Random) => LoraAdapter::from_factors(
                normal([d_in, rank], 1.0),
                normal([rank, d_out], 1.0),
                scaling,
                0.0,
            ),
            (WeightKind::Embedding, _) => LoraAdapter::embedding(dims, rank, scaling, device),
            (WeightKind::Linear, InitLoraWeights::Random) => LoraAdapter::from_factors(
                uniform([d_in, rank], 1.0 / (d_in as f64).sqrt()),
                uniform([rank, d_out], 1.0 / (rank as f64).sqrt()),
                scaling,
                dropout,
            ),
            (WeightKind::Linear, InitLoraWeights::Gaussian) => LoraAdapter::from_factors(
                normal([d_in, rank], 1.0 / rank as f64),
                Tensor::zeros([rank, d_out], device),
                scaling,
                dropout,
            ),
            (WeightKind::Linear, InitLoraWeights::Orthogonal) => {
                let [a, b] = orthogonal::factors(dims, rank, device);
                LoraAdapter::from_factors(a, b, scaling, dropout)
            }
            (WeightKind::Linear, _) => LoraAdapter::linear(dims, rank, scaling, dropout, device),
        }
    }

    /// An adapter that starts as a part of the weight, and the rest of it.
    fn take_out(&self, path: &str, weight: Tensor<2>) -> Result<Started, LoraError> {
        let Self {
            rank,
            scaling,
            dropout,
            ..
        } = *self;
        if !matches!(weight.dtype(), DType::F32 | DType::F16 | DType::BF16) {
            let message = format!(
                "the weight is {:?}; it has to be F32, F16 or BF16 to be decomposed: convert it \
                 first, or use another initialisation",
                weight.dtype()
            );
            return Err(self.failed(path, message));
        }
        let dtype = FloatDType::from(weight.dtype());
        let weight = weight.cast(FloatDType::F32);
        let factors = match self.init {
            InitLoraWeights::Olora => Some(olora::factors(&weight, rank)),
            InitLoraWeights::PissaNiter(n) => pissa::factors(&weight, rank, scaling, Some(n)),
            InitLoraWeights::LoftQ => {
                let quantized = loftq::decompose(&weight, rank, self.loftq);
                let quantized = quantized.ok_or_else(|| self.failed(path, NOT_DECOMPOSED))?;
                let [a, b] = quantized.factors;
                return Ok(Started {
                    adapter: LoraAdapter::from_factors(a, b, scaling, dropout),
                    rest: Some(Rest {
                        weight: quantized.weight.cast(dtype),
                        start: None,
                    }),
                });
            }
            _ => pissa::factors(&weight, rank, scaling, None),
        };
        let [a, b] = factors.ok_or_else(|| self.failed(path, NOT_DECOMPOSED))?;
        let scaled = a.clone().mul_scalar(scaling);
        let rest = weight - scaled.clone().matmul(b.clone());
        let rest = Rest {
            weight: rest.cast(dtype),
            start: Some([scaled.into_data(), b.clone().into_data()]),
        };
        Ok(Started {
            adapter: LoraAdapter::from_factors(a.detach(), b.detach(), scaling, dropout),
            rest: Some(rest),
        })
    }

    fn failed(&self, path: &str, message: impl Into<String>) -> LoraError {
        LoraError::Init {
            init: self.init,
            module: path.to_string(),
            message: message.into(),
        }
    }
}

const NOT_DECOMPOSED: &str =
    "its weight could not be decomposed: check that all of its values are finite";

/// Settings of `config` that have no effect, or may get in the way later.
pub(crate) fn warnings(config: &LoraConfig) -> Vec<String> {
    let init = config.init_lora_weights;
    let mut warnings = Vec::new();
    if config.eva_config.is_some() && init != InitLoraWeights::Eva {
        warnings.push(format!(
            "`eva_config` is set, but `init_lora_weights` is {init}: it has no effect"
        ));
    }
    if config.loftq_config.is_some() && init != InitLoraWeights::LoftQ {
        warnings.push(format!(
            "`loftq_config` is set, but `init_lora_weights` is {init}: it has no effect"
        ));
    }
    let patterns = !config.rank_pattern.is_empty() || !config.alpha_pattern.is_empty();
    if init.changes_base() && config.use_rslora && patterns {
        warnings.push(format!(
            "`init_lora_weights` = {init} with `use_rslora` and `rank_pattern` or `alpha_pattern`: \
             the adapter cannot be saved as plain LoRA later"
        ));
    }
    warnings
}

/// Whether adapters of both configurations take the same start out of a base, given that their
/// ranks are the same.
pub(crate) fn same_start(one: &LoraConfig, other: &LoraConfig) -> bool {
    let init = one.init_lora_weights;
    if !init.changes_base() && !other.init_lora_weights.changes_base() {
        return true;
    }
    let scaled = |config: &LoraConfig| {
        (
            config.lora_alpha.to_bits(),
            config.use_rslora,
            config.r,
            config.rank_pattern.clone(),
            config.alpha_pattern.clone(),
        )
    };
    init == other.init_lora_weights
        && !matches!(init, InitLoraWeights::PissaNiter(_))
        && one.loftq_config == other.loftq_config
        && (init != InitLoraWeights::Olora || scaled(one) == scaled(other))
}
