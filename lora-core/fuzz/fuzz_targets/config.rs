//! `adapter_config.json`: any text is a configuration or an error, and what is read is written
//! and read again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lora_core::LoraConfig;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Ok(config) = LoraConfig::from_json(text) else {
        return;
    };
    let written = config.to_json();
    let again = LoraConfig::from_json(&written).expect("what was written is read");
    let value = |text: &str| serde_json::from_str(text).expect("it is JSON");
    assert!(same(&value(&written), &value(&again.to_json())), "{written}");
});

/// Equal but for the last bits of numbers, which JSON may lose (see `LoraConfig::from_json`).
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64(), right.as_f64());
            left.zip(right)
                .is_some_and(|(left, right)| (left - right).abs() <= 2e-15 * left.abs())
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(l, r)| l.0 == r.0 && same(l.1, r.1))
        }
        _ => left == right,
    }
}
