//! EVA (Paischer et al. 2024): `A` and the ranks from the layers' inputs.

mod assign;
mod layers;
mod positions;
mod ranks;
mod recorder;
mod search;

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Bool, Tensor};

use crate::adapters::attachments::{collect, edit};
use crate::config::EvaConfig;
use crate::decomposition::Matrix;
use crate::{InitLoraWeights, LoraError, LoraModule};
use assign::Assign;
use layers::{Layer, find_heads, layers};
use ranks::{Share, distribute, largest_rho, redistributed};
use recorder::Observe;
pub(crate) use recorder::Recorder;
use search::{Search, look, searches, settled};

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
