//! The formats a base model's weights can have.

use std::fmt;
use std::str::FromStr;

use crate::LoraError;

/// How the weights of a base model are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// 4-bit normal float (QLoRA, Dettmers et al. 2023, section 3).
    Nf4,
    /// 4-bit floating point.
    Fp4,
    /// 8-bit whole numbers, a scale a row (LLM.int8(), Dettmers et al. 2022); the products are of
    /// 32-bit numbers.
    Int8,
    /// 16-bit floats with the range of 32-bit ones and 8 bits of precision.
    Bf16,
    /// 16-bit floats up to 65504 with 11 bits of precision (IEEE 754's half precision).
    F16,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Nf4, Self::Fp4, Self::Int8, Self::Bf16, Self::F16];

    /// The format's name: `nf4`, `fp4`, `int8`, `bf16` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
            Self::Int8 => "int8",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// PyTorch's name of the type, for those that are floats: checkpoints have these as plain tensors.
    pub fn float_name(self) -> Option<&'static str> {
        match self {
            Self::Bf16 => Some("bfloat16"),
            Self::F16 => Some("float16"),
            _ => None,
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = LoraError;

    fn from_str(name: &str) -> Result<Self, LoraError> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| LoraError::QuantizationConfig {
            field: "format",
            value: format!("{name:?}"),
            expected: "nf4, fp4, int8, bf16 or f16",
        })
    }
}
