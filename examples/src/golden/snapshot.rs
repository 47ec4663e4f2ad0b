//! A module's parameters and gradients under PEFT's names and in PyTorch's layout.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use lora_core::state::{ParameterInfo, Role, parameters};

/// One parameter at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// PEFT's name: the module path, then `lora_A.weight` and so on for an adapter's factors.
    pub name: String,
    /// Whether it is configured to be trained.
    pub trainable: bool,
    /// Its value.
    pub value: TensorData,
    /// Its gradient, if it has one.
    pub gradient: Option<TensorData>,
}

/// Every parameter of `module` that is used, with its gradient where `gradients` has one.
pub fn snapshots<M: Module>(module: &M, gradients: Option<&Gradients>) -> Vec<Snapshot> {
    let infos = parameters(module);
    let replaced: BTreeSet<String> = infos
        .iter()
        .filter(|p| p.role == Role::Saved)
        .map(|p| p.base_path().to_string())
        .collect();
    let mut visitor = Visitor {
        infos: infos.into_iter(),
        replaced,
        gradients,
        found: Vec::new(),
    };
    module.visit(&mut visitor);
    visitor.found
}

struct Visitor<'a> {
    /// In the order of the visit.
    infos: std::vec::IntoIter<ParameterInfo>,
    /// Originals of modules trained in full: their copies go by the same names.
    replaced: BTreeSet<String>,
    gradients: Option<&'a Gradients>,
    found: Vec<Snapshot>,
}

impl ModuleVisitor for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(info) = self.infos.next() else {
            return;
        };
        if self.replaced.contains(&info.path) {
            return;
        }
        let published = |tensor: Tensor<D>| match info.transposed {
            true => tensor.transpose().into_data(),
            false => tensor.into_data(),
        };
        let base = param.base();
        let gradient = self.gradients.and_then(|gradients| base.grad(gradients));
        self.found.push(Snapshot {
            name: info.name,
            trainable: info.trainable,
            gradient: gradient.map(published),
            value: published(base.without_autodiff()),
        });
    }
}
