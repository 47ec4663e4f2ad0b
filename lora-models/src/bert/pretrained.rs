//! What Hugging Face's files call the models of the BERT family.

use std::path::Path;

use burn::tensor::Device;

use super::{Architecture, BertConfig, MaskedLm, QuestionAnswering, SequenceClassification};
use crate::ModelError;
use crate::pretrained::{PretrainedConfig, PretrainedModel};

impl PretrainedConfig for BertConfig {
    // BERT's pooler is part of its classification head.
    const HEADS: &'static [&'static str] =
        &["pooler.", "classifier.", "qa_outputs.", "lm_head.", "cls."];

    fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        Self::from_folder(folder)
    }

    fn model_type(&self) -> &'static str {
        self.model_type.prefix()
    }

    fn class_prefix(&self) -> &'static str {
        match self.model_type {
            Architecture::Bert => "Bert",
            Architecture::Roberta => "Roberta",
        }
    }

    fn base_prefix(&self) -> &'static str {
        self.model_type.prefix()
    }

    fn is_derived(tensor: &str) -> bool {
        // Buffers of position numbers, and the decoder that is tied to the token embeddings.
        tensor.ends_with("embeddings.position_ids")
            || tensor.ends_with("embeddings.token_type_ids")
            || ["lm_head.decoder.", "cls.predictions.decoder."]
                .iter()
                .any(|decoder| tensor.starts_with(decoder))
    }
}

impl PretrainedModel for SequenceClassification {
    type Config = BertConfig;
    const CLASS: &'static str = "ForSequenceClassification";

    fn new(config: &BertConfig, device: &Device) -> Self {
        Self::new(config, device)
    }

    fn config(&self) -> &BertConfig {
        self.config()
    }
}

impl PretrainedModel for MaskedLm {
    type Config = BertConfig;
    const CLASS: &'static str = "ForMaskedLM";

    fn new(config: &BertConfig, device: &Device) -> Self {
        Self::new(config, device)
    }

    fn config(&self) -> &BertConfig {
        self.config()
    }
}

impl PretrainedModel for QuestionAnswering {
    type Config = BertConfig;
    const CLASS: &'static str = "ForQuestionAnswering";

    fn new(config: &BertConfig, device: &Device) -> Self {
        Self::new(config, device)
    }

    fn config(&self) -> &BertConfig {
        self.config()
    }
}
