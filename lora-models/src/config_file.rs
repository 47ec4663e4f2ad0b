//! Reading Hugging Face's `config.json`: what it sets is used, what cannot be is an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ModelError;

/// A model folder's `config.json`.
pub(crate) struct ConfigFile {
    path: PathBuf,
    value: Value,
}

impl ConfigFile {
    pub(crate) fn open(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let text = std::fs::read(&path).map_err(|e| ModelError::io("read", &path, e))?;
        let file = Self {
            path,
            value: Value::Null,
        };
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Self { value, ..file }),
            Err(error) => Err(file.error("(file)", error.to_string())),
        }
    }

    /// An error about `field` of this file.
    pub(crate) fn error(&self, field: &str, message: String) -> ModelError {
        ModelError::Config {
            path: self.path.clone(),
            field: field.to_string(),
            message,
        }
    }

    /// The model's type, which has to be one of `expected`.
    pub(crate) fn model_type(&self, expected: &[&str]) -> Result<String, ModelError> {
        let found = self.value.get("model_type").and_then(Value::as_str);
        let found = found.unwrap_or("(absent)");
        if expected.contains(&found) {
            return Ok(found.to_string());
        }
        let names: Vec<_> = expected.iter().map(|name| format!("{name:?}")).collect();
        let message = format!("is {found:?}, expected {}", names.join(" or "));
        Err(self.error("model_type", message))
    }

    /// Fails if a field is set to anything but the one value that the model here computes.
    pub(crate) fn require(&self, fields: &[(&str, Value)]) -> Result<(), ModelError> {
        for (field, allowed) in fields {
            let found = self.value.get(field).filter(|v| !v.is_null());
            if let Some(found) = found.filter(|v| *v != allowed) {
                return Err(self.error(field, format!("is {found}, expected {allowed}")));
            }
        }
        Ok(())
    }

    /// The number of labels, where it is set without their names.
    pub(crate) fn num_labels(&self) -> Option<usize> {
        let unnamed = self.value.get("id2label").is_none_or(Value::is_null);
        let count = self.value.get("num_labels").and_then(Value::as_u64);
        count.filter(|_| unnamed).map(|count| count as usize)
    }

    /// `defaults` with every field that the file sets.
    pub(crate) fn overlay<C: Serialize + DeserializeOwned>(
        &self,
        defaults: &C,
    ) -> Result<C, ModelError> {
        let whole = |e: serde_json::Error| self.error("(file)", e.to_string());
        let mut merged = serde_json::to_value(defaults).map_err(whole)?;
        if let Some(fields) = merged.as_object_mut() {
            for (field, own) in fields.iter_mut() {
                let Some(found) = self.value.get(field).filter(|v| !v.is_null()) else {
                    continue;
                };
                // One field at a time, so that a wrong type is reported with its name.
                let single = serde_json::json!({ field: found });
                serde_json::from_value::<C>(single)
                    .map_err(|e| self.error(field, format!("is {found}: {e}")))?;
                *own = found.clone();
            }
        }
        serde_json::from_value(merged).map_err(whole)
    }
}

/// The names that Hugging Face gives to classes without any.
pub(crate) fn numbered_labels(count: usize) -> BTreeMap<usize, String> {
    (0..count).map(|i| (i, format!("LABEL_{i}"))).collect()
}
