//! A new adapter, combined from present ones: PEFT's `add_weighted_adapter`.

mod combination;
mod config;
mod layer;
mod majority_sign;
mod prune;
mod task_arithmetic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

pub use combination::{Combination, CombinationType};
pub use majority_sign::MajoritySignMethod;

use crate::adapters::LoraAdapters;
use crate::adapters::attachments::{Attachments, Edit, collect, edit};
use crate::modules_to_save::SavedCopies;
use crate::state::{Role, parameters};
use crate::{LoraAdapter, LoraConfig, LoraError, LoraModule};
use combination::Operation;
use config::Combined;
use layer::{Layer, Part};
use task_arithmetic::TaskArithmetic;

/// Adds the adapter `name` to `module`, as [`LoraModule::add_weighted_adapter`] says.
pub(crate) fn add<M: Module>(
    module: M,
    name: &str,
    adapters: &[(&str, f64)],
    combination: &Combination,
) -> Result<M, LoraError> {
    let mut operation = combination.operation()?;
    let configs = configs(&module, adapters)?;
    if let [(only, _)] = adapters
        && combination.combination_type() != CombinationType::Linear
    {
        // PEFT's rule: with nothing to mix, the factors can stay what they are.
        log::warn!("adapter {only:?} alone is combined as `linear`, as in PEFT");
        operation = Operation::Factors(TaskArithmetic::LINEAR);
    }
    let sources: Vec<&str> = adapters.iter().map(|(name, _)| *name).collect();
    let attachments = collect(&module);
    require_original_base(&attachments, &sources)?;
    let largest = configs.iter().map(largest_rank).max().unwrap_or_default();
    let mut layers = Vec::new();
    for layer in layers_of(&attachments, adapters) {
        let rank = layer.rank(operation, largest)?;
        layers.push((layer, rank));
    }
    let combined = Combined {
        ranks: layers
            .iter()
            .map(|(layer, rank)| (layer.module(), *rank))
            .collect(),
        saved: saved_modules(&module, &sources)?,
    };
    let config = combined.config(&module, &configs)?;
    config.check_new(&attachments, name)?;

    let mut new = BTreeMap::new();
    for (layer, rank) in &layers {
        let (a, b) = layer.combine(operation, *rank)?;
        let adapter = LoraAdapter::from_factors(a, b, 1.0, config.lora_dropout);
        new.insert(layer.path.to_string(), adapter);
    }
    let mut attach = Attach {
        name,
        sources: &sources,
        config: Arc::new(config),
        new,
    };
    edit(module, &mut attach)
}

/// The configurations of `adapters`, once it is known that their updates can be added up.
fn configs<M: Module>(module: &M, adapters: &[(&str, f64)]) -> Result<Vec<LoraConfig>, LoraError> {
    let bad = |field, value: String, expected: &str| {
        Err(LoraError::Combination {
            field,
            value,
            expected: expected.to_string(),
        })
    };
    if adapters.is_empty() {
        let expected = "at least one adapter with its weight";
        return bad("adapters", "an empty list".to_string(), expected);
    }
    let mut configs = Vec::new();
    for (name, weight) in adapters {
        let config = module.adapter_config(name)?;
        if !weight.is_finite() {
            let value = format!("{weight} for {name:?}");
            return bad("weights", value, "finite numbers");
        }
        if config.use_dora {
            let value = format!("a list with {name:?}, which has DoRA's magnitudes");
            let expected = "adapters without `use_dora`: magnitudes do not add up";
            return bad("adapters", value, expected);
        }
        configs.push(config);
    }
    Ok(configs)
}

/// Fails for adapters whose updates belong to a base of their own.
fn require_original_base(attachments: &Attachments, sources: &[&str]) -> Result<(), LoraError> {
    let residuals = attachments.lora().filter_map(|(_, all)| all.residual());
    let mut takers = residuals.map(|residual| residual.adapter());
    match takers.find(|adapter| sources.contains(adapter)) {
        None => Ok(()),
        Some(adapter) => Err(LoraError::StartTaken {
            call: "add_weighted_adapter",
            adapter: adapter.to_string(),
        }),
    }
}

/// The largest rank that a configuration speaks of, as PEFT takes it.
fn largest_rank(config: &LoraConfig) -> usize {
    let ranks = config.rank_pattern.values().copied();
    ranks.fold(config.r, usize::max)
}

/// Every weight that has one of `adapters`.
fn layers_of<'a>(
    attachments: &'a Attachments,
    adapters: &'a [(&'a str, f64)],
) -> impl Iterator<Item = Layer<'a>> {
    let layers = attachments.lora().map(|(path, present)| {
        let parts = adapters.iter().filter_map(|(name, weight)| {
            Some(Part {
                name,
                adapter: present.get(name)?,
                weight: *weight,
            })
        });
        Layer {
            path,
            parts: parts.collect(),
        }
    });
    layers.filter(|layer| !layer.parts.is_empty())
}

/// The modules of which one of the adapters `sources` has a copy.
///
/// # Errors
///
/// [`LoraError::Combination`] if two of them have a copy of one parameter.
fn saved_modules<M: Module>(module: &M, sources: &[&str]) -> Result<BTreeSet<String>, LoraError> {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut modules = BTreeSet::new();
    for parameter in parameters(module) {
        let path = parameter.base_path().to_string();
        modules.extend(match &parameter.adapter {
            Some(adapter) if parameter.role == Role::Saved && sources.contains(&&**adapter) => {
                if let Some(other) = owners.insert(path.clone(), adapter.clone()) {
                    return Err(LoraError::Combination {
                        field: "adapters",
                        value: format!(
                            "a list with {other:?} and {adapter:?}, which both have a copy of {path}"
                        ),
                        expected: "one adapter at most that trains a module in full \
                                   (`modules_to_save`)"
                            .to_string(),
                    });
                }
                Some(parameter.module().to_string())
            }
            _ => None,
        });
    }
    Ok(modules)
}

/// Puts the combined adapter beside those it comes from, and copies of their copies of modules.
struct Attach<'a> {
    name: &'a str,
    sources: &'a [&'a str],
    config: Arc<LoraConfig>,
    new: BTreeMap<String, LoraAdapter>,
}

impl Edit for Attach<'_> {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        mut adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        if let (Some(adapters), Some(new)) = (&mut adapters, self.new.remove(path)) {
            adapters.push(self.name, new, self.config.clone(), false);
        }
        (base, adapters)
    }

    fn saved<const D: usize>(
        &mut self,
        _path: &str,
        base: Param<Tensor<D>>,
        mut copies: Option<SavedCopies<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<D>>) {
        if let Some(copies) = &mut copies {
            let source = self.sources.iter().find_map(|name| copies.get(name));
            if let Some(source) = source {
                // `from_tensor` makes a leaf of its own; the values are shared until one changes.
                let copy = Param::from_tensor(source.val().detach());
                copies.push(self.name, copy.set_require_grad(false));
            }
        }
        (base, copies)
    }
}
