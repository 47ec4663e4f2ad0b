//! Both tokenizations against the programs that the E2E challenge's scripts call, as
//! `scripts/make_text_metrics_cases.py` recorded them.

use serde_json::Value;

use super::{mteval, penn_treebank};

fn recorded() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/text_metrics/expected.json"
    );
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    expected["tokens"].as_array().unwrap().clone()
}

#[track_caller]
fn compare(tokenization: &str, tokens: fn(&str) -> Vec<String>) {
    let recorded = recorded();
    assert!(recorded.len() > 100, "{}", recorded.len());
    for line in recorded {
        let text = line["line"].as_str().unwrap();
        assert_eq!(tokens(text).join(" "), line[tokenization], "{text:?}");
    }
}

#[test]
fn mteval_is_sacrebleus_13a() {
    compare("mteval", mteval);
}

#[test]
fn penn_treebank_is_the_coco_scripts_tokenizer() {
    compare("penn_treebank", penn_treebank);
}
