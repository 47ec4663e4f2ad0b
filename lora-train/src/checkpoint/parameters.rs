//! The values of what trains.

use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;
use lora_core::LoraError;
use lora_core::state::{ParameterInfo, Role, load_state, values};

use crate::TrainError;

/// Values by the path of their parameter, in the layout of [`values`].
pub(crate) type Parameters = Vec<(String, TensorData)>;

/// Whether a parameter belongs into a checkpoint: what trains, and all of the adapters, as LoRA-FA's
/// `A` does not train and is in no base checkpoint either.
fn belongs(info: &ParameterInfo) -> bool {
    info.trainable || info.role != Role::Base
}

/// The values of what trains.
pub(crate) fn trained<M: Module>(model: &M) -> Parameters {
    let values = values(model, belongs).into_iter();
    values.map(|(info, data)| (info.path, data)).collect()
}

/// `model` with the values that `source` has for everything that belongs into a checkpoint, which is
/// read from `path`.
pub(crate) fn restore<M: Module>(
    model: M,
    path: &Path,
    source: impl Fn(&ParameterInfo) -> Result<Option<TensorData>, LoraError>,
) -> Result<M, TrainError> {
    let restored = load_state(model, |info| {
        if !belongs(info) {
            return Ok(None);
        }
        match source(info)? {
            Some(data) => Ok(Some(data)),
            None => Err(LoraError::Keys {
                path: path.to_path_buf(),
                missing: vec![info.path.clone()],
                unexpected: Vec::new(),
            }),
        }
    });
    Ok(restored?)
}
