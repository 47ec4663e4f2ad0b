//! The optimizer, with its parameter groups.

use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::module::{Module, ParamGroup};
use burn::optim::{AdamWConfig, ModuleOptimizer};
use fancy_regex::Regex;
use lora_core::state::{ParameterInfo, parameters};

use crate::{AdamW8bitConfig, LoraFa, LoraPlus, LoraPlusRates, Optim, TrainError, TrainingConfig};

impl TrainingConfig {
    /// AdamW as PyTorch or, with 8 bits, bitsandbytes has it, in the groups of LoRA-FA or LoRA+ if
    /// `module` is trained so.
    ///
    /// Biases and layer norms have no weight decay, as in Hugging Face's Trainer.
    pub(crate) fn optimizer<M: Module>(&self, module: &M) -> Result<ModuleOptimizer, TrainError> {
        let paths = trained(module).filter(has_no_decay).map(|p| p.path);
        let no_decay = ParamGroup::from_paths(paths.collect());
        if self.optim == Optim::AdamW8bit {
            if self.loraplus_lr_ratio.is_some() {
                LoraPlus::of(module)?;
            }
            let adamw = AdamW8bitConfig::new().with_weight_decay(self.weight_decay as f32);
            let without = adamw.clone().with_weight_decay(0.0).build()?;
            return Ok(adamw.init()?.with_group(no_decay, without, None));
        }
        let adamw = AdamWConfig::new()
            .with_weight_decay(self.weight_decay as f32)
            // Burn's default of 1e-5 would damp the small gradients of an adapter.
            .with_epsilon(1e-8);
        let optimizer = match (self.lora_fa, self.loraplus_lr_ratio) {
            (true, _) => LoraFa::optimizer(module, &adamw)?,
            (false, Some(_)) => LoraPlus::of(module)?.optimizer(&adamw),
            (false, None) => adamw.init(),
        };
        let without = adamw.with_weight_decay(0.0).build();
        Ok(optimizer.with_group(no_decay, without, None))
    }

    /// [`schedule`](Self::schedule), in the groups of LoRA+ if `module` is trained so, and in those
    /// of `learning_rate_pattern`, after the first `done` of `steps` steps.
    pub(crate) fn scheduler<M: Module>(
        &self,
        module: &M,
        steps: usize,
        done: usize,
    ) -> Result<ModuleLrScheduler, TrainError> {
        let schedule = |rate| {
            let config = self.clone().with_learning_rate(rate);
            config.schedule(steps).after(done)
        };
        let mut scheduler = match self.loraplus_lr_ratio {
            None => schedule(self.learning_rate).into(),
            Some(ratio) => {
                let rates = LoraPlusRates {
                    a: self.learning_rate,
                    ratio,
                    embedding: self.loraplus_lr_embedding,
                };
                LoraPlus::of(module)?.scheduler(rates, schedule)
            }
        };
        for (key, rate) in &self.learning_rate_pattern {
            let paths = paths_below(module, key)?;
            scheduler = scheduler.with_group(ParamGroup::from_paths(paths), schedule(*rate));
        }
        Ok(scheduler)
    }
}

fn trained<M: Module>(module: &M) -> impl Iterator<Item = ParameterInfo> {
    parameters(module).into_iter().filter(|p| p.trainable)
}

/// Hugging Face's rule: parameters of layer norms, and what is called bias.
fn has_no_decay(info: &ParameterInfo) -> bool {
    let field = info.name.rsplit('.').next().unwrap_or_default();
    info.owner.ends_with("Norm") || field.contains("bias")
}

/// The paths of the parameters that train in the modules that `key` means.
fn paths_below<M: Module>(module: &M, key: &str) -> Result<Vec<String>, TrainError> {
    let refused = |value: String, expected| TrainError::Setting {
        field: "learning_rate_pattern",
        value,
        expected,
    };
    let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{key})(?:\..*)?$")).map_err(|e| {
        let value = format!("{key:?} ({e})");
        refused(value, "a module's name or a regular expression for it")
    })?;
    let paths: Vec<String> = trained(module)
        .filter(|info| regex.is_match(info.module()).unwrap_or(false))
        .map(|info| info.path)
        .collect();
    match paths.is_empty() {
        true => Err(refused(
            format!("{key:?}, which fits no parameter that trains"),
            "the name of a module that trains",
        )),
        false => Ok(paths),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;
    use crate::testing::tiny_config;
    use burn::module::{ModuleVisitor, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::Tensor;
    use lora_core::state::values;
    use lora_core::{LoraConfig, default_device};
    use lora_models::bert::SequenceClassification;

    fn model(method: &Method) -> SequenceClassification {
        let device = default_device().autodiff();
        let model = SequenceClassification::new(&tiny_config(), &device);
        method.prepare(model).unwrap()
    }

    /// Gradients of zero for everything that trains: what is left of a step is the decay.
    fn no_gradients(model: &SequenceClassification) -> GradientsParams {
        struct Zeros(GradientsParams);
        impl ModuleVisitor for Zeros {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if param.is_require_grad() {
                    let value = param.base().without_autodiff();
                    self.0.register(param.id, value.zeros_like());
                }
            }
        }
        let mut zeros = Zeros(GradientsParams::new());
        burn::module::Module::visit(model, &mut zeros);
        zeros.0
    }

    #[test]
    fn biases_and_layer_norms_do_not_decay() {
        let model = model(&Method::Full);
        let config = TrainingConfig::new().with_weight_decay(0.5);
        let mut optimizer = config.optimizer(&model).unwrap();
        let before = values(&model, |_| true);
        let gradients = no_gradients(&model);
        let after = values(&optimizer.step(0.1, model, gradients), |_| true);
        let (mut kept, mut decayed) = (0, 0);
        for ((info, before), (_, after)) in before.iter().zip(&after) {
            let no_decay = info.name.contains("LayerNorm") || info.name.ends_with("bias");
            match no_decay {
                true => kept += 1,
                false => decayed += 1,
            }
            for (before, after) in before.iter::<f32>().zip(after.iter::<f32>()) {
                let expected = if no_decay { before } else { before * 0.95 };
                assert!((after - expected).abs() < 1e-6, "{}", info.name);
            }
        }
        assert_eq!((kept, decayed), (14, 11));
    }

    #[test]
    fn a_pattern_gives_a_module_its_own_rate() {
        let method = Method::lora(LoraConfig::new().with_r(2), &tiny_config());
        let model = model(&method);
        let config = TrainingConfig::new()
            .with_learning_rate(0.1)
            .with_warmup_ratio(0.0)
            .with_learning_rate_pattern([("classifier".to_string(), 0.4)].into());
        let rates = config.scheduler(&model, 4, 1).unwrap().step();
        let mut seen = 0;
        for info in trained(&model) {
            let rate = rates.lr_from_param(Default::default(), Some(&info.path));
            let head = info.name.contains("classifier");
            seen += usize::from(head);
            let expected = if head { 0.4 * 0.75 } else { 0.1 * 0.75 };
            assert!((rate - expected).abs() < 1e-12, "{} {rate}", info.path);
        }
        assert_eq!(seen, 4);
    }

    #[test]
    fn a_pattern_that_fits_nothing_is_an_error() {
        let model = model(&Method::Head);
        let message = |key: &str| {
            let config =
                TrainingConfig::new().with_learning_rate_pattern([(key.to_string(), 0.4)].into());
            config
                .scheduler(&model, 4, 0)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(message("query").contains("fits no parameter that trains"));
        assert!(message("(").contains("regular expression"));
    }
}
