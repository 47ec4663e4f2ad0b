//! `adapter_config.json`: any text is a configuration or an error, and what is read is written
//! and read again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lora_core::LoraConfig;

fuzz_target!(|text: &str| {
    let Ok(config) = LoraConfig::from_json(text) else {
        return;
    };
    let again = LoraConfig::from_json(&config.to_json()).expect("what was written is read");
    // JSON's numbers may lose their last bit, so compare what is written.
    assert_eq!(config.to_json(), again.to_json());
});
