//! The encoder's shape, read from Hugging Face's `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, numbered_labels};
use crate::{Activation, ModelError};

/// The members of the BERT family that share the encoder here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// BERT: segment embeddings, positions from 0, a pooler.
    Bert,
    /// RoBERTa: positions counted from the padding id, no pooler under its heads.
    Roberta,
}

impl Architecture {
    /// What Hugging Face calls the encoder in a model with a head.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
        }
    }

    /// The modules PEFT adapts when a configuration names none.
    pub fn default_target_modules(self) -> [&'static str; 2] {
        ["query", "value"]
    }
}

/// The configuration of a BERT or RoBERTa model: the fields of Hugging Face's `config.json` that
/// decide what it computes. Defaults are Hugging Face's (BERT-base).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// The architecture.
    pub model_type: Architecture,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The width of the hidden states.
    pub hidden_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of attention heads; it divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// The activation inside the feed-forward layers.
    pub hidden_act: Activation,
    /// Dropout on embeddings and on each sub-layer's output.
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// The number of position embeddings; RoBERTa uses two fewer than this.
    pub max_position_embeddings: usize,
    /// The number of segments.
    pub type_vocab_size: usize,
    /// The standard deviation of fresh weights.
    pub initializer_range: f64,
    /// The epsilon of LayerNorm.
    pub layer_norm_eps: f64,
    /// The id that pads a batch.
    pub pad_token_id: usize,
    /// Dropout in the classification head; absent: `hidden_dropout_prob`.
    pub classifier_dropout: Option<f64>,
    /// The label of each class.
    pub id2label: BTreeMap<usize, String>,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            model_type: Architecture::Bert,
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            classifier_dropout: None,
            id2label: numbered_labels(2),
        }
    }
}

impl BertConfig {
    /// The shape of `bert-base-uncased`.
    pub fn bert_base() -> Self {
        Self::default()
    }

    /// The shape of `roberta-base`.
    pub fn roberta_base() -> Self {
        Self {
            model_type: Architecture::Roberta,
            vocab_size: 50_265,
            max_position_embeddings: 514,
            type_vocab_size: 1,
            layer_norm_eps: 1e-5,
            pad_token_id: 1,
            ..Self::default()
        }
    }

    /// Sets the number of classes, labelled `LABEL_0`, `LABEL_1`, … as in Hugging Face.
    pub fn with_num_labels(mut self, labels: usize) -> Self {
        if labels != self.num_labels() {
            self.id2label = numbered_labels(labels);
        }
        self
    }

    /// Sets the names of the labels; without any, one label that is a number.
    pub fn with_labels<S: AsRef<str>>(mut self, names: &[S]) -> Self {
        if names.is_empty() {
            return self.with_num_labels(1);
        }
        let numbered = names.iter().map(|name| name.as_ref().to_string());
        self.id2label = numbered.enumerate().collect();
        self
    }

    /// The number of classes; 1 is regression.
    pub fn num_labels(&self) -> usize {
        self.id2label.len()
    }

    /// The longest sequence, special tokens included.
    pub fn max_tokens(&self) -> usize {
        match self.model_type {
            Architecture::Bert => self.max_position_embeddings,
            // Positions start after the padding id.
            Architecture::Roberta => self
                .max_position_embeddings
                .saturating_sub(self.pad_token_id + 1),
        }
    }

    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`], [`ModelError::Config`] if it is not JSON, is of another architecture,
    /// or asks for something this encoder does not compute.
    pub fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        let file = ConfigFile::open(folder)?;
        let model_type = file.model_type(&["bert", "roberta"])?;
        file.require(&[
            ("position_embedding_type", "absolute".into()),
            ("is_decoder", false.into()),
            ("add_cross_attention", false.into()),
        ])?;
        let mut config = file.overlay(&Self::with_architecture_defaults(&model_type))?;
        if let Some(labels) = file.num_labels() {
            config = config.with_num_labels(labels);
        }
        let heads = config.num_attention_heads;
        if heads == 0 || config.hidden_size % heads != 0 {
            let message = format!("is {heads}, expected a divisor of {}", config.hidden_size);
            return Err(file.error("num_attention_heads", message));
        }
        if config.pad_token_id >= config.vocab_size {
            let message = format!("is {}, outside the vocabulary", config.pad_token_id);
            return Err(file.error("pad_token_id", message));
        }
        Ok(config)
    }

    fn with_architecture_defaults(model_type: &str) -> Self {
        match model_type {
            "roberta" => Self {
                max_position_embeddings: 512,
                type_vocab_size: 2,
                layer_norm_eps: 1e-12,
                ..Self::roberta_base()
            },
            _ => Self::bert_base(),
        }
    }
}
