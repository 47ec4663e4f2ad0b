//! Sequences of one batch that go through different adapters.

use burn::tensor::{Int, Tensor};
use lora_core::{BASE_ADAPTER, LoraConfig, LoraModule, default_device};
use lora_core_tests::{fill_adapters, redrawn};
use lora_models::bert::{BertConfig, EncoderInput, SequenceClassification};

#[test]
fn each_sequence_is_classified_by_its_own_adapter() {
    let device = default_device();
    for config in [BertConfig::bert_base(), BertConfig::roberta_base()] {
        let config = BertConfig {
            vocab_size: 13,
            hidden_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 12,
            ..config
        };
        let lora = |targets: &[&str]| {
            let targets: Vec<String> = targets.iter().map(|t| t.to_string()).collect();
            LoraConfig::new().with_r(2).with_target_modules(targets)
        };
        let everything = ["word_embeddings", "position_embeddings", "query", "dense"];
        let model = SequenceClassification::new(&config, &device)
            .add_adapter("attention", &lora(&["query", "key", "value"]))
            .and_then(|model| model.add_adapter("everything", &lora(&everything)))
            .map(|model| fill_adapters(redrawn(model, 0.5)))
            .unwrap();
        let names = ["everything", BASE_ADAPTER, "attention", "everything"];
        let ids: Tensor<2, Int> = Tensor::from_data(
            [[2, 5, 6, 7], [2, 8, 9, 1], [2, 10, 11, 12], [2, 3, 4, 1]],
            &device,
        );
        let mask: Tensor<2, Int> = Tensor::from_data(
            [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0]],
            &device,
        );
        let classify = |model: &SequenceClassification, rows: std::ops::Range<usize>| {
            let mut input = EncoderInput::new(ids.clone().slice(rows.clone()));
            input.attention_mask = Some(mask.clone().slice(rows));
            model.forward(input)
        };
        let mixed = classify(&model.for_rows(&names).unwrap(), 0..4);
        for (row, name) in names.into_iter().enumerate() {
            let own = |model: &SequenceClassification| classify(model, row..row + 1);
            let alone = match name {
                BASE_ADAPTER => model.with_adapters_disabled(own).unwrap(),
                name => own(&model.clone().set_active(&[name]).unwrap()),
            };
            let difference = (mixed.clone().slice(row..row + 1) - alone).abs().max();
            let difference = difference.into_scalar::<f32>();
            assert!(difference < 1e-5, "{name} {difference}");
        }
        let base = model.with_adapters_disabled(|m| classify(m, 0..4)).unwrap();
        let differences = (mixed - base).abs().max_dim(1).into_data();
        let differences: Vec<f32> = differences.iter().collect();
        for (name, difference) in names.iter().zip(differences) {
            assert_eq!(
                difference > 1e-3,
                *name != BASE_ADAPTER,
                "{name} {difference}"
            );
        }
    }
}
