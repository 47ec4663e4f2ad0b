//! When beam search stops looking for better sequences.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// When beam search ends, once a prompt has `num_beams` finished sequences: Hugging Face's
/// `early_stopping`, written `false`, `true` or `"never"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum EarlyStopping {
    /// When the best running sequence, at its present length, scores below the worst finished one.
    #[default]
    False,
    /// At once.
    True,
    /// When no running sequence can score above the worst finished one any more: with a positive
    /// `length_penalty`, at the length that is best for it.
    Never,
}

impl TryFrom<Value> for EarlyStopping {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match &value {
            Value::Bool(false) => Ok(Self::False),
            Value::Bool(true) => Ok(Self::True),
            Value::String(text) if text == "never" => Ok(Self::Never),
            _ => Err("expected false, true or \"never\"".to_string()),
        }
    }
}

impl From<EarlyStopping> for Value {
    fn from(value: EarlyStopping) -> Self {
        match value {
            EarlyStopping::False => false.into(),
            EarlyStopping::True => true.into(),
            EarlyStopping::Never => "never".into(),
        }
    }
}
