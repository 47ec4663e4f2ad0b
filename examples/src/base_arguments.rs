//! How the weights of a base are stored and multiplied, on the command line.

use std::error::Error;

use burn::tensor::Device;
use clap::{Args, ValueEnum};
use lora_core::LoraError;
use lora_core::ops::{Activations, has_int8_activations, set_activations};
use lora_core::quantization::{QuantizationConfig, WeightFormat};

/// How the weights of a base are stored and multiplied.
#[derive(Debug, Clone, Args)]
pub struct BaseArguments {
    /// How the weights of the model's linear layers are stored, but for its head; in fewer bits than 32
    /// they take less memory (QLoRA)
    #[arg(long, value_enum, default_value_t = Base::F32)]
    pub base: Base,
    /// How the inputs of the layers are multiplied with --base int8: f32, or int8, which is faster and less
    /// exact
    #[arg(long, value_name = "NAME", default_value_t)]
    pub activations: Activations,
}

impl BaseArguments {
    /// What is told the model that is loaded, `None` for 32-bit floats; products are set to `activations`.
    ///
    /// # Errors
    ///
    /// Activations in 8 bits for another base or a device that does not do that.
    pub fn quantization(
        &self,
        device: &Device,
    ) -> Result<Option<QuantizationConfig>, Box<dyn Error>> {
        if self.activations == Activations::Int8 {
            if self.base != Base::Int8 {
                return Err("--activations int8 is for --base int8".into());
            }
            if !has_int8_activations(device) {
                return Err(LoraError::Activations.into());
            }
        }
        set_activations(self.activations)?;
        Ok(self.base.quantization())
    }
}

/// How a base's weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Base {
    /// 32-bit floats
    F32,
    /// 16-bit floats with the range of 32-bit ones
    Bf16,
    /// 16-bit floats up to 65504
    F16,
    /// 4-bit normal floats
    Nf4,
    /// 4-bit floats
    Fp4,
    /// 8-bit whole numbers
    Int8,
}

impl Base {
    /// What is told the model that is loaded; `None` for 32-bit floats.
    fn quantization(self) -> Option<QuantizationConfig> {
        let format = match self {
            Self::F32 => return None,
            Self::Bf16 => WeightFormat::Bf16,
            Self::F16 => WeightFormat::F16,
            Self::Nf4 => WeightFormat::Nf4,
            Self::Fp4 => WeightFormat::Fp4,
            Self::Int8 => WeightFormat::Int8,
        };
        Some(QuantizationConfig::new(format))
    }
}
