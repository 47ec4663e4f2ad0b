//! Putting adapters into any Burn module, in one call.

mod plan;

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

pub use plan::InjectionPlan;

use crate::adapters::LoraAdapters;
use crate::adapters::attachments::{Edit, collect, edit};
use crate::modules_to_save::SavedCopies;
use crate::{LoraConfig, LoraError};

/// PEFT's name for an adapter that nobody named.
pub const DEFAULT_ADAPTER: &str = "default";

impl LoraConfig {
    /// Puts adapters into `module`: freezes it, attaches a trainable [`LoraAdapter`] to the weight
    /// of every module that `target_modules` matches, and gives `modules_to_save` and the task's
    /// head a copy that is trained in their place.
    ///
    /// The module's types do not change. [`LoraLinear`](crate::LoraLinear) and
    /// [`LoraEmbedding`](crate::LoraEmbedding) compute the adapter in factored form; Burn's own
    /// layers, and any other with a two-dimensional `weight`, see the composed weight.
    ///
    /// Dropout of the base stays on in training, as in PEFT: only gradients are switched off.
    ///
    /// The adapter is called [`DEFAULT_ADAPTER`]; [`LoraModule`](crate::LoraModule) adds more.
    ///
    /// [`LoraAdapter`]: crate::LoraAdapter
    ///
    /// # Errors
    ///
    /// The configuration has a value out of range, a pattern matches nothing (the error has the
    /// nearest names) or something that has no weight matrix, or the module has that adapter.
    pub fn inject<M: Module>(&self, module: M) -> Result<M, LoraError> {
        self.inject_as(module, DEFAULT_ADAPTER)
    }

    /// As [`inject`](Self::inject), but it is enough that one of several patterns matches, as in
    /// PEFT.
    ///
    /// # Errors
    ///
    /// As [`inject`](Self::inject), but for that.
    pub fn inject_lenient<M: Module>(&self, module: M) -> Result<M, LoraError> {
        self.inject_leniently_as(module, DEFAULT_ADAPTER)
    }

    /// What [`inject`](Self::inject) would do with `module`, without doing it.
    ///
    /// # Errors
    ///
    /// As [`inject`](Self::inject), but a pattern that matches nothing is only reported.
    pub fn plan<M: Module>(&self, module: &M) -> Result<InjectionPlan, LoraError> {
        InjectionPlan::new(self, module)
    }

    pub(crate) fn inject_as<M: Module>(&self, module: M, name: &str) -> Result<M, LoraError> {
        let plan = self.plan(&module)?;
        plan.require_every_pattern()?;
        self.apply_plan(module, plan, name)
    }

    pub(crate) fn inject_leniently_as<M: Module>(
        &self,
        module: M,
        name: &str,
    ) -> Result<M, LoraError> {
        let plan = self.plan(&module)?;
        plan.require_any_pattern()?;
        self.apply_plan(module, plan, name)
    }

    fn apply_plan<M: Module>(
        &self,
        module: M,
        plan: InjectionPlan,
        name: &str,
    ) -> Result<M, LoraError> {
        check_name(name)?;
        let present = collect(&module);
        present.require_ours()?;
        let others: Vec<&str> = present.lora().flat_map(|(_, all)| all.names()).collect();
        if others.contains(&name) {
            return Err(LoraError::AdapterExists {
                adapter: name.to_string(),
            });
        }
        let first = others.is_empty();
        if !first {
            self.require_no_bias(&present)?;
        }
        for warning in &plan.warnings {
            log::warn!("{warning}");
        }
        log::info!("{plan}");
        edit(
            module,
            &mut Inject {
                config: Arc::new(self.clone()),
                plan,
                name,
                first,
            },
        )
    }

    /// A bias is trained in place: a second adapter would train the same one.
    fn require_no_bias(
        &self,
        present: &crate::adapters::attachments::Attachments,
    ) -> Result<(), LoraError> {
        let mut configs = present.lora().flat_map(|(_, all)| {
            all.names()
                .filter_map(|name| Some((name, all.config(name)?)))
        });
        let with_bias = configs.find(|(_, config)| config.bias != crate::Bias::None);
        match (with_bias, self.bias) {
            (None, crate::Bias::None) => Ok(()),
            (Some((adapter, _)), _) => Err(LoraError::BiasShared {
                adapter: adapter.to_string(),
            }),
            (None, _) => Err(LoraError::ConfigValue {
                field: "bias",
                value: format!("{:?} beside another adapter", self.bias),
                expected: "none: biases are trained in place, so only the one adapter can have them",
            }),
        }
    }
}

/// A name is a part of a parameter's path.
fn check_name(name: &str) -> Result<(), LoraError> {
    match name.is_empty() || name.contains('.') {
        true => Err(LoraError::AdapterName {
            adapter: name.to_string(),
        }),
        false => Ok(()),
    }
}

struct Inject<'a> {
    config: Arc<LoraConfig>,
    plan: InjectionPlan,
    name: &'a str,
    /// Whether the module had no adapter before: then this one is active, and the base is frozen.
    first: bool,
}

impl Inject<'_> {
    fn frozen<const D: usize>(&self, path: &str, base: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.first {
            true => base.set_require_grad(self.plan.trains_bias(path)),
            false => base,
        }
    }
}

impl Edit for Inject<'_> {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let Some(new) = self.plan.new_adapter(path) else {
            return (self.frozen(path, base), adapters);
        };
        // Shape and device are known before the weight is: it may not be loaded yet.
        let shape = base.lazy_shape();
        let adapter = new.init([shape[0], shape[1]], || base.base(), &base.lazy_device());
        let mut adapters = adapters.unwrap_or_else(LoraAdapters::new);
        adapters.push(self.name, adapter, self.config.clone(), self.first);
        (self.frozen(path, base), Some(adapters))
    }

    fn saved<const D: usize>(
        &mut self,
        path: &str,
        base: Param<Tensor<D>>,
        copies: Option<SavedCopies<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<D>>) {
        let base = self.frozen(path, base);
        if !self.plan.saves(path) {
            return (base, copies);
        }
        let mut copies = copies.unwrap_or_else(SavedCopies::new);
        // `from_tensor` makes a leaf of its own; the values are shared until one of them changes.
        let copy = Param::from_tensor(base.base().detach());
        copies.push(self.name, copy.set_require_grad(self.first));
        if self.first {
            copies.activate(&[self.name]);
        }
        (base, Some(copies))
    }
}
