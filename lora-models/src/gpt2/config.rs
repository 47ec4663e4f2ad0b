//! The model's shape, read from Hugging Face's `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config_file::{ConfigFile, numbered_labels};
use crate::{Activation, ModelError};

/// The configuration of a GPT-2 model: the fields of Hugging Face's `config.json` that decide what
/// it computes. Defaults are Hugging Face's (GPT-2 small).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// The number of tokens.
    pub vocab_size: usize,
    /// The number of position embeddings: the longest sequence.
    pub n_positions: usize,
    /// The width of the hidden states.
    pub n_embd: usize,
    /// The number of blocks.
    pub n_layer: usize,
    /// The number of attention heads; it divides `n_embd`.
    pub n_head: usize,
    /// The width inside the feed-forward layers; absent: four times `n_embd`.
    pub n_inner: Option<usize>,
    /// The activation inside the feed-forward layers.
    pub activation_function: Activation,
    /// Dropout on each sub-layer's output.
    pub resid_pdrop: f64,
    /// Dropout on the embeddings.
    pub embd_pdrop: f64,
    /// Dropout on attention probabilities.
    pub attn_pdrop: f64,
    /// The epsilon of LayerNorm.
    pub layer_norm_epsilon: f64,
    /// The standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Whether attention scores are divided by the root of a head's width.
    pub scale_attn_weights: bool,
    /// Whether attention scores are divided by the block's number, counted from 1, too.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// The id that starts a text.
    pub bos_token_id: usize,
    /// The id that ends a text.
    pub eos_token_id: usize,
    /// The id that pads a batch; GPT-2's own files have none.
    pub pad_token_id: Option<usize>,
    /// The label of each class.
    pub id2label: BTreeMap<usize, String>,
}

impl Default for Gpt2Config {
    fn default() -> Self {
        Self {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Activation::GeluTanh,
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            bos_token_id: 50_256,
            eos_token_id: 50_256,
            pad_token_id: None,
            id2label: numbered_labels(2),
        }
    }
}

impl Gpt2Config {
    /// The shape of `gpt2`, 124 million parameters.
    pub fn small() -> Self {
        Self::default()
    }

    /// The shape of `gpt2-medium`, 355 million parameters.
    pub fn medium() -> Self {
        Self::of_size(1024, 24, 16)
    }

    /// The shape of `gpt2-large`, 774 million parameters.
    pub fn large() -> Self {
        Self::of_size(1280, 36, 20)
    }

    /// The shape of `gpt2-xl`, 1.5 billion parameters.
    pub fn xl() -> Self {
        Self::of_size(1600, 48, 25)
    }

    fn of_size(n_embd: usize, n_layer: usize, n_head: usize) -> Self {
        Self {
            n_embd,
            n_layer,
            n_head,
            ..Self::default()
        }
    }

    /// The modules PEFT adapts when a configuration names none.
    pub fn default_target_modules(&self) -> [&'static str; 1] {
        ["c_attn"]
    }

    /// Sets the number of classes, labelled `LABEL_0`, `LABEL_1`, … as in Hugging Face.
    pub fn with_num_labels(mut self, labels: usize) -> Self {
        if labels != self.num_labels() {
            self.id2label = numbered_labels(labels);
        }
        self
    }

    /// Sets the id that pads a batch.
    pub fn with_pad_token_id(mut self, id: usize) -> Self {
        self.pad_token_id = Some(id);
        self
    }

    /// The number of classes; 1 is regression.
    pub fn num_labels(&self) -> usize {
        self.id2label.len()
    }

    /// The width inside the feed-forward layers.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// The deviation of the fresh weights that lead into the residual stream: the more blocks add
    /// to it, the smaller (GPT-2, section 2.3).
    pub(super) fn residual_std(&self) -> f64 {
        self.initializer_range / (2.0 * self.n_layer.max(1) as f64).sqrt()
    }

    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`], [`ModelError::Config`] if it is not JSON, is of another architecture,
    /// or asks for something this model does not compute.
    pub fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        let file = ConfigFile::open(folder)?;
        file.model_type(&["gpt2"])?;
        // `reorder_and_upcast_attn` changes half precision only: here scores are f32 anyway.
        file.require(&[
            ("add_cross_attention", false.into()),
            ("tie_word_embeddings", true.into()),
        ])?;
        let mut config: Self = file.overlay(&Self::default())?;
        if let Some(labels) = file.num_labels() {
            config = config.with_num_labels(labels);
        }
        if config.n_head == 0 || !config.n_embd.is_multiple_of(config.n_head) {
            let message = format!(
                "is {}, expected a divisor of {}",
                config.n_head, config.n_embd
            );
            return Err(file.error("n_head", message));
        }
        if let Some(pad) = config.pad_token_id.filter(|pad| *pad >= config.vocab_size) {
            let message = format!("is {pad}, outside the vocabulary");
            return Err(file.error("pad_token_id", message));
        }
        Ok(config)
    }
}
