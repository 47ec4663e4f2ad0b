//! Adapter folders that PEFT reads and writes.
//!
//! A folder has `adapter_config.json` and `adapter_model.safetensors`; a key is
//! `base_model.model.<module path>.lora_A.weight`, shaped `[r, in]`, or `….lora_B.weight`,
//! `[out, r]`, and modules trained in full are there under their own names. The adapter's name is
//! not in the file: a folder is loaded under any name.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;

use crate::file::{prepare_folder, write_atomically};
use crate::init::WeightKind;
use crate::state::{ParameterInfo, Role, load_state, parameters};
use crate::tensor_file::{Precision, TensorFile, write_tensors};
use crate::{Bias, InjectionPlan, LoraConfig, LoraError};

/// The name of the configuration in an adapter folder.
pub const CONFIG_NAME: &str = "adapter_config.json";
/// The name of the weights in an adapter folder.
pub const WEIGHTS_NAME: &str = "adapter_model.safetensors";
/// What PEFT puts before a module's path.
pub(crate) const PREFIX: &str = "base_model.model.";

/// Writes the adapter `name`.
///
/// The weights are written before the configuration, each atomically: a folder that has a
/// configuration is complete.
pub(crate) fn save<M: Module>(
    module: &M,
    name: &str,
    config: &LoraConfig,
    folder: &Path,
    overwrite: bool,
) -> Result<(), LoraError> {
    save_changed(module, name, config, folder, overwrite, |_, data| Ok(data))
}

/// As [`save`], with each tensor as `change` gives it.
pub(crate) fn save_changed<M: Module>(
    module: &M,
    name: &str,
    config: &LoraConfig,
    folder: &Path,
    overwrite: bool,
    change: impl Fn(&ParameterInfo, TensorData) -> Result<TensorData, LoraError>,
) -> Result<(), LoraError> {
    let mut entries = entries(module, name, config);
    entries.extend(bias_entries(module, name, config));
    prepare_folder(folder, overwrite)?;
    let values: HashMap<String, _> = {
        let paths: BTreeSet<&str> = entries.iter().map(|(info, _)| info.path.as_str()).collect();
        crate::state::values(module, |info| paths.contains(info.path.as_str()))
            .into_iter()
            .map(|(info, data)| Ok((info.path.clone(), change(&info, data)?)))
            .collect::<Result<_, LoraError>>()?
    };
    let tensors = entries
        .into_iter()
        .filter_map(|(info, key)| Some((key, values.get(&info.path)?.clone())))
        .collect();
    write_tensors(&folder.join(WEIGHTS_NAME), tensors, Precision::F32)?;
    write_atomically(&folder.join(CONFIG_NAME), config.to_json().as_bytes())
}

/// Fails if the weights in `folder` have another rank than `plan` says: before the factors take up
/// memory, which a rank that is not the file's could ask any amount of.
pub(crate) fn require_ranks<M: Module>(
    module: &M,
    plan: &InjectionPlan,
    folder: &Path,
) -> Result<(), LoraError> {
    let file = TensorFile::open(folder.join(WEIGHTS_NAME))?;
    for info in parameters(module) {
        let Some(new) = plan.new_adapter(&info.path) else {
            continue;
        };
        let factor = match new.kind {
            WeightKind::Linear => "lora_A.weight",
            WeightKind::Embedding => "lora_embedding_A",
        };
        let inputs = info.shape[usize::from(info.transposed)];
        let tensor = format!("{PREFIX}{}.{factor}", info.module());
        let path = file.path().to_path_buf();
        match file.shape(&tensor) {
            Some(found) if found == [new.rank, inputs] => {}
            Some(found) => {
                return Err(LoraError::Shape {
                    path,
                    tensor,
                    found: found.to_vec(),
                    expected: vec![new.rank, inputs],
                });
            }
            // What is missing is reported together with all else that is, if there is room to look.
            None if new.rank <= inputs => {}
            None => {
                return Err(LoraError::Keys {
                    path,
                    missing: vec![tensor],
                    unexpected: Vec::new(),
                });
            }
        }
    }
    Ok(())
}

/// Loads the weights in `folder` into the adapter `name`, which `config` describes.
pub(crate) fn load<M: Module>(
    module: M,
    name: &str,
    config: &LoraConfig,
    folder: &Path,
) -> Result<M, LoraError> {
    let file = TensorFile::open(folder.join(WEIGHTS_NAME))?;
    let entries = entries(&module, name, config);
    let wanted: BTreeSet<String> = entries.iter().map(|(_, key)| key.clone()).collect();
    let repeated = |key: &String| config.bias == Bias::All && repeats_a_bias(key);
    let found: BTreeSet<String> = file.names().into_iter().filter(|k| !repeated(k)).collect();
    if wanted != found {
        return Err(LoraError::Keys {
            path: file.path().to_path_buf(),
            missing: wanted.difference(&found).cloned().collect(),
            unexpected: found.difference(&wanted).cloned().collect(),
        });
    }
    let keys: HashMap<String, String> = entries
        .into_iter()
        .map(|(info, key)| (info.path, key))
        .collect();
    load_state(module, |info| match keys.get(&info.path) {
        Some(key) => file.read(key, &info.shape),
        None => Ok(None),
    })
}

/// The parameters that belong to the adapter, in the module's order, each with its key.
fn entries<M: Module>(module: &M, name: &str, config: &LoraConfig) -> Vec<(ParameterInfo, String)> {
    let parameters = parameters(module);
    let own = |p: &&ParameterInfo| p.adapter.as_deref() == Some(name);
    let adapted: BTreeSet<String> = parameters
        .iter()
        .filter(own)
        .filter(|p| p.is_lora())
        .map(|p| p.module().to_string())
        .collect();
    let saved: BTreeSet<String> = parameters
        .iter()
        .filter(|p| p.role == Role::Saved)
        .map(|p| p.base_path().to_string())
        .collect();
    let key = |p: &ParameterInfo| {
        let in_adapted = adapted.contains(p.module());
        let is_bias = p.role == Role::Base && p.name.rsplit('.').next() == Some("bias");
        let trained = match config.bias {
            Bias::None => false,
            Bias::All => is_bias && !saved.contains(&p.path),
            Bias::LoraOnly => is_bias && in_adapted,
        };
        match (p.adapter.as_deref() == Some(name), trained, in_adapted) {
            // PEFT writes this one without the `.weight` that its parameter has.
            (true, ..) if p.role == Role::Magnitude => {
                Some(format!("{PREFIX}{}.lora_magnitude_vector", p.module()))
            }
            (true, ..) => Some(format!("{PREFIX}{}", p.name)),
            (false, true, true) => Some(format!("{PREFIX}{}.base_layer.bias", p.module())),
            (false, true, false) => Some(format!("{PREFIX}{}", p.name)),
            (false, false, _) => None,
        }
    };
    let keyed = parameters.iter().filter_map(|p| Some((p.clone(), key(p)?)));
    keyed.collect()
}

/// The further keys that PEFT writes for `bias = "all"`: the biases of a module trained in full
/// once more, under its wrapper's names.
fn bias_entries<M: Module>(
    module: &M,
    name: &str,
    config: &LoraConfig,
) -> Vec<(ParameterInfo, String)> {
    if config.bias != Bias::All {
        return Vec::new();
    }
    let saved = config.saved_module_names();
    let parameters = parameters(module);
    let copies = parameters.iter().filter(|p| {
        let is_bias = p.name.rsplit('.').next() == Some("bias");
        is_bias && p.role == Role::Saved && p.adapter.as_deref() == Some(name)
    });
    let mut entries = Vec::new();
    for copy in copies {
        let Some(root) = saved_root(copy.module(), &saved) else {
            continue;
        };
        let rest = copy.name.strip_prefix(root).unwrap_or_default();
        let original = parameters.iter().find(|p| p.path == copy.base_path());
        let key = |wrapper: &str| format!("{PREFIX}{root}.{wrapper}{rest}");
        // PEFT takes its adapter's name out of a key only where it is the last part but one.
        let wrapper = match rest {
            ".bias" => "modules_to_save",
            _ => "modules_to_save.default",
        };
        entries.push((copy.clone(), key(wrapper)));
        entries.extend(original.map(|original| (original.clone(), key("original_module"))));
    }
    entries
}

/// Whether a key is one of those that [`bias_entries`] writes.
fn repeats_a_bias(key: &str) -> bool {
    let wrapped = key.contains(".modules_to_save.") || key.contains(".original_module.");
    wrapped && key.ends_with("bias")
}

/// The outermost module around `module` that `modules_to_save` means.
pub(crate) fn saved_root<'a>(module: &'a str, names: &[String]) -> Option<&'a str> {
    let ends = module
        .match_indices('.')
        .map(|(i, _)| i)
        .chain([module.len()]);
    ends.map(|end| &module[..end])
        .find(|path| names.iter().any(|name| path.ends_with(name.as_str())))
}
