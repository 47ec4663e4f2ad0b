//! An adapter that took its start out of the base, as plain LoRA of the original.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;

use super::residual::require_held;
use crate::adapters::attachments::collect;
use crate::state::Role;
use crate::{InitLoraWeights, LoraConfig, LoraError, LoraModule, adapter_file};

/// What [`LoraModule::save_adapter_as_lora`] does.
///
/// With `W = W_rest + s·A₀·B₀` the adapted weight is `W_rest + s·A·B = W + s·(A·B - A₀·B₀)`, which is
/// the update of the factors `[A, A₀]` and `[B; -B₀]`.
pub(crate) fn save_as_lora<M: Module>(
    module: &M,
    name: &str,
    folder: &Path,
    overwrite: bool,
) -> Result<(), LoraError> {
    let config = module.adapter_config(name)?;
    let converted = converted(name, &config)?;
    require_held(module, name)?;
    let attachments = collect(module);
    let starts: BTreeMap<&str, &[TensorData; 2]> = attachments
        .lora()
        .filter_map(|(path, all)| Some((path, all.residual()?)))
        .filter(|(_, residual)| residual.adapter() == name)
        .filter_map(|(path, residual)| Some((path, residual.start()?)))
        .collect();
    adapter_file::save_changed(module, name, &converted, folder, overwrite, |info, data| {
        let start = starts.get(info.base_path());
        Ok(match info.role {
            Role::LoraA => {
                let scaling = config.scaling_for(info.module())?;
                with_rows(data, start.map(|[a, _]| a), scaling)
            }
            Role::LoraB => with_columns(data, start.map(|[_, b]| b)),
            _ => data,
        })
    })
}

/// The configuration of twice the rank, with the same scaling: PEFT's rules.
fn converted(name: &str, config: &LoraConfig) -> Result<LoraConfig, LoraError> {
    let init = config.init_lora_weights;
    let message = match init {
        InitLoraWeights::LoftQ => Some(
            "LoftQ quantized the base, which differs from the original by more than a low-rank \
             update: save it with `save_adapter`, and load that over the same base"
                .to_string(),
        ),
        _ if !init.changes_base() => Some(format!(
            "its initialisation, `init_lora_weights` = {init}, did not change the base: \
             `save_adapter` writes it as it is"
        )),
        _ if config.use_rslora
            && !(config.rank_pattern.is_empty() && config.alpha_pattern.is_empty()) =>
        {
            Some(
                "`use_rslora` with `rank_pattern` or `alpha_pattern` has no such form: save it \
                 with `save_adapter`"
                    .to_string(),
            )
        }
        _ => None,
    };
    if let Some(message) = message {
        return Err(LoraError::NotConvertible {
            adapter: name.to_string(),
            message,
        });
    }
    let mut converted = config.clone();
    converted.init_lora_weights = InitLoraWeights::Kaiming;
    converted.r *= 2;
    converted.lora_alpha *= match config.use_rslora {
        true => 2f64.sqrt(),
        false => 2.0,
    };
    converted.rank_pattern.values_mut().for_each(|r| *r *= 2);
    converted
        .alpha_pattern
        .values_mut()
        .for_each(|alpha| *alpha *= 2.0);
    Ok(converted)
}

/// `[r, d_in]` with as many rows below: `start`, `[d_in, r]`, over the scaling, or zeros.
fn with_rows(data: TensorData, start: Option<&TensorData>, scaling: f64) -> TensorData {
    let [r, d_in] = dims(&data);
    let mut values: Vec<f32> = data.iter().collect();
    values.resize(2 * r * d_in, 0.0);
    // An adapter without effect has none twice over.
    if let Some(start) = start.filter(|_| scaling != 0.0) {
        for (i, value) in start.iter::<f32>().enumerate() {
            let (feature, row) = (i / r, i % r);
            values[(r + row) * d_in + feature] = (f64::from(value) / scaling) as f32;
        }
    }
    TensorData::new(values, [2 * r, d_in])
}

/// `[d_out, r]` with as many columns beside: `start`, `[r, d_out]`, negative, or zeros.
fn with_columns(data: TensorData, start: Option<&TensorData>) -> TensorData {
    let [d_out, r] = dims(&data);
    let mut values = vec![0.0; d_out * 2 * r];
    for (i, value) in data.iter::<f32>().enumerate() {
        values[i / r * 2 * r + i % r] = value;
    }
    for (i, value) in start
        .iter()
        .flat_map(|start| start.iter::<f32>())
        .enumerate()
    {
        values[i % d_out * 2 * r + r + i / d_out] = -value;
    }
    TensorData::new(values, [d_out, 2 * r])
}

fn dims(data: &TensorData) -> [usize; 2] {
    let shape = data.shape();
    [shape[0], shape[1]]
}
