//! Models, and short ways to call them.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use lora_core::default_device;
use lora_models::PretrainedModel;
use lora_models::generation::{Generated, GenerationConfig};
use lora_models::gpt2::{CausalLm, Gpt2Config};
use serde_json::Value;

use lora_core_tests::redrawn;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generation")
}

/// The model that the golden cases were made with: 96 tokens, 48 positions, weights that leave few
/// doubts.
pub fn golden_model(device: &Device) -> CausalLm {
    let path = folder().join("model");
    let path = path.to_string_lossy();
    CausalLm::from_pretrained(&path, device).unwrap().model
}

pub fn cases(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A random model with `vocab_size` tokens and 24 positions.
pub fn tiny_model(vocab_size: usize) -> CausalLm {
    let config = Gpt2Config {
        vocab_size,
        n_positions: 24,
        n_embd: 16,
        n_layer: 2,
        n_head: 2,
        ..Gpt2Config::small()
    };
    redrawn(CausalLm::new(&config, &default_device()), 0.3)
}

pub fn tokens(texts: &[Generated]) -> Vec<Vec<u32>> {
    texts.iter().map(|text| text.tokens.clone()).collect()
}

/// The new tokens of each text.
pub fn run(model: &CausalLm, prompts: &[&[u32]], config: &GenerationConfig) -> Vec<Vec<u32>> {
    tokens(&model.generate(prompts, config).unwrap())
}

pub fn short(max_new_tokens: usize) -> GenerationConfig {
    GenerationConfig {
        max_new_tokens,
        ..GenerationConfig::default()
    }
}

pub fn beams(max_new_tokens: usize, num_beams: usize) -> GenerationConfig {
    GenerationConfig {
        num_beams,
        ..short(max_new_tokens)
    }
}

pub fn sampling(max_new_tokens: usize, seed: u64) -> GenerationConfig {
    GenerationConfig {
        do_sample: true,
        seed: Some(seed),
        ..short(max_new_tokens)
    }
}
