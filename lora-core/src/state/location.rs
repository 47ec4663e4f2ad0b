//! What a parameter is, by the place where a traversal meets it.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::parameter_info::{ParameterInfo, Role, is_embedding_owner, is_transposed_owner};
use crate::adapters::LoraAdapters;
use crate::modules_to_save::CONTAINER as SAVED_CONTAINER;

/// Where a traversal stands: the names entered so far, with the types that own them.
#[derive(Default)]
pub(crate) struct Location {
    names: Vec<String>,
    owners: Vec<String>,
}

impl Location {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.owners.push(container.to_string());
    }

    pub(crate) fn exit(&mut self) {
        self.names.pop();
        self.owners.pop();
    }

    /// The path of the parameter, or of whatever else, that was entered last.
    pub(crate) fn path(&self) -> String {
        self.names.join(".")
    }

    pub(super) fn describe<const D: usize>(&self, param: &Param<Tensor<D>>) -> ParameterInfo {
        let (role, adapter, depth) = self.attachment();
        // The base's part of the path decides names and layout of what is attached to it.
        let names = &self.names[..depth];
        let owner = depth.checked_sub(1).map_or("", |last| &self.owners[last]);
        let owner = owner.strip_prefix("Struct:").unwrap_or(owner).to_string();
        let field = names.last().map_or("", String::as_str);
        let published = match field {
            "gamma" if owner.ends_with("Norm") => "weight",
            "beta" if owner.ends_with("Norm") => "bias",
            other => other,
        };
        let factor = |linear, embedding| match is_embedding_owner(&owner) {
            true => embedding,
            false => linear,
        };
        let last = match role {
            Role::Base | Role::Saved => published,
            Role::LoraA => factor("lora_A.weight", "lora_embedding_A"),
            Role::LoraB => factor("lora_B.weight", "lora_embedding_B"),
            Role::Magnitude => "lora_magnitude_vector.weight",
        };
        let transposed = match role {
            Role::Base | Role::Saved => D == 2 && field == "weight" && is_transposed_owner(&owner),
            Role::LoraA | Role::LoraB => true,
            Role::Magnitude => false,
        };
        let module = &names[..names.len().saturating_sub(1)];
        let name = module.iter().map(String::as_str).chain([last]);
        let mut shape = param.lazy_shape().to_vec();
        if transposed {
            shape.reverse();
        }
        ParameterInfo {
            path: self.path(),
            name: name.collect::<Vec<_>>().join("."),
            shape,
            transposed,
            owner,
            trainable: configured_to_train(param),
            role,
            adapter,
        }
    }

    /// Whether this is inside of something attached to a parameter.
    pub(crate) fn is_attached(&self) -> bool {
        self.owners.iter().any(|o| o == "Reparameterization")
    }

    /// What the current parameter is to the adapters, the adapter's name, and how many of the
    /// path's parts are the base's.
    fn attachment(&self) -> (Role, Option<String>, usize) {
        let all = self.names.len();
        let base = (Role::Base, None, all);
        let Some(depth) = self.owners.iter().position(|o| o == "Reparameterization") else {
            return base;
        };
        let rest: Vec<&str> = self.names[depth..].iter().map(String::as_str).collect();
        let owner = self.owners.get(depth + 1).map(String::as_str);
        let role = match (owner, &rest[..]) {
            (Some(LoraAdapters::CONTAINER), [_, _, "a"]) => Role::LoraA,
            (Some(LoraAdapters::CONTAINER), [_, _, "b"]) => Role::LoraB,
            (Some(LoraAdapters::CONTAINER), [_, _, "magnitude"]) => Role::Magnitude,
            (Some(SAVED_CONTAINER), [_, _]) => Role::Saved,
            // Another crate's reparameterization.
            _ => return base,
        };
        (role, rest.get(1).map(|name| name.to_string()), depth)
    }
}

/// Whether `param` trains once the module is in training mode.
///
/// Burn keeps that setting apart from the tensor, so that it survives `valid()` and lazy
/// initialization, but does not show it. Loading carries it over to the loaded value: a single
/// number will do, and the parameter itself stays as lazy as it was.
fn configured_to_train<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    let device = param.lazy_device();
    let probe = Tensor::zeros([1; D], &device);
    let probe = param.clone().transform_for_load(probe, param.id);
    match device.is_autodiff() {
        true => probe.is_require_grad(),
        false => probe.train().is_require_grad(),
    }
}
