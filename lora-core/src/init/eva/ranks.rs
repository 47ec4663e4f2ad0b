//! How EVA shares the ranks out among layers.

use std::collections::BTreeMap;

use burn::module::Module;
use indexmap::IndexMap;

use crate::config::{EvaConfig, ModulePattern, TargetModules, pattern_value};
use crate::decomposition::Matrix;
use crate::state::{Role, parameters};
use crate::{LoraConfig, LoraError};

/// A `rho` above this is cut down to what the widest weight has room for, as in PEFT.
const UNUSUAL_RHO: f64 = 1000.0;

/// What the components of a layer explain.
pub(super) struct Share<'a> {
    /// The layer that it shares its components with, which may be itself.
    pub(super) head: usize,
    /// The rank that the configuration gives it.
    pub(super) rank: usize,
    /// The part of the variance that each component explains, the largest first.
    pub(super) explained: &'a [f64],
}

/// The rank of each layer: the components that explain most among those of all layers, as many as
/// the configuration's ranks add up to (section 3, "adaptive rank allocation").
pub(super) fn distribute(shares: &[Share]) -> Vec<usize> {
    let budget: usize = shares.iter().map(|share| share.rank).sum();
    let is_head = |layer: &usize| shares[*layer].head == *layer;
    let heads = (0..shares.len()).filter(is_head);
    let others: Vec<usize> = (0..shares.len()).filter(|layer| !is_head(layer)).collect();
    let order = heads.chain(others.iter().copied());
    let mut components: Vec<(usize, f64)> = order
        .flat_map(|layer| {
            shares[layer]
                .explained
                .iter()
                .map(move |part| (layer, *part))
        })
        .collect();
    components.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let mut ranks = vec![0; shares.len()];
    for (layer, _) in components.into_iter().take(budget) {
        ranks[layer] += 1;
    }
    for layer in others {
        // The head's components have converged up to its rank: no other may need more of them.
        let head = shares[layer].head;
        if ranks[head] < ranks[layer] {
            ranks.swap(head, layer);
        }
    }
    ranks
}

/// `rho`, or for an unusual one the most that a weight of `module` has room for.
pub(super) fn largest_rho<M: Module>(module: &M, rho: f64, r: usize) -> f64 {
    if rho <= UNUSUAL_RHO {
        return rho;
    }
    let sides = parameters(module).into_iter().flat_map(|info| info.shape);
    let widest = sides.max().unwrap_or_default();
    // A rank above the widest side is refused layer by layer, not cut down to nothing.
    rho.min((widest / r).max(1) as f64)
}

/// The configuration with the ranks that the adapter's layers got: `starts` has them, by the paths
/// of their weights.
pub(super) fn redistributed<M: Module>(
    module: &M,
    name: &str,
    config: &LoraConfig,
    eva: &EvaConfig,
    starts: &BTreeMap<String, Matrix>,
) -> Result<LoraConfig, LoraError> {
    let mut kept = IndexMap::new();
    let mut dropped = false;
    for info in parameters(module) {
        if info.role != Role::LoraA || info.adapter.as_deref() != Some(name) {
            continue;
        }
        let path = info.module();
        let before = config.rank_for(path)?;
        let alpha = pattern_value(&config.alpha_pattern, path, "alpha_pattern")?;
        let alpha = alpha.unwrap_or(config.lora_alpha);
        let rank = starts.get(info.base_path()).map_or(before, Matrix::ncols);
        let alpha = match eva.adjust_scaling_factors && rank != before {
            true => alpha * (rank as f64 / before as f64),
            false => alpha,
        };
        match rank {
            0 => dropped = true,
            _ => drop(kept.insert(path.to_string(), (rank, alpha))),
        }
    }
    let mut new = config.clone();
    if dropped {
        let names = kept.keys().cloned().collect();
        new.target_modules = Some(TargetModules(ModulePattern::Names(names)));
    }
    set_patterns(&mut new, &kept, str::to_string);
    let fits = |path: &String, (rank, alpha): &(usize, f64)| {
        let scaling = LoraConfig {
            r: *rank,
            lora_alpha: *alpha,
            use_rslora: new.use_rslora,
            ..LoraConfig::default()
        };
        let found = (new.rank_for(path).ok(), new.scaling_for(path).ok());
        found == (Some(*rank), Some(scaling.scaling()))
    };
    // A plain path also means the modules whose path ends in it.
    if !kept.iter().all(|(path, values)| fits(path, values)) {
        set_patterns(&mut new, &kept, |path| format!("^{}", escaped(path)));
    }
    Ok(new)
}

fn set_patterns(
    config: &mut LoraConfig,
    layers: &IndexMap<String, (usize, f64)>,
    pattern: impl Fn(&str) -> String,
) {
    let ranks = layers.iter().filter(|(_, (rank, _))| *rank != config.r);
    config.rank_pattern = ranks
        .map(|(path, (rank, _))| (pattern(path), *rank))
        .collect();
    let alphas = layers
        .iter()
        .filter(|(_, (_, alpha))| *alpha != config.lora_alpha);
    config.alpha_pattern = alphas
        .map(|(path, (_, alpha))| (pattern(path), *alpha))
        .collect();
}

/// A path as a regular expression for itself.
fn escaped(path: &str) -> String {
    path.replace('.', r"\.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(head: usize, rank: usize, explained: &[f64]) -> Share<'_> {
        Share {
            head,
            rank,
            explained,
        }
    }

    #[test]
    fn ranks_go_where_most_is_explained() {
        let (first, second) = ([0.9, 0.05, 0.04, 0.01], [0.4, 0.3, 0.2, 0.1]);
        let shares = [share(0, 2, &first), share(1, 2, &second)];
        assert_eq!(distribute(&shares), [1, 3]);
        let flat = [0.01; 4];
        let shares = [
            share(0, 2, &first),
            share(1, 2, &second),
            share(2, 1, &flat),
        ];
        assert_eq!(distribute(&shares), [1, 4, 0]);
    }

    #[test]
    fn a_head_never_gets_less_than_those_that_share_its_components() {
        let parts = [0.5, 0.3, 0.2];
        let shares = [
            share(0, 2, &parts),
            share(0, 1, &parts),
            share(0, 1, &parts),
        ];
        assert_eq!(distribute(&shares), [2, 1, 1]);
    }

    proptest! {
        #[test]
        fn the_sum_of_ranks_stays(
            layers in proptest::collection::vec((1usize..5, proptest::collection::vec(0.0..1.0f64, 10)), 1..6),
        ) {
            let shares: Vec<Share> = layers
                .iter()
                .enumerate()
                .map(|(i, (rank, parts))| share(i, *rank, &parts[..2 * rank]))
                .collect();
            let ranks = distribute(&shares);
            prop_assert_eq!(ranks.iter().sum::<usize>(), layers.iter().map(|l| l.0).sum::<usize>());
            prop_assert!(ranks.iter().zip(&layers).all(|(rank, (r, _))| *rank <= 2 * r));
        }
    }
}
