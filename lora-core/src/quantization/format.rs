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
}

impl WeightFormat {
    /// The format's name: `nf4`, `fp4` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
            Self::Int8 => "int8",
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
        let all = [Self::Nf4, Self::Fp4, Self::Int8];
        let found = all.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| LoraError::QuantizationConfig {
            field: "format",
            value: format!("{name:?}"),
            expected: "nf4, fp4 or int8",
        })
    }
}
