//! Putting adapters into any Burn module, in one call.

mod modules;
mod nearest;
mod plan;

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

pub(crate) use modules::is_below;
pub use plan::InjectionPlan;

use crate::adapters::attachments::{Attachments, Edit, collect, edit};
use crate::adapters::{BASE_ADAPTER, LoraAdapters};
use crate::init::NewAdapter;
use crate::init::residual::{Residual, require_free};
use crate::merge::replaced;
use crate::modules_to_save::SavedCopies;
use crate::{InitLoraWeights, LoraConfig, LoraError};

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
        self.warn_of_eva();
        self.inject_leniently_as(module, DEFAULT_ADAPTER, |_, _| Ok(()))
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
        self.warn_of_eva();
        let plan = self.plan(&module)?;
        plan.require_every_pattern()?;
        self.apply_plan(module, plan, name)
    }

    /// As [`inject_lenient`](Self::inject_lenient), if `check` finds nothing wrong with the plan.
    pub(crate) fn inject_leniently_as<M: Module>(
        &self,
        module: M,
        name: &str,
        check: impl FnOnce(&InjectionPlan, &M) -> Result<(), LoraError>,
    ) -> Result<M, LoraError> {
        let plan = self.plan(&module)?;
        plan.require_any_pattern()?;
        check(&plan, &module)?;
        self.apply_plan(module, plan, name)
    }

    /// An adapter that is loaded has been initialized, a new one has not.
    fn warn_of_eva(&self) {
        if self.init_lora_weights == InitLoraWeights::Eva {
            log::warn!(
                "`init_lora_weights` = eva: the adapter starts as usual until `initialize_eva` is \
                 called with batches of data"
            );
        }
    }

    fn apply_plan<M: Module>(
        &self,
        module: M,
        plan: InjectionPlan,
        name: &str,
    ) -> Result<M, LoraError> {
        let present = collect(&module);
        let first = self.check_new(&present, name)?;
        plan.require_compatible(&present)?;
        for warning in &plan.warnings {
            log::warn!("{warning}");
        }
        log::info!("{plan}");
        let mut inject = Inject {
            config: Arc::new(LoraConfig {
                fan_in_fan_out: plan.fan_in_fan_out(),
                ..self.clone()
            }),
            plan,
            name,
            first,
            broken: None,
        };
        let module = edit(module, &mut inject)?;
        inject.broken.map_or(Ok(module), Err)
    }

    /// Whether the adapter `name` would be the first beside those `present`, if it can be added.
    pub(crate) fn check_new(&self, present: &Attachments, name: &str) -> Result<bool, LoraError> {
        check_name(name)?;
        present.require_ours()?;
        let others: Vec<&str> = present.lora().flat_map(|(_, all)| all.names()).collect();
        if others.contains(&name) {
            return Err(LoraError::AdapterExists {
                adapter: name.to_string(),
            });
        }
        let first = others.is_empty();
        if !first {
            self.require_no_bias(present)?;
        }
        Ok(first)
    }

    /// A bias is trained in place: a second adapter would train the same one.
    fn require_no_bias(&self, present: &Attachments) -> Result<(), LoraError> {
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

/// A name is a part of a parameter's path, and one name stands for no adapter.
fn check_name(name: &str) -> Result<(), LoraError> {
    match name.is_empty() || name.contains('.') || name == BASE_ADAPTER {
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
    broken: Option<LoraError>,
}

impl Inject<'_> {
    /// The base and its adapters with the new one, whose start may be taken out of the base.
    fn with_adapter(
        &self,
        new: &NewAdapter,
        path: &str,
        mut base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> Result<(Param<Tensor<2>>, LoraAdapters), LoraError> {
        let mut adapters = adapters.unwrap_or_else(LoraAdapters::new);
        if new.changes_base() {
            require_free(path, &adapters)?;
            if adapters.packed().is_some() {
                return Err(LoraError::Init {
                    init: self.config.init_lora_weights,
                    module: path.to_string(),
                    message: "it takes its start out of the base, whose values are stored in few \
                              bits: load the base in f32, or leave `init_lora_weights` out"
                        .to_string(),
                });
            }
        }
        // Shape and device are known before the weight is: it may not be loaded yet.
        let shape = base.lazy_shape();
        let dims = [shape[0], shape[1]];
        let started = new.init(
            path,
            dims,
            || adapters.base_values(base.base()),
            &base.lazy_device(),
        )?;
        if let Some(rest) = started.rest {
            adapters.set_residual(Residual::new(self.name, base.base(), &rest, self.first));
            if self.first {
                base = replaced(base, |_| rest.weight);
            }
        }
        adapters.push(self.name, started.adapter, self.config.clone(), self.first);
        Ok((base, adapters))
    }

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
        if self.broken.is_some() {
            return (base, adapters);
        }
        match self.with_adapter(new, path, base.clone(), adapters) {
            Ok((base, adapters)) => (self.frozen(path, base), Some(adapters)),
            Err(error) => {
                self.broken = Some(error);
                (base, None)
            }
        }
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
