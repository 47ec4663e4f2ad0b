//! `from_pretrained` and `save_pretrained`, as in Hugging Face transformers.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use lora_core::LoraError;
use lora_core::file::{prepare_folder, write_atomically};
use lora_core::state::{initialize, load_state, parameters, state};
use lora_core::tensor_file::{Precision, write_tensors};

use crate::bert::{Architecture, BertConfig, MaskedLm, QuestionAnswering, SequenceClassification};
use crate::checkpoint::Checkpoint;
use crate::{ModelError, hub};

/// A model with the folder it came from and what was found there.
#[derive(Debug, Clone)]
pub struct Pretrained<M> {
    /// The model.
    pub model: M,
    /// The local folder: the one given, or the hub's snapshot.
    pub folder: PathBuf,
    /// What the checkpoint had and had not.
    pub report: LoadReport,
}

/// What loading found, for people to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The number of tensors read.
    pub loaded: usize,
    /// Tensors of the head that the checkpoint lacks: freshly initialised, to be trained.
    pub fresh: Vec<String>,
    /// Tensors of other heads in the checkpoint, left out.
    pub unused: Vec<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded)?;
        if !self.fresh.is_empty() {
            write!(
                f,
                "; freshly initialised, to be trained: {}",
                self.fresh.join(", ")
            )?;
        }
        if !self.unused.is_empty() {
            write!(
                f,
                "; {} tensors of another head not used",
                self.unused.len()
            )?;
        }
        Ok(())
    }
}

impl SequenceClassification {
    /// Loads a local folder or a model of the hub.
    ///
    /// `num_labels` replaces the checkpoint's number of classes; a head that the checkpoint lacks
    /// is initialised freshly, from the device's random generator, and reported.
    ///
    /// # Errors
    ///
    /// [`ModelError`]; anything missing or unexpected but a head is listed by name.
    pub fn from_pretrained(
        dir_or_hub_id: &str,
        num_labels: Option<usize>,
        device: &Device,
    ) -> Result<Pretrained<Self>, ModelError> {
        let folder = hub::model_folder(dir_or_hub_id)?;
        let mut config = BertConfig::from_folder(&folder)?;
        if let Some(labels) = num_labels {
            config = config.with_num_labels(labels);
        }
        load(Self::new(&config, device), &config, folder)
    }

    /// Writes `config.json` and `model.safetensors` for transformers to read.
    ///
    /// # Errors
    ///
    /// As [`MaskedLm::save_pretrained`].
    pub fn save_pretrained(
        &self,
        folder: &Path,
        precision: Precision,
        overwrite: bool,
    ) -> Result<(), ModelError> {
        save(
            self,
            self.config(),
            "ForSequenceClassification",
            folder,
            precision,
            overwrite,
        )
    }
}

impl MaskedLm {
    /// Loads a local folder or a model of the hub.
    ///
    /// # Errors
    ///
    /// [`ModelError`]; anything missing or unexpected is listed by name.
    pub fn from_pretrained(
        dir_or_hub_id: &str,
        device: &Device,
    ) -> Result<Pretrained<Self>, ModelError> {
        let folder = hub::model_folder(dir_or_hub_id)?;
        let config = BertConfig::from_folder(&folder)?;
        load(Self::new(&config, device), &config, folder)
    }

    /// Writes `config.json` and `model.safetensors` for transformers to read.
    ///
    /// # Errors
    ///
    /// [`LoraError::AlreadyExists`] if the folder holds anything and `overwrite` is false,
    /// [`LoraError::AlreadyInjected`] if adapters are attached (merge them first),
    /// [`LoraError::Io`], each in [`ModelError::Weights`].
    pub fn save_pretrained(
        &self,
        folder: &Path,
        precision: Precision,
        overwrite: bool,
    ) -> Result<(), ModelError> {
        save(
            self,
            self.config(),
            "ForMaskedLM",
            folder,
            precision,
            overwrite,
        )
    }
}

impl QuestionAnswering {
    /// Loads a local folder or a model of the hub.
    ///
    /// # Errors
    ///
    /// [`ModelError`]; anything missing or unexpected but the head is listed by name.
    pub fn from_pretrained(
        dir_or_hub_id: &str,
        device: &Device,
    ) -> Result<Pretrained<Self>, ModelError> {
        let folder = hub::model_folder(dir_or_hub_id)?;
        let config = BertConfig::from_folder(&folder)?;
        load(Self::new(&config, device), &config, folder)
    }

    /// Writes `config.json` and `model.safetensors` for transformers to read.
    ///
    /// # Errors
    ///
    /// As [`MaskedLm::save_pretrained`].
    pub fn save_pretrained(
        &self,
        folder: &Path,
        precision: Precision,
        overwrite: bool,
    ) -> Result<(), ModelError> {
        save(
            self,
            self.config(),
            "ForQuestionAnswering",
            folder,
            precision,
            overwrite,
        )
    }
}

fn load<M: Module>(
    model: M,
    config: &BertConfig,
    folder: PathBuf,
) -> Result<Pretrained<M>, ModelError> {
    let checkpoint = Checkpoint::open(&folder)?;
    let prefix = format!("{}.", config.model_type.prefix());
    let mut used = BTreeSet::new();
    let mut absent = Vec::new();
    let model = load_state(model, |info| {
        match spellings(&info.name, &prefix).find(|name| checkpoint.contains(name)) {
            Some(name) => {
                let data = checkpoint.read(&name, &info.shape)?;
                used.insert(name);
                Ok(data)
            }
            None => {
                absent.push(info.name.clone());
                Ok(None)
            }
        }
    })?;
    let unused: Vec<String> = checkpoint
        .names()
        .filter(|name| !used.contains(*name) && !is_derived(name))
        .map(String::from)
        .collect();

    // A head is the model's own or it is not there at all: half a head is a broken file.
    let heads = parameters(&model)
        .into_iter()
        .filter(|p| is_head(&p.name, &prefix));
    let whole_head_absent = heads
        .filter(|p| !p.name.starts_with(&prefix))
        .all(|p| absent.contains(&p.name));
    let fits = |name: &String| is_head(name, &prefix);
    let missing: Vec<String> = absent
        .iter()
        .filter(|n| !(fits(n) && whole_head_absent))
        .cloned()
        .collect();
    let unexpected: Vec<String> = unused.iter().filter(|n| !fits(n)).cloned().collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        let path = checkpoint.path().to_path_buf();
        return Err(LoraError::Keys {
            path,
            missing,
            unexpected,
        }
        .into());
    }
    initialize(&model);
    let report = LoadReport {
        loaded: used.len(),
        fresh: absent,
        unused,
    };
    Ok(Pretrained {
        model,
        folder,
        report,
    })
}

/// The names a parameter has had in checkpoints: with and without the architecture's prefix, and
/// TensorFlow's names for LayerNorm's weights.
fn spellings(name: &str, prefix: &str) -> impl Iterator<Item = String> {
    let bare = name.strip_prefix(prefix).map(String::from);
    let plain = [Some(name.to_string()), bare].into_iter().flatten();
    plain.flat_map(|name| {
        let old = match name.rsplit_once("LayerNorm.") {
            Some((module, "weight")) => Some(format!("{module}LayerNorm.gamma")),
            Some((module, "bias")) => Some(format!("{module}LayerNorm.beta")),
            _ => None,
        };
        [Some(name), old].into_iter().flatten()
    })
}

/// Whether a tensor belongs to a task's head, which one checkpoint has and another lacks; BERT's
/// pooler is part of its classification head.
fn is_head(name: &str, prefix: &str) -> bool {
    let bare = name.strip_prefix(prefix).unwrap_or(name);
    bare.starts_with("pooler.")
        || ["classifier.", "qa_outputs.", "lm_head.", "cls."]
            .iter()
            .any(|h| name.starts_with(h))
}

/// Whether a tensor repeats what others say: buffers of position numbers, and the decoder that is
/// tied to the token embeddings.
fn is_derived(name: &str) -> bool {
    name.ends_with("embeddings.position_ids")
        || name.ends_with("embeddings.token_type_ids")
        || ["lm_head.decoder.", "cls.predictions.decoder."]
            .iter()
            .any(|d| name.starts_with(d))
}

fn save<M: Module>(
    model: &M,
    config: &BertConfig,
    class: &str,
    folder: &Path,
    precision: Precision,
    overwrite: bool,
) -> Result<(), ModelError> {
    if let Some(factor) = parameters(model).into_iter().find(|p| p.adapter) {
        let module = factor.path;
        return Err(LoraError::AlreadyInjected { module }.into());
    }
    prepare_folder(folder, overwrite)?;
    let class = match config.model_type {
        Architecture::Bert => format!("Bert{class}"),
        Architecture::Roberta => format!("Roberta{class}"),
    };
    let mut fields = serde_json::json!(config);
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("architectures".into(), serde_json::json!([class]));
        fields.insert("tie_word_embeddings".into(), true.into());
    }
    write_tensors(
        &folder.join("model.safetensors"),
        state(model, |_| true),
        precision,
    )?;
    let text = format!("{fields:#}\n");
    Ok(write_atomically(
        &folder.join("config.json"),
        text.as_bytes(),
    )?)
}
