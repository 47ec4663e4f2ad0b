//! Adapters on the model that generates.

use lora_core::{BASE_ADAPTER, LoraConfig, LoraModule};
use lora_models::generation::GenerationConfig;
use lora_models::gpt2::CausalLm;

use crate::common::{beams, run, sampling, short, tiny_model};
use lora_core_tests::fill_adapters;

const PROMPTS: [&[u32]; 3] = [&[3, 1, 4], &[9], &[2, 6]];

fn adapter() -> LoraConfig {
    LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(64.0)
        .with_target_modules(["c_attn", "c_fc"])
        .with_lora_dropout(0.5)
}

fn configs() -> [GenerationConfig; 3] {
    let common = |config| GenerationConfig {
        pad_token_id: Some(0),
        eos_token_id: Some((0..6).collect()),
        ..config
    };
    [
        common(short(8)),
        common(beams(8, 3)),
        common(sampling(8, 1)),
    ]
}

fn with_two() -> CausalLm {
    let model = tiny_model(40).add_adapter("formal", &adapter());
    let model = model.and_then(|model| model.add_adapter("brief", &adapter()));
    fill_adapters(model.unwrap())
}

#[test]
fn an_adapter_counts_and_its_dropout_does_not() {
    let base = tiny_model(40);
    let adapted = fill_adapters(adapter().inject(base.clone()).unwrap());
    let merged = adapted.clone().merge_and_unload().unwrap();
    for config in configs() {
        let text = run(&adapted, &PROMPTS, &config);
        assert_eq!(text, run(&merged, &PROMPTS, &config));
        assert_ne!(text, run(&base, &PROMPTS, &config));
    }
}

#[test]
fn each_prompt_has_its_own_adapter_in_a_mixed_batch() {
    let model = with_two();
    let names = ["brief", BASE_ADAPTER, "formal"];
    let mixed = model.for_rows(&names).unwrap();
    // Not sampling: there a text depends on its place in the batch.
    for config in &configs()[..2] {
        let together = run(&mixed, &PROMPTS, config);
        for (i, name) in names.iter().enumerate() {
            let one = model.for_rows(&[name]).unwrap();
            let alone = run(&one, &PROMPTS[i..=i], config);
            assert_eq!(alone, together[i..=i], "{name}");
        }
    }
}

#[test]
fn a_mixed_batch_names_an_adapter_for_each_prompt() {
    let mixed = with_two().for_rows(&["brief", "formal"]).unwrap();
    let error = mixed.generate(&PROMPTS, &configs()[0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model is for a batch of 2 rows (`for_rows`), and there are 3 prompts: name an adapter \
         for each prompt"
    );
}
