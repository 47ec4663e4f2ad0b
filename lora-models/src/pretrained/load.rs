//! Filling a model from a checkpoint, under all names its tensors have had.

use std::collections::BTreeSet;
use std::path::Path;

use burn::module::Module;
use lora_core::quantization::{LoadedWeight, PackedWeight, QuantizationConfig, load_quantized};
use lora_core::state::{ParameterInfo, initialize, parameters};
use lora_core::{FrozenReport, LoraError};

use super::{LoadReport, PretrainedConfig};
use crate::ModelError;
use crate::checkpoint::Checkpoint;

/// The model with the weights that lie in `folder`.
pub(super) fn load<M: Module, C: PretrainedConfig>(
    model: M,
    config: &C,
    folder: &Path,
    quantization: Option<&QuantizationConfig>,
) -> Result<(M, LoadReport), ModelError> {
    let checkpoint = Checkpoint::open(folder)?;
    let prefix = format!("{}.", config.base_prefix());
    let mut used = BTreeSet::new();
    let mut absent = Vec::new();
    let model = load_quantized(model, quantization, |info| {
        match spellings(&info.name, &prefix).find(|name| checkpoint.contains(name)) {
            Some(name) => {
                let data = read(&checkpoint, &name, info)?;
                if let Some(LoadedWeight::Packed(_)) = data {
                    let parts = checkpoint.names();
                    let parts = parts.filter(|part| PackedWeight::is_part(&name, part));
                    used.extend(parts.map(String::from));
                }
                used.insert(name);
                Ok(data)
            }
            None => {
                absent.push(info.name.clone());
                Ok(None)
            }
        }
    })?;
    let unused: Vec<String> = checkpoint
        .names()
        .filter(|name| !used.contains(*name) && !C::is_derived(name))
        .map(String::from)
        .collect();

    let is_head = |name: &str| {
        let bare = name.strip_prefix(&prefix).unwrap_or(name);
        C::HEADS.iter().any(|head| bare.starts_with(head))
    };
    // A head is the model's own or it is not there at all: half a head is a broken file.
    let whole_head_absent = parameters(&model)
        .iter()
        .filter(|p| is_head(&p.name) && !p.name.starts_with(&prefix))
        .all(|p| absent.contains(&p.name));
    let missing: Vec<String> = absent
        .iter()
        .filter(|name| !(is_head(name) && whole_head_absent))
        .cloned()
        .collect();
    let unexpected: Vec<String> = unused
        .iter()
        .filter(|name| !is_head(name))
        .cloned()
        .collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        let path = checkpoint.path().to_path_buf();
        return Err(LoraError::Keys {
            path,
            missing,
            unexpected,
        }
        .into());
    }
    initialize(&model);
    let report = LoadReport {
        loaded: used.len(),
        fresh: absent,
        unused,
    };
    Ok((model, report))
}

/// How far the frozen parameters of `model` are from those in `folder`.
pub(super) fn verify_frozen<M: Module, C: PretrainedConfig>(
    model: &M,
    config: &C,
    folder: &Path,
) -> Result<FrozenReport, ModelError> {
    let checkpoint = Checkpoint::open(folder)?;
    let prefix = format!("{}.", config.base_prefix());
    let report = FrozenReport::of(model, |info| {
        let mut names = spellings(&info.name, &prefix);
        let Some(name) = names.find(|name| checkpoint.contains(name)) else {
            return Ok(None);
        };
        Ok(read(&checkpoint, &name, info)?.map(|data| match data {
            LoadedWeight::Values(data) => data,
            LoadedWeight::Packed(weight) => weight.values_as(info),
        }))
    });
    Ok(report?)
}

/// Tensor `name` as the checkpoint has it: in few bits or not.
fn read(
    checkpoint: &Checkpoint,
    name: &str,
    info: &ParameterInfo,
) -> Result<Option<LoadedWeight>, LoraError> {
    if let ([rows, columns], true) = (&info.shape[..], info.is_linear()) {
        // GPT-2's `Conv1D` is a linear layer in few bits.
        let shape = match info.transposed {
            true => [*rows, *columns],
            false => [*columns, *rows],
        };
        if let Some(packed) = checkpoint.read_packed(name, shape)? {
            return Ok(Some(LoadedWeight::Packed(packed)));
        }
    }
    let data = checkpoint.read(name, &info.shape)?;
    Ok(data.map(LoadedWeight::Values))
}

/// The names a parameter has had in checkpoints: with and without the architecture's prefix, and
/// TensorFlow's names for LayerNorm's weights.
fn spellings(name: &str, prefix: &str) -> impl Iterator<Item = String> {
    let bare = name.strip_prefix(prefix).map(String::from);
    let plain = [Some(name.to_string()), bare].into_iter().flatten();
    plain.flat_map(|name| {
        let old = match name.rsplit_once("LayerNorm.") {
            Some((module, "weight")) => Some(format!("{module}LayerNorm.gamma")),
            Some((module, "bias")) => Some(format!("{module}LayerNorm.beta")),
            _ => None,
        };
        [Some(name), old].into_iter().flatten()
    })
}
