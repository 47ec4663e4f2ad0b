//! What Hugging Face's files call the GPT-2 models.

use std::path::Path;

use burn::tensor::Device;

use super::{CausalLm, Gpt2Config, SequenceClassification};
use crate::ModelError;
use crate::pretrained::{PretrainedConfig, PretrainedModel};

impl PretrainedConfig for Gpt2Config {
    const HEADS: &'static [&'static str] = &["score."];

    fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        Self::from_folder(folder)
    }

    fn model_type(&self) -> &'static str {
        "gpt2"
    }

    fn class_prefix(&self) -> &'static str {
        "GPT2"
    }

    fn base_prefix(&self) -> &'static str {
        "transformer"
    }

    fn is_derived(tensor: &str) -> bool {
        // The causal masks that old checkpoints hold, and the head tied to the token embeddings.
        tensor.ends_with(".attn.bias")
            || tensor.ends_with(".attn.masked_bias")
            || tensor == "lm_head.weight"
    }
}

impl PretrainedModel for CausalLm {
    type Config = Gpt2Config;
    const CLASS: &'static str = "LMHeadModel";

    fn new(config: &Gpt2Config, device: &Device) -> Self {
        Self::new(config, device)
    }

    fn config(&self) -> &Gpt2Config {
        self.config()
    }
}

impl PretrainedModel for SequenceClassification {
    type Config = Gpt2Config;
    const CLASS: &'static str = "ForSequenceClassification";

    fn new(config: &Gpt2Config, device: &Device) -> Self {
        Self::new(config, device)
    }

    fn config(&self) -> &Gpt2Config {
        self.config()
    }
}
