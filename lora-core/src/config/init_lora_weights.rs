//! `init_lora_weights`: how the factors of a new adapter start out.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// How the factors of a new adapter start out: PEFT's `init_lora_weights`, a boolean or a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InitLoraWeights {
    /// `true`: `A` Kaiming-uniform, `B` zero, as in loralib. The adapter starts without effect.
    #[default]
    Kaiming,
    /// `false`: `A` and `B` both random, so that the adapter has an effect; for tests.
    Random,
    /// `"gaussian"`: `A` normal with deviation `1/r`, `B` zero.
    Gaussian,
}

impl Serialize for InitLoraWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Kaiming => serializer.serialize_bool(true),
            Self::Random => serializer.serialize_bool(false),
            Self::Gaussian => serializer.serialize_str("gaussian"),
        }
    }
}

impl<'de> Deserialize<'de> for InitLoraWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match &value {
            Value::Bool(true) => Ok(Self::Kaiming),
            Value::Bool(false) => Ok(Self::Random),
            Value::String(name) if name == "gaussian" => Ok(Self::Gaussian),
            _ => Err(serde::de::Error::custom(
                "not supported; expected true, false or \"gaussian\"",
            )),
        }
    }
}
