//! `loftq_config`: the settings of LoftQ's initialisation.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::LoraError;

/// The settings of LoftQ (Li et al. 2023): PEFT's `LoftQConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoftQConfig {
    /// The bits of a quantized value: 2 (normal-float codes in blocks of 64), 4 (NF4 in blocks of
    /// 64) or 8 (whole numbers, a scale for each output). Default 4.
    ///
    /// PEFT takes 4 and 8; it had 2, which the paper is about, up to its release 0.19.
    pub loftq_bits: usize,
    /// How often quantization and decomposition alternate, `T` in the paper's algorithm 1.
    /// Default 1.
    pub loftq_iter: usize,
}

impl Default for LoftQConfig {
    fn default() -> Self {
        Self {
            loftq_bits: 4,
            loftq_iter: 1,
        }
    }
}

impl LoftQConfig {
    /// PEFT's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the bits of a quantized value.
    pub fn with_loftq_bits(mut self, bits: usize) -> Self {
        self.loftq_bits = bits;
        self
    }

    /// Sets how often quantization and decomposition alternate.
    pub fn with_loftq_iter(mut self, iterations: usize) -> Self {
        self.loftq_iter = iterations;
        self
    }

    pub(super) fn validate(&self) -> Result<(), LoraError> {
        let bad = |field, value: usize, expected| {
            Err(LoraError::ConfigValue {
                field,
                value: value.to_string(),
                expected,
            })
        };
        if ![2, 4, 8].contains(&self.loftq_bits) {
            return bad("loftq_config.loftq_bits", self.loftq_bits, "2, 4 or 8");
        }
        if self.loftq_iter == 0 {
            return bad("loftq_config.loftq_iter", 0, "at least 1");
        }
        Ok(())
    }
}

/// Reads the field: PEFT writes `{}` for settings that are absent.
pub(super) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<LoftQConfig>, D::Error> {
    let fields: Option<Map<String, Value>> = Option::deserialize(deserializer)?;
    match fields {
        Some(fields) if !fields.is_empty() => serde_json::from_value(Value::Object(fields))
            .map(Some)
            .map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}
