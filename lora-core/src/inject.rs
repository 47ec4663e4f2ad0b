//! Putting adapters into any Burn module, in one call.

mod plan;

use burn::module::{Module, Param, Reparameterizer};
use burn::tensor::Tensor;

pub use plan::InjectionPlan;

use crate::{LoraAdapter, LoraConfig, LoraError};

impl LoraConfig {
    /// Puts adapters into `module`: freezes it, attaches a trainable [`LoraAdapter`] to the weight
    /// of every module that `target_modules` matches, and leaves `modules_to_save` and the task's
    /// head trainable.
    ///
    /// The module's types do not change. [`LoraLinear`](crate::LoraLinear) and
    /// [`LoraEmbedding`](crate::LoraEmbedding) compute the adapter in factored form; Burn's own
    /// layers, and any other with a two-dimensional `weight`, see the composed weight.
    ///
    /// Dropout of the base stays on in training, as in PEFT: only gradients are switched off.
    ///
    /// # Errors
    ///
    /// The configuration has a value out of range, a pattern matches nothing (the error has the
    /// nearest names) or something that has no weight matrix, or the module has adapters already.
    pub fn inject<M: Module>(&self, module: M) -> Result<M, LoraError> {
        let plan = self.plan(&module)?;
        plan.require_every_pattern()?;
        Ok(self.apply_plan(module, plan))
    }

    /// As [`inject`](Self::inject), but it is enough that one of several patterns matches, as in
    /// PEFT.
    ///
    /// # Errors
    ///
    /// As [`inject`](Self::inject), but for that.
    pub fn inject_lenient<M: Module>(&self, module: M) -> Result<M, LoraError> {
        let plan = self.plan(&module)?;
        plan.require_any_pattern()?;
        Ok(self.apply_plan(module, plan))
    }

    /// What [`inject`](Self::inject) would do with `module`, without doing it.
    ///
    /// # Errors
    ///
    /// As [`inject`](Self::inject), but a pattern that matches nothing is only reported.
    pub fn plan<M: Module>(&self, module: &M) -> Result<InjectionPlan, LoraError> {
        InjectionPlan::new(self, module)
    }

    fn apply_plan<M: Module>(&self, module: M, plan: InjectionPlan) -> M {
        for warning in &plan.warnings {
            log::warn!("{warning}");
        }
        log::info!("{plan}");
        module.apply_reparameterization(Injector { config: self, plan })
    }
}

struct Injector<'a> {
    config: &'a LoraConfig,
    plan: InjectionPlan,
}

impl Reparameterizer for Injector<'_> {
    type Reparam = LoraAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraAdapter>) {
        if self.plan.trains_in_full(path) {
            return (param.set_require_grad(true), None);
        }
        let device = param.lazy_device();
        let adapter = self.plan.weight_kind(path).map(|kind| {
            let shape = param.lazy_shape();
            let dims = [shape[0], shape[1]];
            let LoraConfig {
                r, lora_dropout, ..
            } = *self.config;
            let scaling = self.config.scaling();
            match kind {
                plan::WeightKind::Embedding => LoraAdapter::embedding(dims, r, scaling, &device),
                plan::WeightKind::Linear => {
                    LoraAdapter::linear(dims, r, scaling, lora_dropout, &device)
                }
            }
        });
        (param.set_require_grad(false), adapter)
    }
}
