//! The parameter counts that PEFT and the source documents print, on models of the real size.
//!
//! `scripts/count_parameters.py` prints them from Python. Nothing is initialized here but the
//! adapters: counting a model takes no memory.

use lora_core::{FactorizeConfig, LoraConfig, ParameterReport, TaskType, default_device};
use lora_models::bert::{BertConfig, SequenceClassification};
use lora_models::gpt2;

fn report(config: &BertConfig, lora: &LoraConfig) -> ParameterReport {
    let model = SequenceClassification::new(config, &default_device());
    ParameterReport::of(&lora.inject(model).unwrap())
}

#[test]
fn roberta_base_query_value_rank_8() {
    let lora = LoraConfig::new()
        .with_r(8)
        .with_target_modules(["query", "value"])
        .with_task_type(TaskType::SequenceClassification);
    let report = report(&BertConfig::roberta_base(), &lora);
    assert_eq!(report.lora, 294_912);
    assert_eq!(report.saved + report.bias, 592_130);
    assert_eq!(report.trainable(), 887_042);
    assert_eq!(report.peft_all(), 125_534_212);
    assert!(
        report.peft_line().starts_with(
            "trainable params: 887,042 || all params: 125,534,212 || trainable%: 0.7066"
        )
    );
}

#[test]
fn roberta_base_query_and_outputs_rank_4() {
    let lora = LoraConfig::new()
        .with_r(4)
        .with_target_modules(["query", "output.dense"])
        .with_task_type(TaskType::SequenceClassification);
    let report = report(&BertConfig::roberta_base(), &lora);
    assert_eq!(report.trainable(), 923_906);
    assert_eq!(report.total(), 124_978_946);
}

#[test]
fn bert_base_every_linear_layer_rank_1() {
    let plain = SequenceClassification::new(&BertConfig::bert_base(), &default_device());
    assert_eq!(ParameterReport::of(&plain).total(), 109_483_778);
    let lora = LoraConfig::new()
        .with_r(1)
        .with_target_modules("all-linear");
    let report = report(&BertConfig::bert_base(), &lora);
    assert_eq!(report.trainable(), 168_194);
    assert_eq!(report.lora, 168_194);
}

#[test]
fn bert_base_without_weights_but_products_of_thin_matrices() {
    let plain = SequenceClassification::new(&BertConfig::bert_base(), &default_device());
    let all = ParameterReport::of(&plain).total();
    for (rank, expected) in [(1, 24_125_956), (128, 45_389_574)] {
        let weights = FactorizeConfig::new(rank).plan(&plain).unwrap();
        let dense: usize = weights.iter().map(|w| w.dims[0] * w.dims[1]).sum();
        let thin: usize = weights.iter().map(|w| w.count()).sum();
        assert_eq!(all - dense + thin, expected, "rank {rank}");
    }
}

#[test]
fn names_are_hugging_faces() {
    let model = SequenceClassification::new(&BertConfig::roberta_base(), &default_device());
    let names: Vec<String> = lora_core::state::parameters(&model)
        .into_iter()
        .map(|p| p.name)
        .collect();
    for name in [
        "roberta.embeddings.word_embeddings.weight",
        "roberta.embeddings.LayerNorm.weight",
        "roberta.encoder.layer.0.attention.self.query.weight",
        "roberta.encoder.layer.11.attention.output.LayerNorm.bias",
        "roberta.encoder.layer.11.intermediate.dense.bias",
        "classifier.out_proj.weight",
    ] {
        assert!(
            names.iter().any(|n| n == name),
            "{name} is not in {names:?}"
        );
    }
}

fn gpt2_small(lora: &LoraConfig) -> ParameterReport {
    let model = gpt2::CausalLm::new(&gpt2::Gpt2Config::small(), &default_device());
    ParameterReport::of(&lora.inject(model).unwrap())
}

#[test]
fn gpt2_small_with_rank_8_on_attention() {
    let lora = LoraConfig::new().with_target_modules(["c_attn"]);
    let report = gpt2_small(&lora);
    assert_eq!(
        (report.trainable(), report.peft_all()),
        (294_912, 124_734_720)
    );
}

#[test]
fn gpt2_small_classifies_imdb() {
    let lora = LoraConfig::new()
        .with_r(4)
        .with_target_modules(r"transformer\.h\..*\.attn\.c_.*");
    let config = gpt2::Gpt2Config::small();
    let model = gpt2::SequenceClassification::new(&config, &default_device());
    let report = ParameterReport::of(&lora.inject(model).unwrap());
    assert_eq!(
        (report.trainable(), report.peft_all()),
        (221_184, 124_662_528)
    );
    assert!(report.peft_line().ends_with("trainable%: 0.1774"));
}
