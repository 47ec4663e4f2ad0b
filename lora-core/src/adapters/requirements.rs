//! What a call on a model's adapters requires of them.

use burn::module::Module;

use super::LoraModule;
use super::attachments::{Attachments, collect};
use crate::init::same_start;
use crate::{LoraConfig, LoraError};

pub(super) fn require_any<M: Module>(module: &M) -> Result<(), LoraError> {
    match collect(module).has_adapters() {
        true => Ok(()),
        false => Err(LoraError::NotInjected),
    }
}

pub(super) fn require<M: Module>(module: &M, names: &[&str]) -> Result<(), LoraError> {
    let present = module.adapter_names();
    let absent = names
        .iter()
        .find(|name| !present.iter().any(|p| p == *name));
    match absent {
        None => Ok(()),
        Some(name) => Err(no_adapter(module, name)),
    }
}

pub(super) fn no_adapter<M: Module>(module: &M, name: &str) -> LoraError {
    LoraError::NoAdapter {
        adapter: name.to_string(),
        present: module.adapter_names(),
    }
}

pub(super) fn require_unmerged<M: Module>(module: &M, name: &str) -> Result<(), LoraError> {
    let attachments = collect(module);
    let merged = attachments
        .lora()
        .any(|(_, all)| all.merged().iter().any(|n| n == name));
    match merged {
        false => Ok(()),
        true => Err(LoraError::AdapterMerged {
            adapter: name.to_string(),
        }),
    }
}

/// Fails if an adapter with the configuration `after` cannot take the place of the adapter `name`.
pub(super) fn require_swappable(
    name: &str,
    before: &LoraConfig,
    after: &LoraConfig,
) -> Result<(), LoraError> {
    let differing = |field, before: String, after: String, expected| {
        Err(LoraError::ConfigValue {
            field,
            value: format!("{after} in the folder and {before} in adapter {name:?}"),
            expected,
        })
    };
    if !same_start(before, after) {
        let (before, after) = (before.init_lora_weights, after.init_lora_weights);
        return differing(
            "init_lora_weights",
            before.to_string(),
            after.to_string(),
            "adapters that take the same start out of the base, or none: use `delete_adapter` and \
             `load_adapter`",
        );
    }
    let expected = "the same in both: use `delete_adapter` and `load_adapter`";
    if before.lora_dropout != after.lora_dropout {
        let (before, after) = (before.lora_dropout, after.lora_dropout);
        return differing(
            "lora_dropout",
            before.to_string(),
            after.to_string(),
            expected,
        );
    }
    if before.bias != after.bias {
        let (before, after) = (before.bias, after.bias);
        return differing(
            "bias",
            format!("{before:?}"),
            format!("{after:?}"),
            expected,
        );
    }
    Ok(())
}

pub(super) fn one_copy_each(attachments: &Attachments, names: &[&str]) -> Result<(), LoraError> {
    for saved in attachments.saved() {
        let owners = saved.owners.iter().filter(|name| names.contains(name));
        let adapters: Vec<String> = owners.map(|name| name.to_string()).collect();
        if adapters.len() > 1 {
            return Err(LoraError::SavedByBoth {
                parameter: saved.path.to_string(),
                adapters,
            });
        }
    }
    Ok(())
}
