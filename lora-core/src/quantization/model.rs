//! Quantizing a whole model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use super::weight::other_layout;
use super::{PackedWeight, QuantizationConfig, WeightFormat};
use crate::LoraError;
use crate::adapters::attachments::{Edit, collect, edit};
use crate::adapters::{LoraAdapters, stand_in, values_of_packed};
use crate::state::{ParameterInfo, load_state, parameters};

/// The weights that are quantized, by their paths.
type Weights = BTreeMap<String, Arc<PackedWeight>>;

/// A weight that is stored in few bits.
#[derive(Debug, Clone)]
pub struct QuantizedWeight {
    /// The parameter's path.
    pub path: String,
    /// Its codes and scales.
    pub weight: Arc<PackedWeight>,
}

impl QuantizationConfig {
    /// Stores the weights of `module`'s linear layers in few bits, of all but the modules to skip
    /// and those that are trained in full.
    ///
    /// Adapters are attached before or after, with [`LoraConfig::inject`](crate::LoraConfig::inject). One
    /// that took its start out of the weight has to be attached after, but for LoftQ's, if the format is the
    /// one it quantized to: that base is packed without loss, and the original is not kept.
    /// [`LoraLinear`](crate::LoraLinear) and [`LoraConv1D`](crate::LoraConv1D) compute with the codes;
    /// Burn's own layers see the weight's values, made anew each time. Merging an adapter
    /// (`merge_and_unload`) gives 32-bit weights; what quantizing those again would lose is what
    /// [`losses`](Self::losses) says. A quantized weight is never trained.
    ///
    /// # Errors
    ///
    /// [`LoraError::QuantizationConfig`]; [`LoraError::Quantization`] if a weight is quantized
    /// already, is merged into, or cannot be quantized ([`PackedWeight::quantize`]);
    /// [`LoraError::ForeignReparameterization`].
    pub fn quantize<M: Module>(&self, module: M) -> Result<M, LoraError> {
        let meant = parameters(&module).into_iter().filter(|p| self.means(p));
        let mut quantize = Quantize {
            config: self,
            format: self.format()?,
            meant: meant.map(|p| p.path).collect(),
            broken: None,
        };
        let module = edit(module, &mut quantize)?;
        quantize.broken.map_or(Ok(module), Err)
    }

    /// The codes of a weight in bitsandbytes' layout.
    pub(super) fn pack(
        &self,
        path: &str,
        data: &TensorData,
        format: WeightFormat,
    ) -> Result<Arc<PackedWeight>, LoraError> {
        let refused = |message: String| LoraError::Quantization {
            tensor: path.to_string(),
            message,
        };
        let shape = data.shape().to_vec();
        let [d_out, d_in] = shape[..] else {
            return Err(refused(format!(
                "it has the shape {shape:?}, expected two axes"
            )));
        };
        let values = data.as_slice::<f32>();
        let values = values.map_err(|e| refused(format!("its values cannot be read: {e:?}")))?;
        let (block, double) = (self.bnb_4bit_blocksize, self.bnb_4bit_use_double_quant);
        PackedWeight::quantize(path, values, [d_out, d_in], format, block, double).map(Arc::new)
    }
}

/// A parameter as a checkpoint has it.
#[derive(Debug, Clone)]
pub enum LoadedWeight {
    /// Its values, in PyTorch's layout.
    Values(TensorData),
    /// In few bits already.
    Packed(PackedWeight),
}

/// As [`load_state`], with the weights that `config` means quantized as they come: memory never
/// holds more than the quantized model and one tensor. Weights that come in few bits stay so.
///
/// # Errors
///
/// As [`load_state`] and [`QuantizationConfig::quantize`].
pub fn load_quantized<M: Module>(
    module: M,
    config: Option<&QuantizationConfig>,
    mut source: impl FnMut(&ParameterInfo) -> Result<Option<LoadedWeight>, LoraError>,
) -> Result<M, LoraError> {
    let config = match config {
        Some(config) => Some((config, config.format()?)),
        None => None,
    };
    let mut packed = Weights::new();
    let module = load_state(module, |info| {
        let data = match source(info)? {
            None => return Ok(None),
            Some(LoadedWeight::Values(data)) => data,
            Some(LoadedWeight::Packed(weight)) => {
                packed.insert(info.path.clone(), Arc::new(weight));
                return Ok(None);
            }
        };
        match config.filter(|(config, _)| config.means(info)) {
            Some((config, format)) => {
                let weight = config.pack(&info.path, &other_layout(info, data), format)?;
                packed.insert(info.path.clone(), weight);
                Ok(None)
            }
            None => Ok(Some(data)),
        }
    })?;
    attach(module, packed)
}

/// `module` with `packed` in the place of its weights, which are not read.
pub(super) fn attach<M: Module>(module: M, packed: Weights) -> Result<M, LoraError> {
    struct Attach(Weights);

    impl Edit for Attach {
        fn lora(
            &mut self,
            path: &str,
            base: Param<Tensor<2>>,
            adapters: Option<LoraAdapters>,
        ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
            let Some(packed) = self.0.remove(path) else {
                return (base, adapters);
            };
            let mut adapters = adapters.unwrap_or_else(LoraAdapters::new);
            adapters.set_packed(Some(packed));
            (stand_in(&base), Some(adapters))
        }
    }

    edit(module, &mut Attach(packed))
}

/// The weights of `module` that are stored in few bits, in the order of their paths.
pub fn quantized<M: Module>(module: &M) -> Vec<QuantizedWeight> {
    let attachments = collect(module);
    let weights = attachments.lora().filter_map(|(path, adapters)| {
        Some(QuantizedWeight {
            path: path.to_string(),
            weight: adapters.packed()?.clone(),
        })
    });
    weights.collect()
}

/// `module` with 32-bit weights in the place of those in few bits.
///
/// # Errors
///
/// [`LoraError::ForeignReparameterization`].
pub fn dequantize<M: Module>(module: M) -> Result<M, LoraError> {
    struct Dequantize;

    impl Edit for Dequantize {
        fn lora(
            &mut self,
            _path: &str,
            base: Param<Tensor<2>>,
            adapters: Option<LoraAdapters>,
        ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
            let Some(mut adapters) = adapters else {
                return (base, None);
            };
            let base = match adapters.packed() {
                Some(packed) => {
                    let values = values_of_packed(packed, &base.lazy_device());
                    let values = values.detach().set_require_grad(false);
                    Param::initialized(base.id, values)
                }
                None => base,
            };
            if adapters.merged().is_empty() {
                adapters.set_packed(None);
            }
            let rest = (!adapters.is_empty()).then_some(adapters);
            (base, rest)
        }
    }

    edit(module, &mut Dequantize)
}

/// Quantizes what a model holds.
struct Quantize<'a> {
    config: &'a QuantizationConfig,
    format: WeightFormat,
    /// The paths of the weights.
    meant: BTreeSet<String>,
    broken: Option<LoraError>,
}

impl Edit for Quantize<'_> {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        if self.broken.is_some() || !self.meant.contains(path) {
            return (base, adapters);
        }
        let mut adapters = adapters.unwrap_or_else(LoraAdapters::new);
        let refused = |message: &str| LoraError::Quantization {
            tensor: path.to_string(),
            message: message.to_string(),
        };
        let found = match changed(&adapters) {
            Some(message) => Err(refused(message)),
            None => {
                let data = base
                    .base()
                    .without_autodiff()
                    .transpose()
                    .into_data()
                    .convert::<f32>();
                let packed = self.config.pack(path, &data, self.format);
                // What LoftQ leaves is made of codes; of what others leave, something would be lost that
                // their adapter does not know of.
                packed.and_then(|packed| match adapters.residual().is_some() {
                    true if !is_exact(&packed, &data) => Err(refused(TAKEN)),
                    _ => Ok(packed),
                })
            }
        };
        match found {
            Ok(packed) => {
                adapters.forget_original();
                adapters.set_packed(Some(packed));
                (stand_in(&base), Some(adapters))
            }
            Err(error) => {
                self.broken = Some(error);
                (base, (!adapters.is_empty()).then_some(adapters))
            }
        }
    }
}

/// Why a weight is not the base's own, if it is not.
fn changed(adapters: &LoraAdapters) -> Option<&'static str> {
    if adapters.packed().is_some() {
        return Some("it is quantized already");
    }
    if adapters.without_base().is_some() {
        return Some("its factors are in its place: merge them first (`merge_and_unload`)");
    }
    if !adapters.merged().is_empty() {
        return Some("adapters are merged into it: take them out first (`unmerge`)");
    }
    None
}

/// Why a weight is not quantized of which an adapter has a part.
const TAKEN: &str = "an adapter has taken its start out of it (`init_lora_weights`): convert that \
                     (`save_adapter_as_lora`), or quantize before it is added; what LoftQ with 4 bits \
                     leaves can be stored as NF4 in blocks of 64 without double quantization";

/// Whether the codes say all there was.
fn is_exact(packed: &PackedWeight, data: &TensorData) -> bool {
    packed.dequantize().into_iter().eq(data.iter::<f32>())
}
