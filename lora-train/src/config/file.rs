//! Settings in a JSON file.

use std::path::Path;

use serde_json::{Map, Value};

use super::TrainingConfig;
use crate::TrainError;

impl TrainingConfig {
    /// These settings with those that a JSON file names.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] if the file cannot be read, [`TrainError::ConfigFile`] if it is no JSON object or
    /// names a setting that there is not, or one with a value that it cannot have.
    pub fn with_file(self, path: &Path) -> Result<Self, TrainError> {
        let wrong = |field: &str, message: String| TrainError::ConfigFile {
            path: path.to_path_buf(),
            field: field.to_string(),
            message,
        };
        let text = std::fs::read_to_string(path).map_err(|e| TrainError::io("read", path, e))?;
        let file: Map<String, Value> =
            serde_json::from_str(&text).map_err(|e| wrong("(file)", e.to_string()))?;
        let mut config = self;
        for (field, value) in file {
            let mut fields = serde_json::json!(config);
            let Some(own) = fields.get_mut(&field) else {
                let known: Vec<&String> =
                    fields.as_object().into_iter().flat_map(Map::keys).collect();
                let message = format!("there is no such setting, expected one of {known:?}");
                return Err(wrong(&field, message));
            };
            *own = value.clone();
            // One field at a time, so that a wrong type is reported with its name.
            config = serde_json::from_value(fields)
                .map_err(|e| wrong(&field, format!("is {value}: {e}")))?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrainingConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("training.json");
        std::fs::write(&path, text).unwrap();
        let usual = TrainingConfig::new().with_epochs(7);
        usual.with_file(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn what_a_file_does_not_name_stays() {
        let found = read(r#"{"learning_rate": 0.01, "warmup_steps": 5}"#);
        let expected = TrainingConfig::new()
            .with_epochs(7)
            .with_learning_rate(0.01)
            .with_warmup_steps(Some(5));
        assert_eq!(found.unwrap(), expected);
        let whole = serde_json::json!(TrainingConfig::new()).to_string();
        assert_eq!(read(&whole).unwrap(), TrainingConfig::new());
    }

    #[test]
    fn what_is_misspelled_or_of_a_wrong_type_is_refused_by_name() {
        let error = read(r#"{"warmup_step": 100}"#).unwrap_err();
        assert!(error.contains("training.json: `warmup_step`"), "{error}");
        assert!(error.contains("\"warmup_steps\""), "{error}");
        let error = read(r#"{"epochs": 3, "batch_size": "many"}"#).unwrap_err();
        assert!(error.contains("`batch_size`: is \"many\""), "{error}");
        assert!(read("[]").unwrap_err().contains("(file)"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = TrainingConfig::new().with_file(Path::new("no-such.json"));
        assert!(error.unwrap_err().to_string().contains("no-such.json"));
    }
}
