//! The adapted layers whose inputs EVA looks at.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Bool, Tensor};

use super::failed;
use super::positions::{counted, rows_of};
use super::recorder::Recorder;
use crate::init::incremental_pca::fingerprint;
use crate::state::{Role, parameters};
use crate::{LoraConfig, LoraError};

/// An adapted layer whose inputs are looked at.
pub(super) struct Layer {
    /// The path of its weight.
    pub(super) path: String,
    pub(super) module: String,
    pub(super) rank: usize,
    pub(super) inputs: usize,
    pub(super) recorder: Recorder,
    /// The first layer that gets the same input: that one's components are this one's too.
    pub(super) head: usize,
    /// The most components it may get.
    pub(super) most: usize,
}

/// The linear layers that the adapter `name` is on, in the module's order.
pub(super) fn layers<M: Module>(
    module: &M,
    name: &str,
    config: &LoraConfig,
) -> Result<Vec<Layer>, LoraError> {
    let mut layers: Vec<Layer> = Vec::new();
    for info in parameters(module) {
        if info.role != Role::LoraA || info.adapter.as_deref() != Some(name) {
            continue;
        }
        match info.owner.as_str() {
            "LoraLinear" | "LoraConv1D" => {}
            "Embedding" | "LoraEmbedding" => {
                log::warn!("EVA leaves {} as it is: it is an embedding", info.module());
                continue;
            }
            kind => {
                let message =
                    format!("its inputs cannot be seen, it is a {kind}: use `LoraLinear` there");
                return Err(failed(info.module(), message));
            }
        }
        layers.push(Layer {
            path: info.base_path().to_string(),
            module: info.module().to_string(),
            rank: config.rank_for(info.module())?,
            inputs: info.shape[1],
            recorder: Recorder::default(),
            head: layers.len(),
            most: 0,
        });
    }
    match layers.is_empty() {
        true => Err(failed(name, "the adapter is on no linear layer")),
        false => Ok(layers),
    }
}

/// Finds the layers that got the same input in the first batch, as query, key and value do.
pub(super) fn find_heads(
    layers: &mut [Layer],
    positions: Option<Tensor<2, Bool>>,
) -> Result<(), LoraError> {
    let rows = positions.map(rows_of);
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for (i, layer) in layers.iter_mut().enumerate() {
        let inputs = layer.recorder.take();
        let Some(input) = inputs.into_iter().next() else {
            return Err(failed(
                &layer.module,
                "the forward pass did not use the layer of the model that it was given",
            ));
        };
        let input = counted(&layer.module, input, rows.as_ref())?;
        layer.head = *seen.entry(fingerprint(&input.into_data())).or_insert(i);
    }
    Ok(())
}
