//! What transformers gives, see scripts/make_generation_cases.py.

use lora_core::default_device;
use lora_models::generation::{FinishReason, Generated, GenerationConfig, LogitsProcessors};
use serde_json::Value;

use crate::common::{cases, golden_model};

/// The case's configuration; a null end token is none.
fn config(case: &Value) -> GenerationConfig {
    let mut fields = case["config"].clone();
    if fields.get("eos_token_id").is_some_and(Value::is_null) {
        fields["eos_token_id"] = Value::Array(Vec::new());
    }
    serde_json::from_value(fields).unwrap()
}

fn ids(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn compare(case: &Value, texts: &[Generated]) {
    let name = &case["name"];
    let expected = ids(&case["tokens"]);
    let found: Vec<_> = texts.iter().map(|text| text.tokens.clone()).collect();
    assert_eq!(found, expected, "{name}");
    for (i, text) in texts.iter().enumerate() {
        match case["scores"].get(i).and_then(Value::as_f64) {
            None => assert_eq!(text.score, None, "{name}"),
            Some(expected) => {
                let score = f64::from(text.score.unwrap());
                // Above 1 relative: that is what single precision holds.
                let bound = 1e-4 * expected.abs().max(1.0);
                assert!(
                    (score - expected).abs() < bound,
                    "{name}: {score}, {expected}"
                );
            }
        }
    }
}

#[test]
fn texts_are_those_of_transformers() {
    let model = golden_model(&default_device());
    let cases = cases("texts.json");
    assert_eq!(cases.len(), 89);
    for case in &cases {
        let (config, prompts) = (config(case), ids(&case["prompts"]));
        let texts = model.generate(&prompts, &config).unwrap();
        compare(case, &texts);
        let ends = match &config.eos_token_id {
            Some(ends) => ends.clone(),
            None => vec![94],
        };
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(text.prompt, i / config.num_return_sequences);
            let finish = match ends.contains(text.tokens.last().unwrap()) {
                true => FinishReason::EndToken,
                false => FinishReason::Length,
            };
            assert_eq!(text.finish, finish, "{}", case["name"]);
        }
    }
}

#[test]
fn dropout_is_off_whatever_mode_the_model_is_in() {
    let device = default_device().autodiff();
    let model = golden_model(&device);
    assert!(model.config().attn_pdrop > 0.0);
    for case in cases("texts.json").iter().step_by(7) {
        let texts = model
            .generate(&ids(&case["prompts"]), &config(case))
            .unwrap();
        compare(case, &texts);
    }
}

#[test]
fn scores_are_processed_as_by_transformers() {
    let numbers = |value: &Value| -> Vec<f32> {
        let numbers = value.as_array().unwrap().iter();
        let number = |value: &Value| value.as_f64().map_or(f32::NEG_INFINITY, |v| v as f32);
        numbers.map(number).collect()
    };
    let cases = cases("scores.json");
    assert_eq!(cases.len(), 19);
    for case in &cases {
        let config = config(case);
        let ends = config.eos_token_id.clone().unwrap_or_default();
        let tokens: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
        let new = case["new_tokens"].as_u64().unwrap() as usize;
        let mut scores = numbers(&case["before"]);
        LogitsProcessors::new(&config, &ends).apply(&mut scores, &tokens, new);
        let total: f64 = scores.iter().map(|s| f64::from(*s).exp()).sum();
        let expected = numbers(&case["after"]).into_iter();
        let probabilities = numbers(&case["probabilities"]).into_iter();
        for ((score, expected), probability) in scores.iter().zip(expected).zip(probabilities) {
            let field = &case["config"];
            assert!(
                *score == expected || (score - expected).abs() < 1e-5,
                "{field}: {score}, {expected}"
            );
            let found = f64::from(*score).exp() / total;
            assert!((found - f64::from(probability)).abs() < 1e-5, "{field}");
        }
    }
}
