//! Giving an adapter what EVA found.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::Tensor;

use crate::LoraConfig;
use crate::adapters::LoraAdapters;
use crate::adapters::attachments::Edit;
use crate::decomposition::{Matrix, to_device};
use crate::merge::replaced;

/// Gives the adapter its factors and its configuration.
pub(super) struct Assign<'a> {
    pub(super) name: &'a str,
    pub(super) config: &'a LoraConfig,
    /// `A` by the path of the weight; of no columns where the adapter is to be taken off.
    pub(super) starts: BTreeMap<String, Matrix>,
}

impl Edit for Assign<'_> {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let Some(mut adapters) = adapters else {
            return (base, None);
        };
        let start = self.starts.remove(path);
        if start.as_ref().is_some_and(|a| a.ncols() == 0) {
            adapters.remove(self.name);
            return (base, Some(adapters).filter(|adapters| !adapters.is_empty()));
        }
        let module = path.rsplit_once('.').map_or("", |(module, _)| module);
        if let Ok(scaling) = self.config.scaling_for(module) {
            adapters.reconfigure(self.name, self.config, scaling);
        }
        if let Some(a) = start {
            let device = base.lazy_device();
            let d_out = base.lazy_shape()[1];
            let values = adapters.base_values(base.base());
            adapters.update(self.name, |mut adapter| {
                let rank = a.ncols();
                adapter.a = replaced(adapter.a, |_| to_device(&a, &device));
                adapter.b = replaced(adapter.b, |_| Tensor::zeros([rank, d_out], &device));
                if let Some(magnitude) = adapter.magnitude.take() {
                    let fresh = adapter.clone().with_magnitude(values);
                    let norm = fresh.magnitude.map(|norm| norm.val());
                    adapter.magnitude = Some(replaced(magnitude, |old| norm.unwrap_or(old)));
                }
                adapter
            });
        }
        (base, Some(adapters))
    }
}
