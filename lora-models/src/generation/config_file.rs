//! Reading Hugging Face's `generation_config.json`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::GenerationConfig;
use super::error::GenerationError;
use crate::ModelError;

/// What says nothing about the text that is generated from a prompt.
const PASSED_OVER: [&str; 3] = ["_from_model_config", "transformers_version", "bos_token_id"];

/// The fields that are not supported, with the value that switches each off: Hugging Face's default,
/// which its files may spell out. Whatever is not among these has to be absent or null.
fn switched_off() -> Value {
    json!({
        "assistant_confidence_threshold": 0.4,
        "assistant_lookbehind": 10,
        "diversity_penalty": 0.0,
        "encoder_no_repeat_ngram_size": 0,
        "encoder_repetition_penalty": 1.0,
        "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0,
        "min_length": 0,
        "num_assistant_tokens": 20,
        "num_assistant_tokens_schedule": "constant",
        "num_beam_groups": 1,
        "output_attentions": false,
        "output_hidden_states": false,
        "output_logits": false,
        "output_scores": false,
        "remove_invalid_values": false,
        "renormalize_logits": false,
        "return_dict_in_generate": false,
        "target_lookbehind": 10,
        "token_healing": false,
        "typical_p": 1.0,
        "use_cache": true,
    })
}

impl GenerationConfig {
    /// Reads a `generation_config.json`; what it does not set, or sets to null, is Hugging Face's
    /// default.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`]; [`ModelError::Config`] if it is not JSON, or a field is unknown, not
    /// supported and set, or as [`validate`](Self::validate) says.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| ModelError::io("read", path, e))?;
        let error = |field: &str, message: String| ModelError::Config {
            path: path.to_path_buf(),
            field: field.to_string(),
            message,
        };
        let fields: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|e| error("(file)", e.to_string()))?;
        let whole = |e: serde_json::Error| error("(file)", e.to_string());
        let mut merged = serde_json::to_value(Self::default()).map_err(whole)?;
        let switched_off = switched_off();
        for (field, value) in fields {
            if value.is_null() || PASSED_OVER.contains(&field.as_str()) {
                continue;
            }
            if let Some(off) = switched_off.get(&field) {
                if !same(&value, off) {
                    let message = format!("is {value}, expected {off}: it is not supported");
                    return Err(error(&field, message));
                }
                continue;
            }
            if field == "max_length" {
                let message = format!("is {value}, expected none: set `max_new_tokens` instead");
                return Err(error(&field, message));
            }
            // One field at a time, so that a wrong type is reported with its name.
            let single = json!({ field.as_str(): value });
            if let Err(e) = serde_json::from_value::<Self>(single) {
                return Err(error(&field, format!("is {value}: {e}")));
            }
            merged[field] = value;
        }
        let config: Self = serde_json::from_value(merged).map_err(whole)?;
        match config.validate() {
            Err(GenerationError::Config { field, message }) => Err(error(field, message)),
            other => Ok(other.map(|()| config)?),
        }
    }

    /// Reads `generation_config.json` in a model's folder; without one it is the default, as in
    /// Hugging Face.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = folder.as_ref().join("generation_config.json");
        match path.exists() {
            true => Self::from_file(path),
            false => Ok(Self::default()),
        }
    }
}

/// Whether two values are equal; 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
