//! `init_lora_weights`: how the factors of a new adapter start out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// How the factors of a new adapter start out: PEFT's `init_lora_weights`, a boolean or a name.
///
/// All but [`Random`](Self::Random) leave the model's output as it was. PiSSA, OLoRA and LoftQ do so
/// by taking the adapter's start `scaling·A₀·B₀` out of the base: while such an adapter is active,
/// the base's weight is the rest, and it is the original again, bit for bit, when the adapter is
/// not active, deleted or unloaded. The weight that is not in use is kept in host memory.
/// [`LoraModule::save_adapter_as_lora`](crate::LoraModule::save_adapter_as_lora) writes an adapter
/// that leaves the base alone.
///
/// Embeddings start as with [`Kaiming`](Self::Kaiming) whatever this is, as in PEFT, except for
/// [`Random`](Self::Random) and [`LoftQ`](Self::LoftQ), which refuses them.
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
    /// `"orthogonal"`: `A` and `B` random and not zero, with a product of zero. `r` must be even.
    Orthogonal,
    /// `"pissa"`: the `r` largest singular triplets of the weight (PiSSA, Meng et al. 2024,
    /// section 3). Takes the scaling to be positive.
    Pissa,
    /// `"pissa_niter_<n>"`: PiSSA from a randomized singular value decomposition with `n` subspace
    /// iterations (Halko et al. 2011, algorithm 4.4): faster, and as good with a few of them.
    ///
    /// The random numbers are the device's, so an adapter of another run, or of PEFT, takes a
    /// slightly different part out of the base when it is loaded. Where that matters, save it with
    /// `save_adapter_as_lora`, or use [`Pissa`](Self::Pissa), which has nothing random.
    PissaNiter(usize),
    /// `"olora"`: the first `r` columns and rows of the weight's QR decomposition (OLoRA,
    /// Büyükakyüz 2024, section 3).
    Olora,
    /// `"eva"`: `B` zero, `A` from the layer's inputs and with a rank of its own (EVA, Paischer
    /// et al. 2024), once
    /// [`LoraModule::initialize_eva`](crate::LoraModule::initialize_eva) was called; until then
    /// as [`Kaiming`](Self::Kaiming). Its settings are [`EvaConfig`](crate::EvaConfig).
    Eva,
    /// `"loftq"`: the weight is quantized, and `A·B` makes up for what that loses (LoftQ, Li et al.
    /// 2023). The values are the quantized ones, but they are not stored in fewer bits: the weight
    /// keeps its type and its size. Its settings are [`LoftQConfig`](crate::LoftQConfig).
    LoftQ,
}

impl InitLoraWeights {
    /// What PEFT's `pissa_niter_<n>` begins with.
    const PISSA_NITER: &'static str = "pissa_niter_";

    /// Whether it takes the adapter's start out of the base's weight.
    pub fn changes_base(self) -> bool {
        matches!(
            self,
            Self::Pissa | Self::PissaNiter(_) | Self::Olora | Self::LoftQ
        )
    }

    fn from_name(name: &str) -> Option<Self> {
        let iterations = name.strip_prefix(Self::PISSA_NITER);
        match name {
            // PEFT compares these two in lower case, and only them.
            _ if name.eq_ignore_ascii_case("gaussian") => Some(Self::Gaussian),
            _ if name.eq_ignore_ascii_case("olora") => Some(Self::Olora),
            "orthogonal" => Some(Self::Orthogonal),
            "pissa" => Some(Self::Pissa),
            "eva" => Some(Self::Eva),
            "loftq" => Some(Self::LoftQ),
            _ => iterations?.parse().ok().map(Self::PissaNiter),
        }
    }
}

/// The value in `adapter_config.json`, without quotes.
impl fmt::Display for InitLoraWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kaiming => f.write_str("true"),
            Self::Random => f.write_str("false"),
            Self::Gaussian => f.write_str("gaussian"),
            Self::Orthogonal => f.write_str("orthogonal"),
            Self::Pissa => f.write_str("pissa"),
            Self::PissaNiter(iterations) => write!(f, "{}{iterations}", Self::PISSA_NITER),
            Self::Olora => f.write_str("olora"),
            Self::Eva => f.write_str("eva"),
            Self::LoftQ => f.write_str("loftq"),
        }
    }
}

impl Serialize for InitLoraWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Kaiming => serializer.serialize_bool(true),
            Self::Random => serializer.serialize_bool(false),
            name => serializer.collect_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for InitLoraWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let known = match &value {
            Value::Bool(true) => Some(Self::Kaiming),
            Value::Bool(false) => Some(Self::Random),
            Value::String(name) => Self::from_name(name),
            _ => None,
        };
        known.ok_or_else(|| {
            serde::de::Error::custom(
                "not supported; expected true, false, \"gaussian\", \"orthogonal\", \"pissa\", \
                 \"pissa_niter_<number>\", \"olora\", \"eva\" or \"loftq\"",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_written_as_peft_does_and_read_back() {
        use InitLoraWeights::*;
        for (init, text) in [
            (Kaiming, "true"),
            (Random, "false"),
            (Gaussian, "\"gaussian\""),
            (Orthogonal, "\"orthogonal\""),
            (Pissa, "\"pissa\""),
            (PissaNiter(16), "\"pissa_niter_16\""),
            (Olora, "\"olora\""),
            (Eva, "\"eva\""),
            (LoftQ, "\"loftq\""),
        ] {
            assert_eq!(serde_json::to_string(&init).unwrap(), text);
            assert_eq!(serde_json::from_str::<InitLoraWeights>(text).unwrap(), init);
        }
        assert_eq!(
            serde_json::from_str::<InitLoraWeights>("\"OLoRA\"").unwrap(),
            Olora
        );
    }

    #[test]
    fn other_names_are_errors_that_list_what_is_accepted() {
        for text in [
            "\"corda\"",
            "\"lora_ga\"",
            "\"mica\"",
            "\"Pissa\"",
            "\"pissa_niter_\"",
            "\"pissa_niter_-1\"",
            "\"pissa_niter_1.5\"",
            "3",
        ] {
            let error = serde_json::from_str::<InitLoraWeights>(text).unwrap_err();
            assert!(error.to_string().contains("\"olora\""), "{text}: {error}");
        }
    }
}
