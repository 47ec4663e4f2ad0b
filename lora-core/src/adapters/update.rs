//! Changes of adapters that keep their numbers.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::LoraAdapters;
use super::attachments::Edit;
use crate::LoraConfig;
use crate::modules_to_save::SavedCopies;

/// Changes of state that need no numbers.
pub(super) enum Update<'a> {
    SetActive(&'a [&'a str]),
    SetEnabled(bool),
    SetRequireGrad(&'a str, bool),
    Delete(&'a str),
}

impl Edit for Update<'_> {
    fn lora(
        &mut self,
        _path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let adapters = adapters.map(|mut adapters| {
            match self {
                Self::SetActive(names) => adapters.activate(names),
                Self::SetEnabled(enabled) => adapters.enable(*enabled),
                Self::SetRequireGrad(name, require_grad) => {
                    adapters.update(name, |adapter| adapter.set_require_grad(*require_grad));
                }
                Self::Delete(name) => adapters.remove(name),
            }
            adapters
        });
        (base, adapters.filter(|adapters| !adapters.is_empty()))
    }

    fn saved<const D: usize>(
        &mut self,
        _path: &str,
        base: Param<Tensor<D>>,
        copies: Option<SavedCopies<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<D>>) {
        let copies = copies.map(|mut copies| {
            match self {
                Self::SetActive(names) => copies.activate(names),
                Self::SetEnabled(enabled) => copies.enable(*enabled),
                Self::SetRequireGrad(name, require_grad) => {
                    copies.train_copy(name, *require_grad);
                }
                Self::Delete(name) => copies.remove(name),
            }
            copies
        });
        (base, copies.filter(|copies| !copies.is_empty()))
    }
}

/// Gives an adapter the configuration's scaling, times a factor.
pub(super) struct Reconfigure<'a> {
    name: &'a str,
    config: &'a LoraConfig,
    factor: f64,
}

impl<'a> Reconfigure<'a> {
    pub(super) fn new(name: &'a str, config: &'a LoraConfig) -> Self {
        Self {
            name,
            config,
            factor: 1.0,
        }
    }

    pub(super) fn scaled(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }
}

impl Edit for Reconfigure<'_> {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        mut adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let module = path.rsplit_once('.').map_or("", |(module, _)| module);
        if let Some(adapters) = &mut adapters
            && let Ok(scaling) = self.config.scaling_for(module)
        {
            adapters.reconfigure(self.name, self.config, scaling * self.factor);
        }
        (base, adapters)
    }
}
