//! What of a model is trained.

use std::path::Path;

use burn::module::{Module, ParamGroup};
use lora_core::state::{initialize, parameters};
use lora_core::{FactorizeConfig, LoraConfig, TaskType};
use lora_models::TextConfig;

use crate::{Task, TrainError};

/// A way to fine-tune.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Adapters and the head.
    Lora(LoraConfig),
    /// Everything.
    Full,
    /// The head alone.
    Head,
    /// Biases and the head ([Ben Zaken et al. 2021](https://arxiv.org/abs/2106.10199), section 3).
    BitFit,
    /// First the head alone, then adapters and the head: two runs, see [`stages`](Self::stages).
    HeadThenLora(LoraConfig),
    /// Everything, after linear layers' weights became products of thin matrices.
    Factorized(FactorizeConfig),
}

impl Method {
    /// LoRA on a sequence classification model: as PEFT does, adapts the architecture's usual
    /// modules if `config` names none, and trains the head.
    pub fn lora(config: LoraConfig, model: &impl TextConfig) -> Self {
        Self::Lora(lora_for(config, model, TaskType::SequenceClassification))
    }

    /// LoRA on a language model.
    pub fn causal_lora(config: LoraConfig, model: &impl TextConfig) -> Self {
        Self::Lora(lora_for(config, model, TaskType::CausalLm))
    }

    /// As [`lora`](Self::lora), after the head alone was trained.
    pub fn head_then_lora(config: LoraConfig, model: &impl TextConfig) -> Self {
        Self::HeadThenLora(lora_for(config, model, TaskType::SequenceClassification))
    }

    /// The same with a base model, `owner/name`, `owner/name@revision` or a folder, for whoever reads the
    /// adapters' configuration, unless that names one.
    pub fn with_base_model(mut self, name: &str) -> Self {
        if let Self::Lora(config) | Self::HeadThenLora(config) = &mut self
            && config.base_model_name_or_path.is_none()
        {
            let (base, revision) = match name.split_once('@') {
                Some((base, revision)) if !Path::new(name).exists() => (base, Some(revision)),
                _ => (name, None),
            };
            config.base_model_name_or_path = Some(base.to_string());
            config.revision = revision.map(ToString::to_string);
        }
        self
    }

    /// `lora`, `full`, `head`, `bitfit`, `head-then-lora` or `factorized`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lora(_) => "lora",
            Self::Full => "full",
            Self::Head => "head",
            Self::BitFit => "bitfit",
            Self::HeadThenLora(_) => "head-then-lora",
            Self::Factorized(_) => "factorized",
        }
    }

    /// The configuration of the adapters, if there are some in the end.
    pub fn adapters(&self) -> Option<&LoraConfig> {
        match self {
            Self::Lora(config) | Self::HeadThenLora(config) => Some(config),
            Self::Full | Self::Head | Self::BitFit | Self::Factorized(_) => None,
        }
    }

    /// Which weights become products of thin matrices, if some do.
    pub fn factorization(&self) -> Option<&FactorizeConfig> {
        match self {
            Self::Factorized(config) => Some(config),
            _ => None,
        }
    }

    /// The methods to train with one after the other, each on the model that the one before left.
    pub fn stages(&self) -> Vec<Self> {
        match self {
            Self::HeadThenLora(config) => vec![Self::Head, Self::Lora(config.clone())],
            other => vec![other.clone()],
        }
    }

    /// Attaches adapters or switches gradients off, so that only what this method trains is
    /// changed by training; of several [`stages`](Self::stages), as for the last one. Fresh weights
    /// are drawn now.
    ///
    /// Dropout stays on everywhere, in what is frozen too, as in PEFT.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] with those of [`LoraConfig::inject`] or [`FactorizeConfig::factorize`];
    /// [`TrainError::NoHead`] for
    /// [`Method::Head`] on a model without one.
    pub fn prepare<T: Task>(&self, model: T) -> Result<T, TrainError> {
        let model = match self {
            Self::Lora(config) | Self::HeadThenLora(config) => config.inject(model)?,
            Self::Full => model.set_require_grad(true),
            Self::Factorized(config) => config.factorize(model.set_require_grad(true))?,
            Self::Head => {
                let head = model.head();
                if head.is_empty() {
                    return Err(TrainError::NoHead);
                }
                only(model, head)
            }
            Self::BitFit => {
                let mut paths = model.head();
                let biases = parameters(&model).into_iter();
                paths.extend(biases.filter(|p| p.name.ends_with("bias")).map(|p| p.path));
                only(model, paths)
            }
        };
        initialize(&model);
        Ok(model)
    }
}

fn lora_for(mut config: LoraConfig, model: &impl TextConfig, task: TaskType) -> LoraConfig {
    let usual = || model.default_target_modules().into();
    config.target_modules.get_or_insert_with(usual);
    config.task_type.get_or_insert(task);
    config
}

/// The model with these parameters to be trained and no others.
fn only<M: Module>(model: M, paths: Vec<String>) -> M {
    let frozen = model.set_require_grad(false);
    frozen.set_require_grad_group(ParamGroup::from_paths(paths), true)
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
        // Query, key, value, two outputs and the layer in between; three layer norms.
        let biases = 5 * 16 + 32 + 3 * 16;
        let bitfit = report(Method::BitFit, &config);
        assert_eq!(
            (bitfit.trainable(), bitfit.total()),
            (head + biases, full.total())
        );
        let only_head = report(Method::Head, &config);
        assert_eq!(
            (only_head.trainable(), only_head.total()),
            (head, full.total())
        );
        let thin = report(Method::Factorized(FactorizeConfig::new(2)), &config);
        // Attention's four, the two of the MLP, the head's dense layer and its output.
        assert_eq!(
            thin.lora,
            5 * 2 * (16 + 16) + 2 * 2 * (16 + 32) + 2 * (16 + 2)
        );
        assert_eq!((thin.frozen, thin.trainable()), (0, thin.total()));
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
    fn a_language_model_has_no_head() {
        let config = lora_models::gpt2::Gpt2Config {
            vocab_size: 10,
            n_positions: 8,
            n_embd: 8,
            n_layer: 1,
            n_head: 2,
            ..lora_models::gpt2::Gpt2Config::small()
        };
        let model = lora_models::gpt2::CausalLm::new(&config, &default_device());
        let error = Method::Head.prepare(model.clone()).unwrap_err();
        assert!(matches!(error, TrainError::NoHead));
        let biases = ParameterReport::of(&Method::BitFit.prepare(model).unwrap());
        // c_attn, c_proj, c_fc, c_proj; three layer norms.
        assert_eq!(biases.trainable(), 24 + 8 + 32 + 8 + 3 * 8);
    }

    #[test]
    fn the_head_comes_before_the_adapters() {
        let method = Method::head_then_lora(LoraConfig::new().with_r(2), &tiny_config());
        let stages = method.stages();
        assert_eq!(stages[0], Method::Head);
        assert_eq!(stages[1].adapters(), method.adapters());
        assert_eq!(Method::Full.stages(), [Method::Full]);
    }

    #[test]
    fn adapters_name_their_base_unless_they_do_already() {
        let base = |config: LoraConfig, name: &str| {
            let method = Method::lora(config, &tiny_config()).with_base_model(name);
            let config = method.adapters().unwrap().clone();
            (config.base_model_name_or_path.unwrap(), config.revision)
        };
        let named = base(LoraConfig::new(), "FacebookAI/roberta-base");
        assert_eq!(named, ("FacebookAI/roberta-base".into(), None));
        let named = base(LoraConfig::new(), "owner/name@v1");
        assert_eq!(named, ("owner/name".into(), Some("v1".into())));
        let given = LoraConfig {
            base_model_name_or_path: Some("mine".into()),
            ..LoraConfig::new()
        };
        assert_eq!(base(given, "owner/name@v1"), ("mine".into(), None));
        assert_eq!(Method::Full.with_base_model("a"), Method::Full);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a@b");
        std::fs::create_dir(&path).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(base(LoraConfig::new(), path), (path.into(), None));
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
