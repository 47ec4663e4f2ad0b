//! Which weights of a base model are stored in few bits, and how.

use serde::{Deserialize, Serialize};

use super::WeightFormat;
use super::weight::BLOCK_SIZES;
use crate::LoraError;
use crate::state::ParameterInfo;

/// How a base model is quantized: transformers' `BitsAndBytesConfig`, by its names, and `dtype` for
/// weights in 16-bit floats.
///
/// The weights of linear layers are quantized, of all but the modules to skip; embeddings, norms and
/// biases stay as they are. What is computed with is 32-bit floats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuantizationConfig {
    /// 4-bit codes, of the kind that `bnb_4bit_quant_type` says.
    pub load_in_4bit: bool,
    /// 8-bit whole numbers with a scale a row.
    pub load_in_8bit: bool,
    /// `nf4` or `fp4`.
    pub bnb_4bit_quant_type: String,
    /// Whether the blocks' scales are quantized too (QLoRA, section 3).
    pub bnb_4bit_use_double_quant: bool,
    /// How many 4-bit codes share a scale; transformers always has 64.
    pub bnb_4bit_blocksize: usize,
    /// `bfloat16` or `float16`: weights as 16-bit floats, if they are not to be in fewer bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Modules that stay as they are, by one or more whole names in their path; `None`: those in
    /// [`SKIPPED`](Self::SKIPPED).
    pub llm_int8_skip_modules: Option<Vec<String>>,
}

impl Default for QuantizationConfig {
    fn default() -> Self {
        Self {
            load_in_4bit: false,
            load_in_8bit: false,
            bnb_4bit_quant_type: WeightFormat::Fp4.name().to_string(),
            bnb_4bit_use_double_quant: false,
            bnb_4bit_blocksize: 64,
            dtype: None,
            llm_int8_skip_modules: None,
        }
    }
}

impl QuantizationConfig {
    /// The modules that stay as they are unless `llm_int8_skip_modules` says which: heads.
    pub const SKIPPED: [&'static str; 4] = ["classifier", "qa_outputs", "score", "lm_head"];

    /// A base in this format, 4-bit ones with double quantization, as in QLoRA.
    pub fn new(format: WeightFormat) -> Self {
        let mut config = Self::default();
        match (format, format.float_name()) {
            (_, Some(name)) => config.dtype = Some(name.to_string()),
            (WeightFormat::Int8, None) => config.load_in_8bit = true,
            (four_bit, None) => {
                config.load_in_4bit = true;
                config.bnb_4bit_quant_type = four_bit.name().to_string();
                config.bnb_4bit_use_double_quant = true;
            }
        }
        config
    }

    /// The same with other modules that stay as they are.
    pub fn with_skip_modules<S: Into<String>>(
        mut self,
        modules: impl IntoIterator<Item = S>,
    ) -> Self {
        self.llm_int8_skip_modules = Some(modules.into_iter().map(Into::into).collect());
        self
    }

    /// The format of the weights.
    ///
    /// # Errors
    ///
    /// [`LoraError::QuantizationConfig`] for a value that cannot be used.
    pub fn format(&self) -> Result<WeightFormat, LoraError> {
        let refused = |field, value: String, expected| {
            Err(LoraError::QuantizationConfig {
                field,
                value,
                expected,
            })
        };
        if !BLOCK_SIZES.contains(&self.bnb_4bit_blocksize) {
            return refused(
                "bnb_4bit_blocksize",
                self.bnb_4bit_blocksize.to_string(),
                "a power of two from 32 to 4096",
            );
        }
        if let Some(name) = &self.dtype {
            let mut all = WeightFormat::ALL.into_iter();
            let found = all.find(|format| format.float_name() == Some(name));
            return match found.filter(|_| !self.load_in_4bit && !self.load_in_8bit) {
                Some(format) => Ok(format),
                None => refused(
                    "dtype",
                    format!("{name:?}"),
                    "bfloat16 or float16, without `load_in_4bit` and `load_in_8bit`",
                ),
            };
        }
        match (self.load_in_4bit, self.load_in_8bit) {
            (false, true) => Ok(WeightFormat::Int8),
            (true, false) => match self.bnb_4bit_quant_type.as_str() {
                "nf4" => Ok(WeightFormat::Nf4),
                "fp4" => Ok(WeightFormat::Fp4),
                other => refused("bnb_4bit_quant_type", format!("{other:?}"), "nf4 or fp4"),
            },
            (both, _) => refused(
                "load_in_4bit",
                format!("{both}, and `load_in_8bit` too"),
                "one of `load_in_4bit` and `load_in_8bit` to be true",
            ),
        }
    }

    /// Whether this is the weight of a linear layer that is quantized.
    pub(super) fn means(&self, info: &ParameterInfo) -> bool {
        let module = info.module();
        let names = |skipped: &str| {
            module == skipped
                || module.starts_with(&format!("{skipped}."))
                || module.ends_with(&format!(".{skipped}"))
                || module.contains(&format!(".{skipped}."))
        };
        let is_skipped = match &self.llm_int8_skip_modules {
            Some(modules) => modules.iter().any(|skipped| names(skipped)),
            None => Self::SKIPPED.iter().any(|skipped| names(skipped)),
        };
        info.is_linear() && !is_skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_used_are_errors() {
        let nf4 = QuantizationConfig::new(WeightFormat::Nf4);
        assert_eq!(nf4.format().unwrap(), WeightFormat::Nf4);
        let refused = |config: QuantizationConfig| config.format().unwrap_err().to_string();
        let mut other = nf4.clone();
        other.bnb_4bit_quant_type = "int4".to_string();
        assert!(refused(other).contains("bnb_4bit_quant_type"));
        let mut other = nf4.clone();
        other.bnb_4bit_blocksize = 48;
        assert!(refused(other).contains("48"));
        let mut other = nf4;
        other.load_in_8bit = true;
        assert!(refused(other).contains("load_in_4bit"));
        assert!(refused(QuantizationConfig::default()).contains("load_in_4bit"));
        let bf16 = QuantizationConfig::new(WeightFormat::Bf16);
        let mut other = bf16.clone();
        other.load_in_8bit = true;
        assert!(refused(other).contains("`dtype`"));
        let mut other = bf16;
        other.dtype = Some("float64".to_string());
        assert!(refused(other).contains("float64"));
    }

    #[test]
    fn a_format_is_what_its_configuration_says() {
        for format in WeightFormat::ALL {
            let config = QuantizationConfig::new(format);
            assert_eq!(config.format().unwrap(), format);
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(
                serde_json::from_str::<QuantizationConfig>(&text).unwrap(),
                config
            );
            assert_eq!(format.name().parse::<WeightFormat>().unwrap(), format);
        }
    }
}
