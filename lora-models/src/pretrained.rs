//! `from_pretrained` and `save_pretrained`, as in Hugging Face transformers.

mod load;
mod quantization;
mod report;

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use lora_core::file::{prepare_folder, write_atomically};
use lora_core::quantization::{QuantizationConfig, write_quantized};
use lora_core::state::parameters;
use lora_core::tensor_file::Precision;
use lora_core::{FrozenReport, LoraError};
use serde::Serialize;

use crate::{ModelError, hub};
pub use report::LoadReport;

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

/// What `config.json` says about a model, and the names that go with its architecture.
pub trait PretrainedConfig: Serialize + Sized {
    /// What the names of the tensors of heads start with, behind the base's prefix if they have
    /// it. These are what one task's checkpoint has and another's lacks.
    const HEADS: &'static [&'static str];

    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`], [`ModelError::Config`].
    fn from_folder(folder: &Path) -> Result<Self, ModelError>;

    /// The architecture's name in `config.json`: `roberta`.
    fn model_type(&self) -> &'static str;

    /// What the names of Hugging Face's classes start with: `Roberta`.
    fn class_prefix(&self) -> &'static str;

    /// What Hugging Face calls the base in a model with a head: `roberta`.
    fn base_prefix(&self) -> &'static str;

    /// Whether a tensor repeats what others say, such as a decoder that is tied to the embeddings.
    /// Checkpoints may have it or not; it is not read.
    fn is_derived(tensor: &str) -> bool;
}

/// A model that is read from Hugging Face's files and written to them.
pub trait PretrainedModel: Module {
    /// The model's configuration.
    type Config: PretrainedConfig;

    /// The rest of the name of Hugging Face's class: `ForMaskedLM`.
    const CLASS: &'static str;

    /// A model with fresh weights.
    fn new(config: &Self::Config, device: &Device) -> Self;

    /// The model's configuration.
    fn config(&self) -> &Self::Config;

    /// Loads a local folder or a model of the hub.
    ///
    /// A head that the checkpoint lacks is initialised freshly, from the device's random
    /// generator, and reported.
    ///
    /// # Errors
    ///
    /// [`ModelError`]; anything missing or unexpected but a head is listed by name.
    fn from_pretrained(
        dir_or_hub_id: &str,
        device: &Device,
    ) -> Result<Pretrained<Self>, ModelError> {
        Self::from_pretrained_with(dir_or_hub_id, |config| config, device)
    }

    /// As [`from_pretrained`](Self::from_pretrained), with a change to the checkpoint's
    /// configuration before the model is made: another number of labels, another dropout.
    ///
    /// ```no_run
    /// use lora_models::PretrainedModel;
    /// use lora_models::bert::SequenceClassification;
    ///
    /// let loaded = SequenceClassification::from_pretrained_with(
    ///     "FacebookAI/roberta-base",
    ///     |config| config.with_num_labels(3),
    ///     &lora_core::default_device(),
    /// )?;
    /// println!("{}", loaded.report);
    /// # Ok::<(), lora_models::ModelError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_pretrained`](Self::from_pretrained).
    fn from_pretrained_with(
        dir_or_hub_id: &str,
        change: impl FnOnce(Self::Config) -> Self::Config,
        device: &Device,
    ) -> Result<Pretrained<Self>, ModelError> {
        Self::from_pretrained_quantized(dir_or_hub_id, change, None, device)
    }

    /// As [`from_pretrained_with`](Self::from_pretrained_with), with the weights that `quantization`
    /// means quantized as they are read: memory never holds more than the quantized model and one
    /// tensor. Weights that the checkpoint has in few bits stay so, whatever it says.
    ///
    /// # Errors
    ///
    /// As [`from_pretrained`](Self::from_pretrained), and as [`QuantizationConfig::quantize`].
    fn from_pretrained_quantized(
        dir_or_hub_id: &str,
        change: impl FnOnce(Self::Config) -> Self::Config,
        quantization: Option<&QuantizationConfig>,
        device: &Device,
    ) -> Result<Pretrained<Self>, ModelError> {
        let folder = hub::model_folder(dir_or_hub_id)?;
        let config = change(Self::Config::from_folder(&folder)?);
        let model = Self::new(&config, device);
        let (model, report) = load::load(model, &config, &folder, quantization)?;
        Ok(Pretrained {
            model,
            folder,
            report,
        })
    }

    /// Compares what does not train with the checkpoint that it came from, parameter by parameter: after
    /// training with adapters nothing of the base may have changed.
    ///
    /// ```no_run
    /// # use lora_models::{PretrainedModel, bert::SequenceClassification};
    /// # fn check(trained: &SequenceClassification) -> Result<(), lora_models::ModelError> {
    /// let report = trained.verify_frozen("FacebookAI/roberta-base")?;
    /// assert!(report.is_unchanged(), "{report}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_pretrained`](Self::from_pretrained).
    fn verify_frozen(&self, dir_or_hub_id: &str) -> Result<FrozenReport, ModelError> {
        let folder = hub::model_folder(dir_or_hub_id)?;
        load::verify_frozen(self, self.config(), &folder)
    }

    /// Writes `config.json` and `model.safetensors` for transformers to read.
    ///
    /// # Errors
    ///
    /// [`LoraError::AlreadyExists`] if the folder holds anything and `overwrite` is false,
    /// [`LoraError::HasAdapters`] if adapters are attached (merge them first),
    /// [`LoraError::Io`], each in [`ModelError::Weights`].
    fn save_pretrained(
        &self,
        folder: &Path,
        precision: Precision,
        overwrite: bool,
    ) -> Result<(), ModelError> {
        if let Some(factor) = parameters(self).into_iter().find(|p| p.adapter.is_some()) {
            let module = factor.path;
            return Err(LoraError::HasAdapters { module }.into());
        }
        prepare_folder(folder, overwrite)?;
        let config = self.config();
        let class = format!("{}{}", config.class_prefix(), Self::CLASS);
        let mut fields = serde_json::json!(config);
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("model_type".into(), config.model_type().into());
            fields.insert("architectures".into(), serde_json::json!([class]));
            fields.insert("tie_word_embeddings".into(), true.into());
        }
        let weights = folder.join("model.safetensors");
        let quantization = quantization::saved_config(self)?;
        if let (Some(fields), Some(config)) = (fields.as_object_mut(), quantization) {
            fields.insert("quantization_config".into(), config);
        }
        write_quantized(self, &weights, precision)?;
        let text = format!("{fields:#}\n");
        Ok(write_atomically(
            &folder.join("config.json"),
            text.as_bytes(),
        )?)
    }
}
