//! The optimizer.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An optimizer, by the names of Hugging Face's `optim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optim {
    /// AdamW as PyTorch has it.
    #[serde(rename = "adamw_torch", alias = "adamw_torch_fused")]
    AdamW,
    /// AdamW with its moments in 8 bits, see [`AdamW8bit`](crate::AdamW8bit).
    #[serde(rename = "adamw_8bit", alias = "adamw_bnb_8bit")]
    AdamW8bit,
}

impl Display for Optim {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AdamW => "adamw_torch",
            Self::AdamW8bit => "adamw_8bit",
        })
    }
}

impl FromStr for Optim {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let name = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
        Self::deserialize(name).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hugging_faces() {
        for optim in [Optim::AdamW, Optim::AdamW8bit] {
            assert_eq!(optim.to_string().parse(), Ok(optim));
            assert_eq!(serde_json::json!(optim), optim.to_string());
        }
        assert_eq!("adamw_bnb_8bit".parse(), Ok(Optim::AdamW8bit));
        let error = "adafactor".parse::<Optim>().unwrap_err();
        assert!(error.contains("adamw_8bit"), "{error}");
    }
}
