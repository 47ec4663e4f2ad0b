//! `config.json`: how a run is done.

use std::path::Path;

use lora_core::file::write_atomically;
use lora_core::{FactorizeConfig, LoraConfig};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use serde_json::Value;

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

    /// Checks that the run whose [`CONFIG_NAME`] is in `folder` trains the same, so that this one may go
    /// on from its checkpoints: a model of that name, wherever it lies, by the same method with the same
    /// settings. What [`TrainingConfig`] says is checked with the checkpoint.
    ///
    /// # Errors
    ///
    /// [`TrainError::Resume`] with what differs; [`TrainError::Io`] and [`TrainError::ConfigFile`] if the
    /// file cannot be read.
    pub fn check_resumed(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(CONFIG_NAME);
        let text = std::fs::read_to_string(&path).map_err(|e| TrainError::io("read", &path, e))?;
        let parse = |text: &str| {
            serde_json::from_str::<Value>(text).map_err(|e| TrainError::ConfigFile {
                path: path.clone(),
                field: "(file)".to_string(),
                message: e.to_string(),
            })
        };
        // Through text, which loses the last bit of some numbers, on both sides.
        let mut sides = [parse(&serde_json::json!(self).to_string())?, parse(&text)?];
        for side in &mut sides {
            if let Some(lora) = side["lora"].as_object_mut() {
                // A note for people, where the model was.
                lora.shift_remove("base_model_name_or_path");
                lora.shift_remove("revision");
            }
        }
        let [mine, theirs] = sides;
        let name = |settings: &Value| {
            let path = settings["model"].as_str().map(Path::new);
            path.and_then(Path::file_name).map(ToOwned::to_owned)
        };
        let differs = |field: &str| match field {
            "model" => name(&mine) != name(&theirs),
            _ => mine[field] != theirs[field],
        };
        let fields = ["model", "method", "lora", "factorization"];
        match fields.into_iter().find(|field| differs(field)) {
            None => Ok(()),
            Some(field) => Err(TrainError::Resume {
                path,
                field: field.to_string(),
                found: mine[field].to_string(),
                expected: theirs[field].to_string(),
            }),
        }
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
        let check = |method: &Method, model| {
            let names = RunNames {
                model,
                data: "others",
                device: "cuda",
            };
            let settings = RunSettings {
                names,
                method,
                training: &training,
            };
            settings.check_resumed(folder.path())
        };
        let same = Method::lora(LoraConfig::new().with_r(3), &tiny_config());
        let same = same.with_base_model("elsewhere/roberta-tiny");
        check(&same, "elsewhere/roberta-tiny").unwrap();
        let error = check(&same, "roberta-base").unwrap_err().to_string();
        assert!(error.contains("its model is \"roberta-tiny\""), "{error}");
        let other = Method::lora(LoraConfig::new().with_r(4), &tiny_config());
        let error = check(&other, "roberta-tiny").unwrap_err().to_string();
        assert!(error.contains("its lora is {"), "{error}");
        let error = check(&Method::Head, "roberta-tiny")
            .unwrap_err()
            .to_string();
        assert!(error.contains("its method is \"lora\""), "{error}");
        let full = json(Method::Full);
        assert_eq!(
            (&full["method"], &full["lora"]),
            (&"full".into(), &serde_json::Value::Null)
        );
    }
}
