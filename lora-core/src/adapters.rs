//! All adapters of one weight, and the model-wide calls on them.

pub(crate) mod attachments;
mod factorized;
mod forward;
mod merged;
mod mixed_batch;
mod module;
mod packed;
mod requirements;
mod update;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};

pub use mixed_batch::BASE_ADAPTER;
pub use module::LoraModule;

use crate::init::eva::Recorder;
use crate::init::residual::Residual;
use crate::quantization::PackedWeight;
use crate::{LoraAdapter, LoraConfig};
use attachments::met;
pub use attachments::needs_all_rows;
pub(crate) use factorized::empty;
use merged::Merged;
pub(crate) use mixed_batch::MixedBatch;
pub(crate) use packed::{stand_in, values as values_of_packed};

/// The adapters of one weight, by name: the [`Reparameterization`] that is attached to it.
///
/// [`Reparameterization`]: burn::module::Reparameterization
///
/// The sum of the active ones is the weight's update. [`LoraLinear`](crate::LoraLinear) and
/// [`LoraEmbedding`](crate::LoraEmbedding) compute each in factored form; any other module sees
/// the composed weight. [`LoraModule`] changes the adapters of a whole model.
#[derive(Debug, Clone)]
pub struct LoraAdapters {
    slots: Vec<Slot>,
    enabled: bool,
    merged: Option<Merged>,
    /// The adapters that the rows of a batch go through, in place of the active ones.
    batch: Option<Arc<MixedBatch>>,
    /// The two weights of a base that an adapter took its start out of.
    residual: Option<Residual>,
    /// Who looks at the layer's inputs.
    recorder: Option<Recorder>,
    /// The base's values, if they are stored in few bits and not in the parameter.
    packed: Option<Arc<PackedWeight>>,
    /// The weight's shape, if there is no base at all.
    without_base: Option<[usize; 2]>,
}

#[derive(Debug, Clone)]
struct Slot {
    name: String,
    /// Rises from each adapter to those added after it.
    added: usize,
    active: bool,
    adapter: LoraAdapter,
    config: Arc<LoraConfig>,
}

impl LoraAdapters {
    /// What the adapters call their container in a traversal.
    pub(crate) const CONTAINER: &'static str = "LoraAdapters";

    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            enabled: true,
            merged: None,
            batch: None,
            residual: None,
            recorder: None,
            packed: None,
            without_base: None,
        }
    }

    /// The adapter `name`.
    pub fn get(&self, name: &str) -> Option<&LoraAdapter> {
        self.slot(name).map(|slot| &slot.adapter)
    }

    /// The configuration that the adapter `name` was made by.
    pub fn config(&self, name: &str) -> Option<&LoraConfig> {
        self.slot(name).map(|slot| &*slot.config)
    }

    /// The names of all adapters, in the order they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// The adapters that take part in the forward pass and are not merged into the weight; in a
    /// mixed batch ([`LoraModule::for_rows`]), those that some row names.
    pub fn active(&self) -> impl Iterator<Item = (&str, &LoraAdapter)> {
        let computed = self.enabled && self.merged.is_none();
        let chosen = |slot: &Slot| match &self.batch {
            Some(batch) => batch.names(&slot.name),
            None => slot.active,
        };
        let active = self.slots.iter();
        let active = active.filter(move |slot| computed && chosen(slot));
        active.map(|slot| (slot.name.as_str(), &slot.adapter))
    }

    fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    /// The names of all adapters, each with a number that rises in the order they were added.
    pub(crate) fn added(&self) -> impl Iterator<Item = (usize, &str)> {
        self.slots
            .iter()
            .map(|slot| (slot.added, slot.name.as_str()))
    }

    pub(crate) fn push(
        &mut self,
        name: &str,
        adapter: LoraAdapter,
        config: Arc<LoraConfig>,
        active: bool,
    ) {
        // Only the order matters: an adapter may be on some of a model's weights only.
        static ADDED: AtomicUsize = AtomicUsize::new(0);
        self.slots.push(Slot {
            name: name.to_string(),
            added: ADDED.fetch_add(1, Ordering::Relaxed),
            active,
            adapter: adapter.set_require_grad(active),
            config,
        });
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.slots.retain(|slot| slot.name != name);
        self.residual = self.residual.take().filter(|r| r.adapter() != name);
    }

    pub(crate) fn residual(&self) -> Option<&Residual> {
        self.residual.as_ref()
    }

    pub(crate) fn residual_mut(&mut self) -> Option<&mut Residual> {
        self.residual.as_mut()
    }

    /// Makes the weight that the parameter holds the base, whatever an adapter took out of it.
    pub(crate) fn forget_original(&mut self) {
        self.residual = None;
    }

    pub(crate) fn set_residual(&mut self, residual: Residual) {
        self.residual = Some(residual);
    }

    pub(crate) fn with_recorder(mut self, recorder: Option<Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    pub(crate) fn has_recorder(&self) -> bool {
        self.recorder.is_some()
    }

    /// Whether there is nothing to attach to the weight.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.packed.is_none() && self.without_base.is_none()
    }

    /// Makes `names` the active adapters, and the only ones that are trained.
    pub(crate) fn activate(&mut self, names: &[&str]) {
        for slot in &mut self.slots {
            slot.active = names.contains(&slot.name.as_str());
            slot.adapter = slot.adapter.clone().set_require_grad(slot.active);
        }
    }

    /// Chooses the adapters for the rows of a batch; without one, the active adapters count.
    pub(crate) fn with_batch(mut self, batch: Option<Arc<MixedBatch>>) -> Self {
        self.batch = batch;
        self
    }

    pub(crate) fn batch(&self) -> Option<&MixedBatch> {
        self.batch.as_deref()
    }

    pub(crate) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub(crate) fn update(&mut self, name: &str, f: impl FnOnce(LoraAdapter) -> LoraAdapter) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.name == name) {
            slot.adapter = f(slot.adapter.clone());
        }
    }

    pub(crate) fn reconfigure(&mut self, name: &str, config: &LoraConfig, scaling: f64) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.name == name) {
            slot.adapter.scaling = scaling;
            if *slot.config != *config {
                slot.config = Arc::new(config.clone());
            }
        }
    }

    /// Whether the adapter `name` is chosen to take part, be the adapters enabled or not.
    pub fn is_active(&self, name: &str) -> bool {
        self.slot(name).is_some_and(|slot| slot.active)
    }

    /// Whether the adapters are enabled; disabled ones leave the base as it is.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn mapped(mut self, mut f: impl FnMut(&str, LoraAdapter) -> LoraAdapter) -> Self {
        for slot in &mut self.slots {
            slot.adapter = f(&slot.name, slot.adapter.clone());
        }
        self
    }
}

impl Module for LoraAdapters {
    fn collect_devices(&self, devices: Devices) -> Devices {
        let slots = self.slots.iter();
        slots.fold(devices, |devices, slot| {
            slot.adapter.collect_devices(devices)
        })
    }

    fn fork(self, device: &Device) -> Self {
        self.mapped(|_, adapter| adapter.fork(device))
            .with_base(|base| base.to_device(device).detach())
    }

    fn to_device(self, device: &Device) -> Self {
        self.mapped(|_, adapter| adapter.to_device(device))
            .with_base(|base| base.to_device(device))
    }

    fn train(self) -> Self {
        self.mapped(|_, adapter| Module::train(adapter))
            .with_base(Tensor::from_inner)
    }

    fn valid(&self) -> Self {
        self.clone()
            .mapped(|_, adapter| adapter.valid())
            .with_base(Tensor::without_autodiff)
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        met(self);
        for slot in &self.slots {
            visitor.enter_module(&slot.name, Self::CONTAINER);
            slot.adapter.visit(visitor);
            visitor.exit_module(&slot.name, Self::CONTAINER);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.mapped(|name, adapter| {
            mapper.enter_module(name, Self::CONTAINER);
            let adapter = adapter.map(mapper);
            mapper.exit_module(name, Self::CONTAINER);
            adapter
        })
    }
}

impl ModuleDisplay for LoraAdapters {}

impl ModuleDisplayDefault for LoraAdapters {
    fn content(&self, content: Content) -> Option<Content> {
        let names: Vec<&str> = self.names().collect();
        content.add("lora", &names.join(", ")).optional()
    }
}
