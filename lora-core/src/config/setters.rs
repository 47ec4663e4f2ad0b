//! Making a configuration in code.

use super::{
    Bias, EvaConfig, InitLoraWeights, LayerIndices, LoftQConfig, LoraConfig, ModulePattern,
    OneOrMany, TargetModules, TaskType,
};

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
}
