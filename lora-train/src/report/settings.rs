//! How it was trained.

use lora_core::LoraConfig;
use serde_json::Value;

use crate::html::{escape, table};
use crate::{RunMetrics, TrainingConfig};

pub(super) fn section(metrics: &RunMetrics) -> String {
    let json = |value: Result<Value, serde_json::Error>| value.unwrap_or(Value::Null);
    let mut html = "<h2>Settings</h2>\n<p class=\"muted\">In bold: what is not the default.</p>\n\
                    <div class=\"settings\">\n"
        .to_string();
    html += &settings(
        "Training",
        &json(serde_json::to_value(&metrics.training)),
        &json(serde_json::to_value(TrainingConfig::new())),
    );
    if let Some(lora) = &metrics.lora {
        html += &settings(
            "Adapters",
            &json(serde_json::to_value(lora)),
            &json(serde_json::to_value(LoraConfig::new())),
        );
    }
    html + "</div>\n"
}

fn settings(caption: &str, values: &Value, defaults: &Value) -> String {
    let empty = serde_json::Map::new();
    let fields = values.as_object().unwrap_or(&empty);
    let rows: Vec<Vec<String>> = fields
        .iter()
        .map(|(name, value)| {
            let text = escape(&text(value));
            let shown = match *value == defaults[name.as_str()] {
                true => text,
                false => format!("<strong>{text}</strong>"),
            };
            vec![format!("<code>{}</code>", escape(name)), shown]
        })
        .collect();
    let head = ["setting", "value"].map(String::from);
    table(caption, &head, &rows, false)
}

/// The value without the quotes and brackets of JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.iter().all(Value::is_string) => {
            let words: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            words.join(", ")
        }
        Value::Object(map) if map.is_empty() => "–".to_string(),
        other => other.to_string(),
    }
}
