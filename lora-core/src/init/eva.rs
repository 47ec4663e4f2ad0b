//! EVA (Paischer et al. 2024): `A` and the ranks from the layers' inputs.

mod assign;
mod positions;
mod ranks;
mod recorder;

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Bool, Tensor};

use super::decomposition::Matrix;
use super::incremental_pca::{IncrementalPca, fingerprint};
use crate::adapters::attachments::{collect, edit};
use crate::config::EvaConfig;
use crate::state::{Role, parameters};
use crate::{InitLoraWeights, LoraConfig, LoraError, LoraModule};
use assign::Assign;
use positions::{counted, rows_of};
use ranks::{Share, distribute, largest_rho, redistributed};
use recorder::Observe;
pub(crate) use recorder::Recorder;

/// An adapted layer whose inputs are looked at.
struct Layer {
    /// The path of its weight.
    path: String,
    module: String,
    rank: usize,
    inputs: usize,
    recorder: Recorder,
    /// The first layer that gets the same input: that one's components are this one's too.
    head: usize,
    /// The most components it may get.
    most: usize,
}

/// The components of a layer that is its own head.
struct Search {
    pca: IncrementalPca,
    /// Which components did not move with the last input.
    converged: Vec<bool>,
    /// Whether those that the layer is to get have converged.
    done: bool,
}

/// What [`LoraModule::initialize_eva`] does.
pub(crate) fn initialize<M: Module, T: Clone>(
    module: M,
    name: &str,
    batches: impl IntoIterator<Item = T>,
    mut forward: impl FnMut(&M, T) -> Option<Tensor<2, Bool>>,
) -> Result<M, LoraError> {
    let config = module.adapter_config(name)?;
    if config.init_lora_weights != InitLoraWeights::Eva {
        return Err(LoraError::ConfigValue {
            field: "init_lora_weights",
            value: format!("{} for adapter {name:?}", config.init_lora_weights),
            expected: "eva",
        });
    }
    require_unmerged(&module)?;
    let eva = config.eva_config.clone().unwrap_or_default();
    let mut layers = layers(&module, name, &config)?;
    let recorders = layers.iter().map(|l| (l.path.clone(), l.recorder.clone()));
    let observed = edit(module.valid(), &mut Observe(recorders.collect()))?;
    let observed = observed.disable_adapters()?;

    let mut batches = batches.into_iter();
    let Some(first) = batches.next() else {
        return Err(failed(name, "there is no batch to look at"));
    };
    let positions = forward(&observed, first.clone());
    find_heads(&mut layers, positions)?;
    let most = largest_rho(&module, eva.rho, config.r);
    let mut searches = searches(&mut layers, most)?;
    let mut ranks: Vec<usize> = layers.iter().map(|layer| layer.most).collect();
    for batch in std::iter::once(first).chain(batches) {
        if settled(&mut searches, &ranks) {
            break;
        }
        let positions = forward(&observed, batch);
        look(&layers, &mut searches, positions, eva.tau)?;
        if let Some(shares) = shares(&layers, &searches) {
            ranks = distribute(&shares);
        }
    }
    if !settled(&mut searches, &ranks) {
        let open = searches.iter().flatten().filter(|search| !search.done);
        log::warn!(
            "EVA: the components of {} layers have not converged to a similarity of {} (`tau`): \
             more batches would",
            open.count(),
            eva.tau
        );
    }
    let starts = starts(&layers, &searches, &ranks, &eva)?;
    let config = redistributed(&module, name, &config, &eva, &starts)?;
    edit(
        module,
        &mut Assign {
            name,
            config: &config,
            starts,
        },
    )
}

fn failed(module: &str, message: impl Into<String>) -> LoraError {
    LoraError::Init {
        init: InitLoraWeights::Eva,
        module: module.to_string(),
        message: message.into(),
    }
}

fn require_unmerged<M: Module>(module: &M) -> Result<(), LoraError> {
    let attachments = collect(module);
    let mut merged = attachments.lora().flat_map(|(_, all)| all.merged());
    match merged.next() {
        None => Ok(()),
        Some(adapter) => Err(LoraError::AdapterMerged {
            adapter: adapter.clone(),
        }),
    }
}

/// The linear layers that the adapter `name` is on, in the module's order.
fn layers<M: Module>(module: &M, name: &str, config: &LoraConfig) -> Result<Vec<Layer>, LoraError> {
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
fn find_heads(layers: &mut [Layer], positions: Option<Tensor<2, Bool>>) -> Result<(), LoraError> {
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

/// Sets the most components that each layer may get, and begins the search of each head.
fn searches(layers: &mut [Layer], rho: f64) -> Result<Vec<Option<Search>>, LoraError> {
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
fn settled(searches: &mut [Option<Search>], ranks: &[usize]) -> bool {
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
fn look(
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

/// What each layer's components explain, once every head has some.
fn shares<'a>(layers: &'a [Layer], searches: &'a [Option<Search>]) -> Option<Vec<Share<'a>>> {
    let share = |layer: &'a Layer| {
        let search = searches[layer.head].as_ref()?;
        Some(Share {
            head: layer.head,
            rank: layer.rank,
            explained: &search.pca.components()?.explained,
        })
    };
    layers.iter().map(share).collect()
}

/// The `A` that each layer gets, by the path of its weight; of no columns for a rank of 0.
fn starts(
    layers: &[Layer],
    searches: &[Option<Search>],
    ranks: &[usize],
    eva: &EvaConfig,
) -> Result<BTreeMap<String, Matrix>, LoraError> {
    let mut starts = BTreeMap::new();
    for (layer, rank) in layers.iter().zip(ranks) {
        let search = searches[layer.head].as_ref();
        let Some(found) = search.and_then(|search| search.pca.components()) else {
            let message = format!(
                "no batch had the {} vectors that as many components need: use larger batches",
                layer.most
            );
            return Err(failed(&layer.module, message));
        };
        let mut a = found.vectors.columns(0, *rank).into_owned();
        if eva.whiten {
            for (mut vector, s) in a.column_iter_mut().zip(&found.singular_values) {
                vector /= s.sqrt();
            }
        }
        if !a.iter().all(|value| value.is_finite()) {
            let message = "its inputs vary in fewer directions than its rank, which `whiten` \
                           cannot divide by: lower `r`";
            return Err(failed(&layer.module, message));
        }
        starts.insert(layer.path.clone(), a);
    }
    Ok(starts)
}
