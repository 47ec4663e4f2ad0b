//! `LoraConfig`: PEFT's `adapter_config.json`, field by field.

mod bias;
mod eva;
mod init_lora_weights;
mod json;
mod layers;
mod loftq;
mod scaling;
mod setters;
mod target_modules;
mod task_type;
mod validation;

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use bias::Bias;
pub use eva::EvaConfig;
pub use init_lora_weights::InitLoraWeights;
pub(crate) use layers::LayerFilter;
pub use layers::{LayerIndices, OneOrMany};
pub use loftq::LoftQConfig;
pub(crate) use target_modules::{Matcher, pattern_value};
pub use target_modules::{ModulePattern, TargetModules};
pub use task_type::TaskType;

use crate::LoraError;

/// The configuration of a LoRA adapter: PEFT's `LoraConfig`, with its field names, defaults and
/// meanings, read from and written to its `adapter_config.json`.
///
/// A field of PEFT's that is not listed here is accepted with its default value and is an error
/// with any other.
///
/// ```
/// use lora_core::LoraConfig;
///
/// let config = LoraConfig::from_json(r#"{"r": 4, "target_modules": ["query", "value"]}"#)?;
/// assert_eq!((config.r, config.lora_alpha), (4, 8.0));
/// assert_eq!(config.scaling(), 2.0);
///
/// let error = LoraConfig::from_json(r#"{"use_qalora": true}"#).unwrap_err();
/// assert!(error.to_string().contains("`use_qalora` = true is not supported"));
/// # Ok::<(), lora_core::LoraError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraConfig {
    /// The rank `r` of the update. Default 8.
    pub r: usize,
    /// `α`: the update is scaled by `α / r`. Default 8.
    #[serde(serialize_with = "json::whole_number")]
    pub lora_alpha: f64,
    /// Which modules get an adapter. Absent: the architecture's usual ones.
    pub target_modules: Option<TargetModules>,
    /// Modules that get none, though `target_modules` matches them.
    pub exclude_modules: Option<ModulePattern>,
    /// The probability of dropping an input of the adapter in training. Default 0.
    pub lora_dropout: f64,
    /// Modules that are trained in full and saved with the adapter.
    pub modules_to_save: Option<Vec<String>>,
    /// Scale by `α / √r` instead (rsLoRA, Kalajdzievski 2023). Default false.
    pub use_rslora: bool,
    /// Train magnitude and direction of each weight apart (DoRA, Liu et al. 2024). Default false.
    pub use_dora: bool,
    /// How the factors start out. Default: `A` Kaiming-uniform, `B` zero.
    pub init_lora_weights: InitLoraWeights,
    /// The settings of EVA; absent: its defaults.
    pub eva_config: Option<EvaConfig>,
    /// The settings of LoftQ, which needs them.
    #[serde(deserialize_with = "loftq::read")]
    pub loftq_config: Option<LoftQConfig>,
    /// Which of the base's biases are trained. Default none.
    pub bias: Bias,
    /// Ranks that differ from `r`, by the end of a module's path (a regular expression).
    pub rank_pattern: IndexMap<String, usize>,
    /// `α` that differs from `lora_alpha`, by the end of a module's path (a regular expression).
    #[serde(serialize_with = "json::whole_numbers")]
    pub alpha_pattern: IndexMap<String, f64>,
    /// The layers to adapt, by number, where `target_modules` is a list.
    pub layers_to_transform: Option<LayerIndices>,
    /// The name of the list of layers, for `layers_to_transform`; absent: any list.
    pub layers_pattern: Option<OneOrMany>,
    /// Whether the adapted weights are stored `[in, out]` in the Python model (GPT-2's `Conv1D`).
    /// A note for Python, set by the injection: here a weight's layout is known from its module.
    pub fan_in_fan_out: bool,
    /// The task, which also decides the head that is trained.
    pub task_type: Option<TaskType>,
    /// The base model the adapter belongs to: a note for people, not used.
    pub base_model_name_or_path: Option<String>,
    /// The base model's revision: a note for people, not used.
    pub revision: Option<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            target_modules: None,
            exclude_modules: None,
            lora_dropout: 0.0,
            modules_to_save: None,
            use_rslora: false,
            use_dora: false,
            init_lora_weights: InitLoraWeights::default(),
            eva_config: None,
            loftq_config: None,
            bias: Bias::None,
            rank_pattern: IndexMap::new(),
            alpha_pattern: IndexMap::new(),
            layers_to_transform: None,
            layers_pattern: None,
            fan_in_fan_out: false,
            task_type: None,
            base_model_name_or_path: None,
            revision: None,
        }
    }
}

impl burn::config::Config for LoraConfig {}

impl LoraConfig {
    /// Reads PEFT's `adapter_config.json`, from the file or the adapter folder it lies in.
    ///
    /// # Errors
    ///
    /// The file is missing or not JSON, a value is out of range, or a field is set to something
    /// that is not supported.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push(crate::adapter_file::CONFIG_NAME);
        }
        let bytes = std::fs::read(&path).map_err(|e| LoraError::io("read", &path, e))?;
        let text = String::from_utf8(bytes).map_err(|e| LoraError::ConfigSyntax {
            path: path.clone(),
            message: format!("invalid UTF-8: {e}"),
        })?;
        json::parse(&text, &path)
    }

    /// Parses the text of an `adapter_config.json`.
    ///
    /// [`to_json`](Self::to_json) writes a number exactly. One of more than fifteen digits, which
    /// nobody types but a computed `α` may have, can be read one or two units in its last binary
    /// place away: far below what the 32-bit factors that it scales can tell.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_json(text: &str) -> Result<Self, LoraError> {
        json::parse(text, Path::new("<memory>"))
    }

    /// The text of an `adapter_config.json` that PEFT reads.
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// The names of the modules trained in full: `modules_to_save` and the task's heads.
    pub fn saved_module_names(&self) -> Vec<String> {
        let mut names = self.modules_to_save.clone().unwrap_or_default();
        let heads = self.task_type.map_or(&[][..], TaskType::head_names);
        names.extend(heads.iter().map(|head| head.to_string()));
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_adds_its_head() {
        let config = LoraConfig::new()
            .with_modules_to_save(["classifier", "LayerNorm"])
            .with_task_type(TaskType::SequenceClassification);
        assert_eq!(
            config.saved_module_names(),
            ["classifier", "LayerNorm", "score"]
        );
    }
}
