//! `LoraConfig`: PEFT's `adapter_config.json`, field by field.

mod eva;
mod init_lora_weights;
mod json;
mod layers;
mod loftq;
mod target_modules;

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use eva::EvaConfig;
pub use init_lora_weights::InitLoraWeights;
pub(crate) use layers::LayerFilter;
pub use layers::{LayerIndices, OneOrMany};
pub use loftq::LoftQConfig;
pub(crate) use target_modules::{Matcher, pattern_value};
pub use target_modules::{ModulePattern, TargetModules};

use crate::LoraError;

/// What PEFT calls the kind of task an adapter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskType {
    /// Sequence classification or regression; the head `classifier` or `score` is trained too.
    #[serde(rename = "SEQ_CLS")]
    SequenceClassification,
    /// Token classification; the head `classifier` or `score` is trained too.
    #[serde(rename = "TOKEN_CLS")]
    TokenClassification,
    /// Extractive question answering; the head `qa_outputs` is trained too.
    #[serde(rename = "QUESTION_ANS")]
    QuestionAnswering,
    /// Causal language modelling.
    #[serde(rename = "CAUSAL_LM")]
    CausalLm,
    /// Sequence-to-sequence language modelling.
    #[serde(rename = "SEQ_2_SEQ_LM")]
    SequenceToSequence,
    /// Features, as for embeddings.
    #[serde(rename = "FEATURE_EXTRACTION")]
    FeatureExtraction,
}

impl TaskType {
    /// The heads that PEFT trains in full for this task, whether the config names them or not.
    pub fn head_names(self) -> &'static [&'static str] {
        match self {
            Self::SequenceClassification | Self::TokenClassification => &["classifier", "score"],
            Self::QuestionAnswering => &["qa_outputs"],
            Self::CausalLm | Self::SequenceToSequence | Self::FeatureExtraction => &[],
        }
    }
}

/// Which of the base's biases are trained with the adapters: PEFT's `bias`.
///
/// A bias is trained in place, not in a copy: a model can have one adapter that does so, and
/// without the adapter it is not the base model any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// No bias.
    #[default]
    None,
    /// Every bias of the model.
    All,
    /// The biases of the modules that have an adapter.
    LoraOnly,
}

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
    /// PEFT's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the rank.
    pub fn with_r(mut self, r: usize) -> Self {
        self.r = r;
        self
    }

    /// Sets `α`.
    pub fn with_lora_alpha(mut self, alpha: f64) -> Self {
        self.lora_alpha = alpha;
        self
    }

    /// Sets the targets: a list of names, or a string (a regular expression or `all-linear`).
    pub fn with_target_modules(mut self, targets: impl Into<TargetModules>) -> Self {
        self.target_modules = Some(targets.into());
        self
    }

    /// Sets the exclusions: a list of names, or a regular expression.
    pub fn with_exclude_modules(mut self, excluded: impl Into<ModulePattern>) -> Self {
        self.exclude_modules = Some(excluded.into());
        self
    }

    /// Sets the adapter's dropout.
    pub fn with_lora_dropout(mut self, dropout: f64) -> Self {
        self.lora_dropout = dropout;
        self
    }

    /// Sets the modules that are trained in full.
    pub fn with_modules_to_save<S: Into<String>>(
        mut self,
        modules: impl IntoIterator<Item = S>,
    ) -> Self {
        self.modules_to_save = Some(modules.into_iter().map(Into::into).collect());
        self
    }

    /// Turns rsLoRA's scaling on or off.
    pub fn with_use_rslora(mut self, use_rslora: bool) -> Self {
        self.use_rslora = use_rslora;
        self
    }

    /// Turns DoRA on or off.
    pub fn with_use_dora(mut self, use_dora: bool) -> Self {
        self.use_dora = use_dora;
        self
    }

    /// Sets how the factors start out.
    pub fn with_init_lora_weights(mut self, init: InitLoraWeights) -> Self {
        self.init_lora_weights = init;
        self
    }

    /// Sets how EVA finds its factors.
    pub fn with_eva_config(mut self, eva: EvaConfig) -> Self {
        self.eva_config = Some(eva);
        self
    }

    /// Sets how LoftQ quantizes.
    pub fn with_loftq_config(mut self, loftq: LoftQConfig) -> Self {
        self.loftq_config = Some(loftq);
        self
    }

    /// Sets which of the base's biases are trained.
    pub fn with_bias(mut self, bias: Bias) -> Self {
        self.bias = bias;
        self
    }

    /// Sets another rank for the modules whose path ends in `pattern`, a regular expression.
    pub fn with_rank_pattern(mut self, pattern: impl Into<String>, r: usize) -> Self {
        self.rank_pattern.insert(pattern.into(), r);
        self
    }

    /// Sets another `α` for the modules whose path ends in `pattern`, a regular expression.
    pub fn with_alpha_pattern(mut self, pattern: impl Into<String>, alpha: f64) -> Self {
        self.alpha_pattern.insert(pattern.into(), alpha);
        self
    }

    /// Sets the layers to adapt, by number.
    pub fn with_layers_to_transform(mut self, layers: impl Into<LayerIndices>) -> Self {
        self.layers_to_transform = Some(layers.into());
        self
    }

    /// Sets the name of the list of layers that `layers_to_transform` counts in.
    pub fn with_layers_pattern(mut self, pattern: impl Into<OneOrMany>) -> Self {
        self.layers_pattern = Some(pattern.into());
        self
    }

    /// Sets the task.
    pub fn with_task_type(mut self, task: TaskType) -> Self {
        self.task_type = Some(task);
        self
    }

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

    /// Checks that every value can be used.
    ///
    /// # Errors
    ///
    /// [`LoraError::ConfigValue`] that names the field.
    pub fn validate(&self) -> Result<(), LoraError> {
        let bad = |field, value: String, expected| {
            Err(LoraError::ConfigValue {
                field,
                value,
                expected,
            })
        };
        if self.r == 0 {
            return bad("r", "0".into(), "a rank of at least 1");
        }
        if let Some((pattern, r)) = self.rank_pattern.iter().find(|(_, r)| **r == 0) {
            let value = format!("{r} for {pattern:?}");
            return bad("rank_pattern", value, "ranks of at least 1");
        }
        if !self.lora_alpha.is_finite() {
            return bad("lora_alpha", self.lora_alpha.to_string(), "a finite number");
        }
        if let Some((pattern, alpha)) = self.alpha_pattern.iter().find(|(_, a)| !a.is_finite()) {
            let value = format!("{alpha} for {pattern:?}");
            return bad("alpha_pattern", value, "finite numbers");
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            let value = self.lora_dropout.to_string();
            return bad(
                "lora_dropout",
                value,
                "a probability of at least 0 and below 1",
            );
        }
        if let Some(eva) = &self.eva_config {
            eva.validate()?;
        }
        match self.loftq_config {
            Some(loftq) => loftq.validate()?,
            None if self.init_lora_weights == InitLoraWeights::LoftQ => {
                let value = "absent, and `init_lora_weights` is loftq".into();
                return bad("loftq_config", value, "LoftQ's settings");
            }
            None => {}
        }
        self.validate_layers()
    }

    /// The factor on the low-rank product: `α / r` (LoRA, section 4.1), or `α / √r` for rsLoRA.
    pub fn scaling(&self) -> f64 {
        self.scaling_with(self.r, self.lora_alpha)
    }

    /// The rank for the module at `path`: `r`, or what `rank_pattern` says.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn rank_for(&self, path: &str) -> Result<usize, LoraError> {
        Ok(pattern_value(&self.rank_pattern, path, "rank_pattern")?.unwrap_or(self.r))
    }

    /// The factor on the low-rank product for the module at `path`, with `rank_pattern` and
    /// `alpha_pattern`.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn scaling_for(&self, path: &str) -> Result<f64, LoraError> {
        let alpha = pattern_value(&self.alpha_pattern, path, "alpha_pattern")?;
        let alpha = alpha.unwrap_or(self.lora_alpha);
        Ok(self.scaling_with(self.rank_for(path)?, alpha))
    }

    fn scaling_with(&self, r: usize, alpha: f64) -> f64 {
        let r = r as f64;
        alpha / if self.use_rslora { r.sqrt() } else { r }
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
    fn scaling_is_alpha_over_r_or_its_root() {
        let config = LoraConfig::new().with_r(4).with_lora_alpha(8.0);
        assert_eq!(config.scaling(), 2.0);
        assert_eq!(config.with_use_rslora(true).scaling(), 4.0);
    }

    #[test]
    fn values_out_of_range_name_their_field() {
        let error = |config: LoraConfig| config.validate().unwrap_err().to_string();
        assert!(error(LoraConfig::new().with_r(0)).contains("`r` is 0"));
        assert!(error(LoraConfig::new().with_lora_alpha(f64::NAN)).contains("`lora_alpha` is NaN"));
        assert!(error(LoraConfig::new().with_lora_dropout(1.0)).contains("`lora_dropout` is 1"));
        assert!(
            LoraConfig::from_json(r#"{"r": 0}"#)
                .unwrap_err()
                .to_string()
                .contains("`r` is 0")
        );
    }

    #[test]
    fn patterns_match_the_end_of_the_path() {
        let config = LoraConfig::new()
            .with_r(4)
            .with_lora_alpha(8.0)
            .with_rank_pattern("layer.0.query", 2)
            .with_rank_pattern("^first", 16)
            .with_alpha_pattern(r"layer\.\d+\.value", 32.0);
        let of = |path| {
            (
                config.rank_for(path).unwrap(),
                config.scaling_for(path).unwrap(),
            )
        };
        assert_eq!(of("encoder.layer.0.query"), (2, 4.0));
        assert_eq!(of("encoder.layer.10.query"), (4, 2.0));
        // PEFT puts an optional prefix before the pattern, so `^` only matches at the start.
        assert_eq!(of("first"), (16, 0.5));
        assert_eq!(of("layer.1.value"), (4, 8.0));
        assert_eq!(of("layer.1.value.dense"), (4, 2.0));
        assert!(
            LoraConfig::new()
                .with_rank_pattern("(", 2)
                .rank_for("a")
                .is_err()
        );
        let zero = LoraConfig::new().with_rank_pattern("a", 0).validate();
        assert!(
            zero.unwrap_err()
                .to_string()
                .contains("`rank_pattern` is 0 for")
        );
    }

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
