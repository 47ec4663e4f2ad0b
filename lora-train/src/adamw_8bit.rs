//! AdamW that keeps its moments in 8 bits.

use burn::config::Config;
use burn::optim::{
    AdamW, AdamWConfig, AdamWState, LearningRate, ModuleOptimizer, Optimizer, RecordState,
    StateSink, StateSource,
};
use burn::tensor::{Device, Tensor, TensorData};
use lora_core::quantization::Dynamic;
use rayon::prelude::*;

use crate::TrainError;

/// Configuration of [`AdamW8bit`], with bitsandbytes' defaults.
#[derive(Config, Debug, PartialEq)]
pub struct AdamW8bitConfig {
    /// How fast the mean of the gradients forgets.
    #[config(default = 0.9)]
    pub beta_1: f32,
    /// How fast the mean of their squares forgets.
    #[config(default = 0.999)]
    pub beta_2: f32,
    /// Keeps steps finite where gradients are tiny.
    #[config(default = 1e-8)]
    pub epsilon: f32,
    /// The decoupled weight decay.
    #[config(default = 0.01)]
    pub weight_decay: f32,
    /// How many values share a scale: 256 in bitsandbytes, 2048 in the paper.
    #[config(default = 256)]
    pub block_size: usize,
    /// Parameters with fewer values keep their moments in 32 bits.
    #[config(default = 4096)]
    pub min_8bit_size: usize,
}

/// AdamW with both moments quantized in blocks of dynamic 8-bit types, a quarter of AdamW's memory
/// (Dettmers et al. 2021, ["8-bit Optimizers via Block-wise
/// Quantization"](https://arxiv.org/abs/2110.02861), sections 2 and 3).
///
/// A step makes 32 bits of a block at a time, changes them as AdamW does, takes the new values of the
/// parameter from them, and rounds them to 8 bits again: the steps of bitsandbytes' `AdamW8bit` on a CPU.
/// Parameters are computed on the CPU, on whatever device they lie.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::optim::GradientsParams;
/// use burn::tensor::Tensor;
/// use lora_core::default_device;
/// use lora_train::AdamW8bitConfig;
///
/// let device = default_device().autodiff();
/// let layer = LinearConfig::new(64, 64).with_bias(false).init(&device);
/// let mut optimizer = AdamW8bitConfig::new().with_weight_decay(0.0).init()?;
///
/// let before: Vec<f32> = layer.weight.val().into_data().iter().collect();
/// let loss = layer.forward(Tensor::<2>::ones([1, 64], &device)).sum();
/// let gradients = GradientsParams::from_grads(loss.backward(), &layer);
/// let layer = optimizer.step(0.5, layer, gradients);
///
/// // Every gradient is 1, so every value falls by the learning rate.
/// let after: Vec<f32> = layer.weight.val().into_data().iter().collect();
/// assert!(before.iter().zip(&after).all(|(before, after)| (before - after - 0.5).abs() < 1e-5));
/// # Ok::<(), lora_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AdamW8bit {
    config: AdamW8bitConfig,
}

/// What [`AdamW8bit`] knows of one parameter.
#[derive(Clone)]
pub enum AdamW8bitState<const D: usize> {
    /// Of a small parameter, in 32 bits.
    Plain(Box<AdamWState<D>>),
    /// Of a large one, in 8 bits.
    Quantized(QuantizedMoments),
}

/// Both moments of a parameter in 8 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedMoments {
    time: usize,
    block_size: usize,
    moment_1: Moment,
    moment_2: Moment,
}

/// A moment as codes, and the scales of their blocks.
#[derive(Debug, Clone, PartialEq)]
struct Moment {
    codes: Vec<u8>,
    scales: Vec<f32>,
}

impl AdamW8bitConfig {
    /// The optimizer for one group of parameters, which
    /// [`ModuleOptimizer::with_group`] takes.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] for a `block_size` of 0.
    pub fn build(&self) -> Result<AdamW8bit, TrainError> {
        match self.block_size {
            0 => Err(TrainError::Setting {
                field: "block_size",
                value: "0".to_string(),
                expected: "at least 1",
            }),
            _ => Ok(AdamW8bit {
                config: self.clone(),
            }),
        }
    }

    /// The optimizer for a whole module.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn init(&self) -> Result<ModuleOptimizer, TrainError> {
        Ok(ModuleOptimizer::from(self.build()?))
    }

    fn plain(&self) -> AdamW {
        AdamWConfig::new()
            .with_beta_1(self.beta_1)
            .with_beta_2(self.beta_2)
            .with_epsilon(self.epsilon)
            .with_weight_decay(self.weight_decay)
            .build()
    }
}

impl Optimizer for AdamW8bit {
    type State<const D: usize> = AdamW8bitState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let count = tensor.shape().num_elements();
        let moments = match state {
            // Those of another number of values are another parameter's.
            Some(AdamW8bitState::Quantized(moments)) if moments.count() == count => moments,
            None if count >= self.config.min_8bit_size => {
                QuantizedMoments::zeros(count, self.config.block_size)
            }
            state => {
                let state = state.and_then(AdamW8bitState::plain);
                let (tensor, state) = self.config.plain().step(lr, tensor, grad, state);
                return (
                    tensor,
                    state.map(|state| AdamW8bitState::Plain(Box::new(state))),
                );
            }
        };
        let (tensor, moments) = self.step_of_quantized(lr, tensor, grad, moments);
        (tensor, Some(AdamW8bitState::Quantized(moments)))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        match state {
            AdamW8bitState::Plain(state) => {
                AdamW8bitState::Plain(Box::new(AdamW::to_device(*state, device)))
            }
            quantized => quantized,
        }
    }
}

impl AdamW8bit {
    fn step_of_quantized<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        mut moments: QuantizedMoments,
    ) -> (Tensor<D>, QuantizedMoments) {
        let (device, dtype) = (tensor.device(), tensor.dtype());
        let shape = tensor.shape();
        let mut values: Vec<f32> = tensor.into_data().iter().collect();
        let gradient: Vec<f32> = grad.into_data().iter().collect();
        moments.time += 1;
        let block_step = BlockStep::new(&self.config, lr, moments.time);
        let QuantizedMoments {
            block_size: block,
            moment_1,
            moment_2,
            ..
        } = &mut moments;
        let block = *block;
        let blocks = (
            values.par_chunks_mut(block),
            gradient.par_chunks(block),
            moment_1.codes.par_chunks_mut(block),
            &mut moment_1.scales,
            moment_2.codes.par_chunks_mut(block),
            &mut moment_2.scales,
        );
        blocks.into_par_iter().for_each_init(
            || (vec![0.0; block], vec![0.0; block]),
            |(first, second), (values, gradient, codes_1, scale_1, codes_2, scale_2)| {
                let (signed, unsigned) = (Dynamic::signed(), Dynamic::unsigned());
                let first = &mut first[..values.len()];
                let second = &mut second[..values.len()];
                signed.dequantize_block(codes_1, *scale_1, first);
                unsigned.dequantize_block(codes_2, *scale_2, second);
                block_step.apply(values, gradient, first, second);
                *scale_1 = signed.quantize_block(first, codes_1);
                *scale_2 = unsigned.quantize_block(second, codes_2);
            },
        );
        let data = TensorData::new(values, shape);
        (Tensor::from_data(data, (&device, dtype)), moments)
    }
}

/// The numbers that all values of a parameter share in a step.
struct BlockStep {
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    /// What a value keeps after its decay.
    kept: f32,
    /// The learning rate, corrected for the first moment's start at 0.
    rate: f32,
    /// That correction of the root of the second moment.
    correction_2: f32,
}

impl BlockStep {
    fn new(config: &AdamW8bitConfig, lr: LearningRate, time: usize) -> Self {
        let time = i32::try_from(time).unwrap_or(i32::MAX);
        let left = |beta: f32| 1.0 - f64::from(beta).powi(time);
        Self {
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.epsilon,
            kept: (1.0 - lr * f64::from(config.weight_decay)) as f32,
            rate: (lr / left(config.beta_1)) as f32,
            correction_2: left(config.beta_2).sqrt() as f32,
        }
    }

    fn apply(&self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second);
        for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            *first = self.beta_1 * *first + (1.0 - self.beta_1) * gradient;
            *second = self.beta_2 * *second + (1.0 - self.beta_2) * gradient * gradient;
            let root = second.sqrt() / self.correction_2 + self.epsilon;
            *value = self.kept * *value - self.rate * *first / root;
        }
    }
}

impl QuantizedMoments {
    fn zeros(count: usize, block: usize) -> Self {
        // A block with a scale of 0 has zeros, whatever the codes.
        let moment = || Moment {
            codes: vec![0; count],
            scales: vec![0.0; count.div_ceil(block)],
        };
        Self {
            time: 0,
            block_size: block,
            moment_1: moment(),
            moment_2: moment(),
        }
    }

    fn count(&self) -> usize {
        self.moment_1.codes.len()
    }
}

impl<const D: usize> AdamW8bitState<D> {
    fn plain(self) -> Option<AdamWState<D>> {
        match self {
            Self::Plain(state) => Some(*state),
            Self::Quantized(_) => None,
        }
    }
}

const TIME: &str = "time";
const BLOCK_SIZE: &str = "block_size";
const NAMES: [(&str, &str); 2] = [("codes_1", "scales_1"), ("codes_2", "scales_2")];

impl<const D: usize> RecordState for AdamW8bitState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        match self {
            Self::Plain(state) => state.state_flatten(prefix, out),
            Self::Quantized(moments) => {
                out.push_scalar(prefix, TIME, moments.time.into());
                out.push_scalar(prefix, BLOCK_SIZE, moments.block_size.into());
                let both = [&moments.moment_1, &moments.moment_2];
                for ((codes, scales), moment) in NAMES.into_iter().zip(both) {
                    let data = TensorData::new(moment.codes.clone(), [moment.codes.len()]);
                    out.push_tensor(prefix, codes, data);
                    let data = TensorData::new(moment.scales.clone(), [moment.scales.len()]);
                    out.push_tensor(prefix, scales, data);
                }
            }
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let Some(block_size) = src.take_scalar(prefix, BLOCK_SIZE) else {
            let state = AdamWState::state_unflatten(prefix, src, device)?;
            return Some(Self::Plain(Box::new(state)));
        };
        let block_size: usize = block_size.try_into().ok()?;
        let time = src.take_scalar(prefix, TIME)?.try_into().ok()?;
        let [moment_1, moment_2] = NAMES.map(|(codes, scales)| {
            let codes: Vec<u8> = src.take_tensor(prefix, codes)?.try_into_vec().ok()?;
            let scales: Vec<f32> = src.take_tensor(prefix, scales)?.try_into_vec().ok()?;
            let fit = block_size > 0 && scales.len() == codes.len().div_ceil(block_size);
            fit.then_some(Moment { codes, scales })
        });
        let (moment_1, moment_2) = (moment_1?, moment_2?);
        let moments = QuantizedMoments {
            time,
            block_size,
            moment_1,
            moment_2,
        };
        let same = moments.moment_1.codes.len() == moments.moment_2.codes.len();
        same.then_some(Self::Quantized(moments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lora_core::default_device;

    type State = AdamW8bitState<1>;

    fn stepped(config: AdamW8bitConfig, count: usize, state: Option<State>) -> State {
        let device = default_device();
        let optimizer = config.build().unwrap();
        let [values, gradient] = [0.5, -1.0].map(|v| Tensor::full([count], v, &device));
        optimizer.step(0.1, values, gradient, state).1.unwrap()
    }

    fn sink(state: &State) -> StateSink {
        let mut sink = StateSink::default();
        state.state_flatten("7", &mut sink);
        sink
    }

    fn read_back(sink: StateSink) -> Option<State> {
        let mut source = StateSource::new(sink.scalars.into_iter().collect());
        for (name, data) in sink.tensors {
            source.insert_tensor(name, data);
        }
        State::state_unflatten("7", &mut source, &default_device())
    }

    #[test]
    fn a_large_parameter_takes_two_bytes_a_value_and_its_scales() {
        let bytes = |count| {
            let sink = sink(&stepped(AdamW8bitConfig::new(), count, None));
            let sizes = sink.tensors.iter().map(|(_, data)| data.as_bytes().len());
            sizes.sum::<usize>()
        };
        assert_eq!(bytes(4095), 4095 * 8);
        assert_eq!(bytes(4096), 4096 * 2 + 16 * 8);
        assert_eq!(bytes(4100), 4100 * 2 + 17 * 8);
    }

    #[test]
    fn states_are_read_back_as_they_were() {
        let config = AdamW8bitConfig::new().with_min_8bit_size(100);
        for count in [50, 300] {
            let state = stepped(config.clone(), count, None);
            let again = read_back(sink(&state)).unwrap();
            let both =
                [state, again].map(|state| sink(&stepped(config.clone(), count, Some(state))));
            assert_eq!(both[0].tensors, both[1].tensors);
            assert_eq!(both[0].scalars, both[1].scalars);
        }
        // What does not belong together is no state.
        let mut short = sink(&stepped(config, 300, None));
        short.tensors.retain(|(name, _)| name != "7.scales_2");
        let scales = TensorData::new(vec![1f32], [1]);
        short.tensors.push(("7.scales_2".to_string(), scales));
        assert!(read_back(short).is_none());
    }

    #[test]
    fn blocks_hold_values() {
        let error = AdamW8bitConfig::new().with_block_size(0).init().err();
        assert!(error.unwrap().to_string().contains("`block_size` is 0"));
    }
}
