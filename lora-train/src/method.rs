//! What of a model is trained.

use burn::module::Module;
use lora_core::state::initialize;
use lora_core::{LoraConfig, LoraError, TaskType};
use lora_models::gpt2::CausalLm;
use lora_models::{SequenceClassifier, TextConfig};

use crate::TrainError;

/// A way to fine-tune.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a run has one; a box would show in every match"
)]
pub enum Method {
    /// Adapters and the head.
    Lora(LoraConfig),
    /// Everything.
    Full,
    /// The head alone.
    Head,
}

impl Method {
    /// LoRA on a sequence classification model: as PEFT does, adapts the architecture's usual
    /// modules if `config` names none, and trains the head.
    pub fn lora(config: LoraConfig, model: &impl TextConfig) -> Self {
        Self::lora_for(config, model, TaskType::SequenceClassification)
    }

    /// LoRA on a language model.
    pub fn causal_lora(config: LoraConfig, model: &impl TextConfig) -> Self {
        Self::lora_for(config, model, TaskType::CausalLm)
    }

    fn lora_for(mut config: LoraConfig, model: &impl TextConfig, task: TaskType) -> Self {
        let usual = || model.default_target_modules().into();
        config.target_modules.get_or_insert_with(usual);
        config.task_type.get_or_insert(task);
        Self::Lora(config)
    }

    /// `lora`, `full` or `head`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "lora",
            Self::Full => "full",
            Self::Head => "head",
        }
    }

    /// Attaches adapters or switches gradients off, so that only what this method trains is
    /// changed by training. Fresh weights are drawn now.
    ///
    /// Dropout stays on everywhere, in what is frozen too, as in PEFT.
    ///
    /// # Errors
    ///
    /// Those of [`LoraConfig::inject`].
    pub fn prepare<M: SequenceClassifier>(&self, model: M) -> Result<M, LoraError> {
        let model = match self {
            Self::Lora(config) => config.inject(model)?,
            Self::Full => model.set_require_grad(true),
            Self::Head => model.set_require_grad(true).set_base_require_grad(false),
        };
        initialize(&model);
        Ok(model)
    }

    /// As [`prepare`](Self::prepare), for a language model.
    ///
    /// # Errors
    ///
    /// Those of [`LoraConfig::inject`]; [`TrainError::NoHead`] for [`Method::Head`].
    pub fn prepare_causal(&self, model: CausalLm) -> Result<CausalLm, TrainError> {
        let model = match self {
            Self::Lora(config) => config.inject(model)?,
            Self::Full => model.set_require_grad(true),
            Self::Head => return Err(TrainError::NoHead),
        };
        initialize(&model);
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_config;
    use lora_core::{ParameterReport, default_device};
    use lora_models::bert::{BertConfig, SequenceClassification};

    fn report(method: Method, config: &BertConfig) -> ParameterReport {
        let model = SequenceClassification::new(config, &default_device());
        ParameterReport::of(&method.prepare(model).unwrap())
    }

    #[test]
    fn each_method_trains_its_part() {
        let config = tiny_config();
        let head = 16 * 16 + 16 + 16 * 2 + 2;
        let full = report(Method::Full, &config);
        assert_eq!(full.frozen, 0);
        let only_head = report(Method::Head, &config);
        assert_eq!(
            (only_head.trainable(), only_head.total()),
            (head, full.total())
        );
        let lora = report(Method::lora(LoraConfig::new().with_r(2), &config), &config);
        assert_eq!(lora.lora, 2 * 2 * (16 + 16));
        assert_eq!(
            (lora.saved + lora.bias, lora.frozen),
            (head, full.total() - head)
        );
    }

    #[test]
    fn berts_pooler_belongs_to_the_head() {
        let bert = BertConfig {
            pad_token_id: 0,
            ..BertConfig::default()
        };
        let tiny = tiny_config();
        let config = BertConfig {
            vocab_size: tiny.vocab_size,
            hidden_size: tiny.hidden_size,
            num_hidden_layers: 1,
            num_attention_heads: tiny.num_attention_heads,
            intermediate_size: tiny.intermediate_size,
            ..bert
        };
        assert_eq!(
            report(Method::Head, &config).trainable(),
            16 * 16 + 16 + 16 * 2 + 2
        );
    }

    #[test]
    fn a_given_target_is_kept() {
        let config = LoraConfig::new().with_target_modules(["key"]);
        let Method::Lora(config) = Method::lora(config, &tiny_config()) else {
            unreachable!()
        };
        assert_eq!(config.target_modules, Some(["key"].into()));
        assert_eq!(config.task_type, Some(TaskType::SequenceClassification));
    }
}
