//! Modules trained in full beside the adapters: PEFT's `modules_to_save`.

use std::sync::Arc;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param, Reparameterization,
};
use burn::tensor::{Device, Tensor};

use crate::adapters::MixedBatch;
use crate::adapters::attachments::{aside, met};

/// What the copies call their container in a traversal.
pub(crate) const CONTAINER: &str = "SavedCopies";

/// The copies of one parameter that adapters train in its place; the original stays frozen.
///
/// Each adapter has a copy of its own, at `<parameter>.modules_to_save.<adapter>`. The parameter's
/// value is the active adapter's copy, or the original if none is active. In a mixed batch
/// ([`LoraModule::for_rows`](crate::LoraModule::for_rows)) each row has its own adapter's copy, or
/// the original: this crate's layers then read a value for each group of rows.
#[derive(Debug, Clone)]
pub struct SavedCopies<const D: usize> {
    copies: Vec<(String, Param<Tensor<D>>)>,
    active: Option<String>,
    enabled: bool,
    /// The batch whose rows say which copy they take, in place of the active one.
    batch: Option<Arc<MixedBatch>>,
}

impl<const D: usize> SavedCopies<D> {
    pub(crate) fn new() -> Self {
        Self {
            copies: Vec::new(),
            active: None,
            enabled: true,
            batch: None,
        }
    }

    /// The copy of the adapter `name`.
    pub fn get(&self, name: &str) -> Option<&Param<Tensor<D>>> {
        let mut copies = self.copies.iter();
        copies.find_map(|(n, copy)| (n == name).then_some(copy))
    }

    /// The adapters that have a copy, in the order they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.copies.iter().map(|(name, _)| name.as_str())
    }

    /// The adapter whose copy is the parameter's value; `None` if it is the original, or if the
    /// rows of a mixed batch take different ones.
    pub fn active(&self) -> Option<&str> {
        let active = match &self.batch {
            Some(_) if self.mixed().is_some() => None,
            Some(batch) => self.names().find(|name| batch.names(name)),
            None => self.active.as_deref(),
        };
        active.filter(|_| self.enabled)
    }

    /// Whether the copy of the adapter `name` is chosen, be the copies enabled or not.
    pub fn is_active(&self, name: &str) -> bool {
        self.active.as_deref() == Some(name)
    }

    /// Whether the copies are enabled; disabled ones leave the original in its place.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The batch whose rows take different values of the parameter.
    pub(crate) fn mixed(&self) -> Option<&MixedBatch> {
        let batch = self.batch.as_deref();
        batch.filter(|batch| !batch.agrees(|name| self.get(name).is_some()))
    }

    /// Chooses the adapters for the rows of a batch; without one, the active copy counts.
    pub(crate) fn with_batch(mut self, batch: Option<Arc<MixedBatch>>) -> Self {
        self.batch = batch;
        self
    }

    pub(crate) fn push(&mut self, name: &str, copy: Param<Tensor<D>>) {
        self.copies.push((name.to_string(), copy));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.copies.retain(|(n, _)| n != name);
        if self.active.as_deref() == Some(name) {
            self.active = None;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// Makes the copy of one of `names` the parameter's value, and the only one that is trained.
    pub(crate) fn activate(&mut self, names: &[&str]) {
        let active = self.names().find(|name| names.contains(name));
        self.active = active.map(String::from);
        self.map_copies(|name, copy| copy.set_require_grad(names.contains(&name)));
    }

    pub(crate) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub(crate) fn train_copy(&mut self, name: &str, require_grad: bool) {
        self.map_copies(|n, copy| match n == name {
            true => copy.set_require_grad(require_grad),
            false => copy,
        });
    }

    fn map_copies(&mut self, mut f: impl FnMut(&str, Param<Tensor<D>>) -> Param<Tensor<D>>) {
        for (name, copy) in &mut self.copies {
            *copy = f(name, copy.clone());
        }
    }

    fn mapped(mut self, f: impl FnMut(&str, Param<Tensor<D>>) -> Param<Tensor<D>>) -> Self {
        self.map_copies(f);
        self
    }
}

/// The value of `param` for rows that go through `adapter`: that adapter's copy if it has one, or
/// else the original.
pub(crate) fn value_for<const D: usize>(
    param: &Param<Tensor<D>>,
    adapter: Option<&str>,
) -> Tensor<D> {
    let copies = param.reparameterization::<SavedCopies<D>>();
    let copy = copies
        .zip(adapter)
        .and_then(|(copies, name)| copies.get(name));
    copy.map_or_else(|| param.base(), Param::val)
}

impl<const N: usize> Reparameterization for SavedCopies<N> {
    const NAME: &'static str = "modules_to_save";

    /// # Panics
    ///
    /// Panics if the rows of a mixed batch take different values, so that no one is right for all.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        if aside() {
            return base;
        }
        if let Some(batch) = &self.batch {
            let is_one = self.mixed().is_none();
            batch.require_one_value(is_one, "take different copies of it (`modules_to_save`)");
        }
        let active = self.active().and_then(|name| self.get(name));
        active.map_or(base, |copy| {
            let value = copy.val();
            let shape = value.shape();
            value.reshape(shape)
        })
    }
}

impl<const D: usize> Module for SavedCopies<D> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        let copies = self.copies.iter();
        copies.fold(devices, |devices, (_, copy)| copy.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        self.mapped(|_, copy| copy.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.mapped(|_, copy| copy.to_device(device))
    }

    fn train(self) -> Self {
        self.mapped(|_, copy| Module::train(copy))
    }

    fn valid(&self) -> Self {
        self.clone().mapped(|_, copy| copy.valid())
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        met(self);
        for (name, copy) in &self.copies {
            visitor.enter_module(name, CONTAINER);
            copy.visit(visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.mapped(|name, copy| {
            mapper.enter_module(name, CONTAINER);
            let copy = Module::map(copy, mapper);
            mapper.exit_module(name, CONTAINER);
            copy
        })
    }
}

impl<const D: usize> ModuleDisplay for SavedCopies<D> {}

impl<const D: usize> ModuleDisplayDefault for SavedCopies<D> {
    fn content(&self, content: Content) -> Option<Content> {
        let names: Vec<&str> = self.names().collect();
        content.add("modules_to_save", &names.join(", ")).optional()
    }
}
