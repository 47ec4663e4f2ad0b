//! Reading and writing `adapter_config.json`: nothing in it is ignored silently.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::LoraConfig;
use crate::LoraError;

/// Fields whose value changes nothing here: PEFT's own notes.
const NOTES: [&str; 4] = [
    "auto_mapping",
    "inference_mode",
    "peft_version",
    "megatron_core",
];

/// PEFT's fields that are not supported, with the default they may keep.
fn unsupported() -> Map<String, Value> {
    let fields = json!({
        "peft_type": "LORA",
        "lora_bias": false,
        "layer_replication": null,
        "use_qalora": false,
        "qalora_group_size": 16,
        "corda_config": null,
        "arrow_config": null,
        "megatron_config": null,
        "target_parameters": null,
        "trainable_token_indices": null,
        "alora_invocation_tokens": null,
        "ensure_weight_tying": false,
        "runtime_config": {"ephemeral_gpu_offload": false},
    });
    match fields {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn parse(text: &str, path: &Path) -> Result<LoraConfig, LoraError> {
    let syntax = |message: String| LoraError::ConfigSyntax {
        path: path.to_path_buf(),
        message,
    };
    // PEFT's JSON comes from Python, which writes bare NaN and Infinity; say what is wrong there.
    let fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| syntax(e.to_string()))?;
    let known = match serde_json::to_value(LoraConfig::default()) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let defaults = unsupported();
    let mut supported = Map::new();
    for (field, value) in fields {
        if known.contains_key(&field) {
            // Python writes `null` for a field that was never set.
            if !value.is_null() || known[&field].is_null() {
                supported.insert(field, value);
            }
            continue;
        }
        if NOTES.contains(&field.as_str()) {
            continue;
        }
        let default = defaults.get(&field).cloned().unwrap_or(Value::Null);
        // `init_lora_weights: false` is a value of its own, so the general rule for unset fields
        // covers only the fields whose default is unset too.
        if value != default && !(is_unset(&value) && is_unset(&default)) {
            return Err(LoraError::ConfigUnsupported {
                path: path.to_path_buf(),
                field,
                value: value.to_string(),
                default: default.to_string(),
            });
        }
    }
    // One field at a time first, so that a wrong type is reported with its name.
    for (field, value) in &supported {
        let single = Map::from_iter([(field.clone(), value.clone())]);
        serde_json::from_value::<LoraConfig>(Value::Object(single))
            .map_err(|e| syntax(format!("`{field}` = {value}: {e}")))?;
    }
    let config: LoraConfig =
        serde_json::from_value(Value::Object(supported)).map_err(|e| syntax(e.to_string()))?;
    match config.validate() {
        Ok(()) => Ok(config),
        Err(error) => Err(LoraError::ConfigFile {
            path: path.to_path_buf(),
            source: Box::new(error),
        }),
    }
}

/// Values that mean "not set" in any field, so that a newer PEFT's unused fields do no harm.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        _ => false,
    }
}

pub(super) fn write(config: &LoraConfig) -> String {
    let mut fields = match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    fields.insert("peft_type".to_string(), Value::from("LORA"));
    fields.insert("inference_mode".to_string(), Value::Bool(true));
    let mut text = format!("{:#}", Value::Object(fields));
    text.push('\n');
    text
}

/// Writes 16.0 as 16: PEFT declares `lora_alpha` an integer.
pub(super) fn whole_number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        (*value as i64).serialize(serializer)
    } else {
        value.serialize(serializer)
    }
}

/// [`whole_number`] for each value of a map.
pub(super) fn whole_numbers<S: Serializer>(
    values: &IndexMap<String, f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct Whole(f64);
    impl Serialize for Whole {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            whole_number(&self.0, serializer)
        }
    }
    serializer.collect_map(values.iter().map(|(key, value)| (key, Whole(*value))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bias, InitLoraWeights};

    #[test]
    fn what_is_written_is_read_back() {
        let config = LoraConfig::new()
            .with_r(4)
            .with_lora_alpha(16.0)
            .with_target_modules(["query", "value"])
            .with_exclude_modules(".*pooler.*")
            .with_modules_to_save(["classifier"])
            .with_lora_dropout(0.1)
            .with_use_dora(true)
            .with_bias(Bias::LoraOnly)
            .with_rank_pattern("layer.0", 2)
            .with_alpha_pattern("layer.1", 32.0)
            .with_layers_to_transform([0, 1])
            .with_layers_pattern("layer")
            .with_init_lora_weights(InitLoraWeights::Random);
        let text = config.to_json();
        assert!(text.contains("\"lora_alpha\": 16,"), "{text}");
        assert!(text.contains("\"peft_type\": \"LORA\""), "{text}");
        assert_eq!(LoraConfig::from_json(&text).unwrap(), config);
    }

    #[test]
    fn unknown_fields_are_errors_only_with_a_value() {
        let parse = LoraConfig::from_json;
        assert!(parse(r#"{"brand_new": null, "other": false, "third": {}}"#).is_ok());
        let error = parse(r#"{"brand_new": 3}"#).unwrap_err().to_string();
        assert!(
            error.contains("`brand_new` = 3 is not supported"),
            "{error}"
        );
        let error = parse(r#"{"qalora_group_size": 32}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`qalora_group_size` = 32") && error.contains("set it to 16"),
            "{error}"
        );
        let error = parse(r#"{"init_lora_weights": "corda"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`init_lora_weights` = \"corda\""), "{error}");
        let error = parse(r#"{"peft_type": "IA3"}"#).unwrap_err().to_string();
        assert!(error.contains("peft_type"), "{error}");
    }

    #[test]
    fn what_is_wrong_in_a_file_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter_config.json");
        for (text, field) in [
            (r#"{"r": 0}"#, "`r` is 0"),
            (r#"{"lora_dropout": 2}"#, "`lora_dropout` is 2"),
            (r#"{"use_qalora": true}"#, "`use_qalora` = true"),
            (r#"{"bias": "some"}"#, "`bias` = \"some\""),
            (r#"{"target_modules": 3}"#, "`target_modules` = 3"),
            (r#"{"lora_alpha": 1e999}"#, "out of range"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = LoraConfig::from_file(folder.path())
                .unwrap_err()
                .to_string();
            assert!(error.contains("adapter_config.json"), "{error}");
            assert!(error.contains(field), "{error}");
        }
        std::fs::write(&path, b"{\"r\": \xff}").unwrap();
        let error = LoraConfig::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("invalid UTF-8"), "{error}");
    }

    #[test]
    fn a_wrong_type_names_the_field() {
        let error = LoraConfig::from_json(r#"{"r": "eight"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`r` = \"eight\""), "{error}");
        let error = LoraConfig::from_json(r#"{"lora_alpha": NaN}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
