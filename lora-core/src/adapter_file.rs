//! Adapter folders that PEFT reads and writes.
//!
//! A folder has `adapter_config.json` and `adapter_model.safetensors`; a key is
//! `base_model.model.<module path>.lora_A.weight`, shaped `[r, in]`, or `….lora_B.weight`,
//! `[out, r]`, and modules trained in full are there under their own names.

use std::collections::BTreeSet;
use std::path::Path;

use burn::module::Module;

use crate::file::{prepare_folder, write_atomically};
use crate::state::{ParameterInfo, load_state, parameters, state, transpose};
use crate::tensor_file::{Precision, TensorFile, write_tensors};
use crate::{LoraConfig, LoraError};

/// The name of the configuration in an adapter folder.
pub const CONFIG_NAME: &str = "adapter_config.json";
/// The name of the weights in an adapter folder.
pub const WEIGHTS_NAME: &str = "adapter_model.safetensors";
/// What PEFT puts before a module's path.
const PREFIX: &str = "base_model.model.";

/// Writes the adapters of `module`, and its modules trained in full, to `folder` as PEFT does.
///
/// The weights are written before the configuration, each atomically: a folder that has a
/// configuration is complete.
///
/// # Errors
///
/// [`LoraError::NotInjected`], [`LoraError::AlreadyExists`] if the folder holds anything and
/// `overwrite` is false, [`LoraError::Io`].
pub fn save_adapter<M: Module>(
    module: &M,
    config: &LoraConfig,
    folder: impl AsRef<Path>,
    overwrite: bool,
) -> Result<(), LoraError> {
    let folder = folder.as_ref();
    let entries = entries(module, config)?;
    prepare_folder(folder, overwrite)?;
    let paths: BTreeSet<&str> = entries.iter().map(|(info, _)| info.path.as_str()).collect();
    let values = state(module, |info| paths.contains(info.path.as_str()));
    let tensors = entries
        .iter()
        .zip(values)
        .map(|((info, key), (_, data))| {
            (
                key.clone(),
                if info.adapter { transpose(data) } else { data },
            )
        })
        .collect();
    write_tensors(&folder.join(WEIGHTS_NAME), tensors, Precision::F32)?;
    write_atomically(&folder.join(CONFIG_NAME), config.to_json().as_bytes())
}

/// Loads the weights of an adapter folder into `module`, into which `config` was injected.
///
/// ```no_run
/// # use lora_core::{LoraConfig, LoraError, load_adapter};
/// # fn load<M: burn::module::Module>(model: M) -> Result<M, LoraError> {
/// let config = LoraConfig::from_file("my-adapter")?;
/// let model = config.inject(model)?;
/// load_adapter(model, &config, "my-adapter")
/// # }
/// ```
///
/// # Errors
///
/// [`LoraError::Keys`] with every missing and unexpected key, [`LoraError::Shape`],
/// [`LoraError::Dtype`], [`LoraError::Safetensors`], [`LoraError::Io`].
pub fn load_adapter<M: Module>(
    module: M,
    config: &LoraConfig,
    folder: impl AsRef<Path>,
) -> Result<M, LoraError> {
    let file = TensorFile::open(folder.as_ref().join(WEIGHTS_NAME))?;
    let entries = entries(&module, config)?;
    let wanted: BTreeSet<String> = entries.iter().map(|(_, key)| key.clone()).collect();
    let found: BTreeSet<String> = file.names().into_iter().collect();
    if wanted != found {
        return Err(LoraError::Keys {
            path: file.path().to_path_buf(),
            missing: wanted.difference(&found).cloned().collect(),
            unexpected: found.difference(&wanted).cloned().collect(),
        });
    }
    let keys: std::collections::HashMap<String, String> = entries
        .into_iter()
        .map(|(info, key)| (info.path, key))
        .collect();
    load_state(module, |info| {
        let Some(key) = keys.get(&info.path) else {
            return Ok(None);
        };
        let mut shape = info.shape.clone();
        if info.adapter {
            shape.reverse();
        }
        let data = file.read(key, &shape)?;
        Ok(data.map(|data| if info.adapter { transpose(data) } else { data }))
    })
}

/// The parameters that belong to the adapter, in the module's order, each with its key.
fn entries<M: Module>(
    module: &M,
    config: &LoraConfig,
) -> Result<Vec<(ParameterInfo, String)>, LoraError> {
    let parameters = parameters(module);
    if !parameters.iter().any(|p| p.adapter) {
        return Err(LoraError::NotInjected);
    }
    let embeddings: BTreeSet<String> = parameters
        .iter()
        .filter(|p| p.is_embedding())
        .map(|p| p.path.clone())
        .collect();
    let saved = config.saved_module_names();
    let belongs = |p: &ParameterInfo| p.adapter || saved.iter().any(|name| is_in(p.module(), name));
    Ok(parameters
        .into_iter()
        .filter(belongs)
        .map(|info| {
            let key = key(&info, &embeddings);
            (info, key)
        })
        .collect())
}

/// Whether `module` is one that `modules_to_save` means by `name`, or lies in one.
fn is_in(module: &str, name: &str) -> bool {
    let ends = module
        .match_indices('.')
        .map(|(i, _)| i)
        .chain([module.len()]);
    ends.map(|end| &module[..end])
        .any(|path| path.ends_with(name))
}

fn key(info: &ParameterInfo, embeddings: &BTreeSet<String>) -> String {
    let Some((weight, factor)) = info.path.split_once(".lora.") else {
        return format!("{PREFIX}{}", info.name);
    };
    let module = weight.rsplit_once('.').map_or("", |(module, _)| module);
    let factor = factor.to_uppercase();
    match embeddings.contains(weight) {
        true => format!("{PREFIX}{module}.lora_embedding_{factor}"),
        false => format!("{PREFIX}{module}.lora_{factor}.weight"),
    }
}
