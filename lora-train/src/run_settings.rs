//! `config.json`: how a run is done.

use std::path::Path;

use lora_core::file::write_atomically;
use lora_core::{FactorizeConfig, LoraConfig};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::{Method, TrainError, TrainingConfig};

/// The name of the file in a run's folder.
pub const CONFIG_NAME: &str = "config.json";

/// How a run is done.
#[derive(Debug, Clone, Copy)]
pub struct RunSettings<'a> {
    /// The inputs.
    pub names: RunNames<'a>,
    /// What of the model is trained.
    pub method: &'a Method,
    /// How it is trained.
    pub training: &'a TrainingConfig,
}

/// The inputs of a run, by the names they were given.
#[derive(Debug, Clone, Copy)]
pub struct RunNames<'a> {
    /// The base model's folder or hub id.
    pub model: &'a str,
    /// The data set's folder or hub id.
    pub data: &'a str,
    /// The device.
    pub device: &'a str,
}

impl RunSettings<'_> {
    /// Writes [`CONFIG_NAME`] into `folder`, which exists, in one step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let text = format!("{:#}\n", serde_json::json!(self));
        Ok(write_atomically(
            &folder.join(CONFIG_NAME),
            text.as_bytes(),
        )?)
    }

    /// The adapters' configuration, if there are some.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.method.adapters()
    }

    /// Which weights are products of thin matrices, if some are.
    pub fn factorization(&self) -> Option<&FactorizeConfig> {
        self.method.factorization()
    }
}

impl Serialize for RunSettings<'_> {
    /// With the keys of [`RunMetrics`](crate::RunMetrics).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("RunSettings", 7)?;
        fields.serialize_field("method", self.method.name())?;
        fields.serialize_field("lora", &self.lora())?;
        fields.serialize_field("factorization", &self.factorization())?;
        fields.serialize_field("model", self.names.model)?;
        fields.serialize_field("data", self.names.data)?;
        fields.serialize_field("device", self.names.device)?;
        fields.serialize_field("training", self.training)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_config;

    #[test]
    fn the_settings_become_json() {
        let folder = tempfile::tempdir().unwrap();
        let training = TrainingConfig::new().with_epochs(7);
        let json = |method: Method| -> serde_json::Value {
            let names = RunNames {
                model: "roberta-tiny",
                data: "reviews",
                device: "flex",
            };
            let settings = RunSettings {
                names,
                method: &method,
                training: &training,
            };
            settings.write(folder.path()).unwrap();
            let text = std::fs::read_to_string(folder.path().join(CONFIG_NAME)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let lora = json(Method::lora(LoraConfig::new().with_r(3), &tiny_config()));
        assert_eq!(
            (&lora["method"], &lora["model"]),
            (&"lora".into(), &"roberta-tiny".into())
        );
        assert_eq!(
            (&lora["lora"]["r"], &lora["training"]["epochs"]),
            (&3.into(), &7.into())
        );
        let full = json(Method::Full);
        assert_eq!(
            (&full["method"], &full["lora"]),
            (&"full".into(), &serde_json::Value::Null)
        );
    }
}
