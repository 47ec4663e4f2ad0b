//! The configuration and its file.

use lora_models::generation::{EarlyStopping, GenerationConfig};
use serde_json::json;

use crate::common::folder;

#[test]
fn defaults_are_those_of_transformers() {
    let written = serde_json::to_value(GenerationConfig::default()).unwrap();
    assert_eq!(
        written,
        json!({
            "max_new_tokens": 20, "min_new_tokens": 0, "do_sample": false, "temperature": 1.0,
            "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.0, "num_beams": 1,
            "length_penalty": 1.0, "early_stopping": false, "no_repeat_ngram_size": 0,
            "num_return_sequences": 1,
        })
    );
    let empty: GenerationConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, GenerationConfig::default());
}

#[test]
fn fields_are_read_as_they_are_written() {
    let config = GenerationConfig {
        top_k: None,
        early_stopping: EarlyStopping::Never,
        eos_token_id: Some(vec![3, 4]),
        pad_token_id: Some(7),
        seed: Some(9),
        ..GenerationConfig::default()
    };
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written["top_k"], 0);
    assert_eq!(written["early_stopping"], "never");
    assert_eq!(written["eos_token_id"], json!([3, 4]));
    assert_eq!(
        serde_json::from_value::<GenerationConfig>(written).unwrap(),
        config
    );

    let read = |value| serde_json::from_value::<GenerationConfig>(value);
    let one = read(json!({"eos_token_id": 5, "early_stopping": true})).unwrap();
    assert_eq!(one.eos_token_id, Some(vec![5]));
    assert_eq!(one.early_stopping, EarlyStopping::True);
    assert_eq!(serde_json::to_value(&one).unwrap()["eos_token_id"], 5);
    let error = |value| read(value).unwrap_err().to_string();
    assert!(error(json!({"num_beam": 2})).contains("`num_beam`"));
    assert!(error(json!({"early_stopping": "often"})).contains("\"never\""));
    assert!(error(json!({"eos_token_id": "x"})).contains("a token id or a list"));
}

fn read(text: &str) -> Result<GenerationConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("generation_config.json");
    std::fs::write(&path, text).unwrap();
    let config = GenerationConfig::from_folder(folder.path());
    config.map_err(|error| {
        let error = error.to_string();
        assert!(error.contains("generation_config.json"), "{error}");
        error
    })
}

#[test]
fn a_file_of_transformers_is_read() {
    let config = GenerationConfig::from_folder(folder().join("model")).unwrap();
    let expected = GenerationConfig {
        eos_token_id: Some(vec![94]),
        pad_token_id: Some(95),
        ..GenerationConfig::default()
    };
    assert_eq!(config, expected);

    let config = read(
        r#"{"_from_model_config": true, "transformers_version": "5.23.0", "bos_token_id": 50256,
            "num_beams": 10, "length_penalty": 0.8, "no_repeat_ngram_size": 4, "top_k": 0,
            "typical_p": 1, "use_cache": true, "bad_words_ids": null, "temperature": null}"#,
    );
    let expected = GenerationConfig {
        num_beams: 10,
        length_penalty: 0.8,
        no_repeat_ngram_size: 4,
        top_k: None,
        ..GenerationConfig::default()
    };
    assert_eq!(config.unwrap(), expected);

    let empty = tempfile::tempdir().unwrap();
    let config = GenerationConfig::from_folder(empty.path()).unwrap();
    assert_eq!(config, GenerationConfig::default());
    let missing = empty.path().join("generation_config.json");
    let error = GenerationConfig::from_file(&missing)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot read"), "{error}");
}

#[test]
fn a_file_that_asks_for_more_is_an_error() {
    let error = |text: &str, expected: &str| {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    error(
        r#"{"typical_p": 0.5}"#,
        "`typical_p` is 0.5, expected 1.0: it is not supported",
    );
    error(
        r#"{"use_cache": false}"#,
        "`use_cache` is false, expected true",
    );
    error(
        r#"{"max_length": 50}"#,
        "`max_length` is 50, expected none: set `max_new_tokens` instead",
    );
    error(r#"{"bad_words_ids": [[3]]}"#, "`bad_words_ids`");
    error(r#"{"num_beams": "4"}"#, "`num_beams` is \"4\"");
    error(
        r#"{"num_beams": 0}"#,
        "`num_beams` is 0, expected at least 1",
    );
    error(r#"[]"#, "`(file)`");
    error(r#"{"#, "`(file)`");
}

#[test]
fn values_are_checked() {
    let valid = GenerationConfig::default();
    valid.validate().unwrap();
    let mut compared = 0;
    let mut error = |change: fn(&mut GenerationConfig), expected: &str| {
        let mut config = valid.clone();
        change(&mut config);
        assert_eq!(config.validate().unwrap_err().to_string(), expected);
        compared += 1;
    };
    error(
        |c| c.max_new_tokens = 0,
        "`max_new_tokens` is 0, expected at least 1",
    );
    error(|c| c.num_beams = 0, "`num_beams` is 0, expected at least 1");
    error(
        |c| c.num_return_sequences = 0,
        "`num_return_sequences` is 0, expected at least 1",
    );
    error(
        |c| c.top_k = Some(0),
        "`top_k` is 0, expected at least 1, or `None` to draw from all tokens",
    );
    error(
        |c| c.temperature = 0.0,
        "`temperature` is 0, expected a finite number above 0",
    );
    error(
        |c| c.temperature = -1.0,
        "`temperature` is -1, expected a finite number above 0",
    );
    error(
        |c| c.temperature = f64::NAN,
        "`temperature` is NaN, expected a finite number above 0",
    );
    error(
        |c| c.temperature = f64::INFINITY,
        "`temperature` is inf, expected a finite number above 0",
    );
    error(
        |c| c.repetition_penalty = 0.0,
        "`repetition_penalty` is 0, expected a finite number above 0",
    );
    error(
        |c| c.top_p = 0.0,
        "`top_p` is 0, expected a number above 0 and at most 1",
    );
    error(
        |c| c.top_p = 1.5,
        "`top_p` is 1.5, expected a number above 0 and at most 1",
    );
    error(
        |c| c.top_p = f64::NAN,
        "`top_p` is NaN, expected a number above 0 and at most 1",
    );
    error(
        |c| c.length_penalty = f64::INFINITY,
        "`length_penalty` is inf, expected a finite number",
    );
    error(
        |c| c.min_new_tokens = 21,
        "`min_new_tokens` is 21, expected at most `max_new_tokens`, 20",
    );
    error(
        |c| (c.num_beams, c.num_return_sequences) = (3, 4),
        "`num_return_sequences` is 4, expected at most `num_beams`, 3",
    );
    error(
        |c| c.num_return_sequences = 2,
        "`num_return_sequences` is 2, expected 1 in greedy search, which finds one text: set \
         `do_sample` or `num_beams`",
    );
    assert_eq!(compared, 16);
    let many = GenerationConfig {
        num_return_sequences: 9,
        do_sample: true,
        ..valid
    };
    many.validate().unwrap();
}
