//! Finding the components of the layers' inputs, batch by batch.

use burn::tensor::{Bool, Tensor};

use super::failed;
use super::layers::Layer;
use super::positions::{counted, rows_of};
use crate::LoraError;
use crate::init::incremental_pca::IncrementalPca;

/// The components of a layer that is its own head.
pub(super) struct Search {
    pub(super) pca: IncrementalPca,
    /// Which components did not move with the last input.
    pub(super) converged: Vec<bool>,
    /// Whether those that the layer is to get have converged.
    pub(super) done: bool,
}

/// Sets the most components that each layer may get, and begins the search of each head.
pub(super) fn searches(layers: &mut [Layer], rho: f64) -> Result<Vec<Option<Search>>, LoraError> {
    let mut most = vec![0; layers.len()];
    for layer in layers.iter() {
        let own = (layer.rank as f64 * rho).round_ties_even() as usize;
        if own > layer.inputs {
            let message = format!(
                "`rho` times its rank is {own}, and it has only {} inputs: lower `rho` or `r`",
                layer.inputs
            );
            return Err(failed(&layer.module, message));
        }
        most[layer.head] = own.max(most[layer.head]);
    }
    for layer in layers.iter_mut() {
        layer.most = most[layer.head];
    }
    let search = |(i, layer): (usize, &Layer)| {
        (layer.head == i).then(|| Search {
            pca: IncrementalPca::new(layer.most),
            converged: vec![false; layer.most],
            done: false,
        })
    };
    Ok(layers.iter().enumerate().map(search).collect())
}

/// Whether all components that are to be used have converged.
pub(super) fn settled(searches: &mut [Option<Search>], ranks: &[usize]) -> bool {
    let mut all = true;
    for (search, rank) in searches.iter_mut().zip(ranks) {
        if let Some(search) = search {
            search.done = search.converged.iter().take(*rank).all(|c| *c);
            all &= search.done;
        }
    }
    all
}

/// Takes the inputs of a batch into the components that have not converged.
pub(super) fn look(
    layers: &[Layer],
    searches: &mut [Option<Search>],
    positions: Option<Tensor<2, Bool>>,
    tau: f64,
) -> Result<(), LoraError> {
    let rows = positions.map(rows_of);
    for (layer, search) in layers.iter().zip(searches) {
        let inputs = layer.recorder.take();
        let Some(search) = search.as_mut().filter(|search| !search.done) else {
            continue;
        };
        for input in inputs {
            let input = counted(&layer.module, input, rows.as_ref())?;
            let count = search.pca.count();
            if input.dims()[0] < count {
                log::warn!(
                    "EVA leaves a batch out for {}: it has fewer than {count} vectors",
                    layer.module
                );
                continue;
            }
            let before = search.pca.components().cloned();
            if search.pca.add(input).is_none() {
                return Err(failed(&layer.module, "its inputs are not all finite"));
            }
            if let (Some(before), Some(now)) = (before, search.pca.components()) {
                let pairs = before.vectors.column_iter().zip(now.vectors.column_iter());
                search.converged = pairs.map(|(a, b)| a.dot(&b) >= tau).collect();
            }
        }
    }
    Ok(())
}
