//! Which parts of a module a configuration means.

use std::collections::BTreeSet;

use super::nearest::nearest;
use crate::config::{Matcher, ModulePattern, TargetModules};
use crate::state::ParameterInfo;
use crate::tie::Ties;
use crate::{LoraConfig, LoraError};

/// Whether LoRA can adapt it.
pub(super) fn is_weight(parameter: &ParameterInfo) -> bool {
    parameter.shape.len() == 2 && parameter.name.rsplit('.').next() == Some("weight")
}

/// Whether `path` is `module`, or a part of it.
pub(crate) fn is_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The paths of all modules that own parameters, directly or below them, in the module's order.
pub(super) fn module_paths(parameters: &[ParameterInfo]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    for parameter in parameters {
        let module = parameter.module();
        let ends = module
            .match_indices('.')
            .map(|(i, _)| i)
            .chain([module.len()]);
        for path in ends
            .map(|end| &module[..end])
            .filter(|path| !path.is_empty())
        {
            if seen.insert(path) {
                paths.push(path.to_string());
            }
        }
    }
    paths
}

/// The modules that `modules_to_save` means: PEFT's rule is that the path ends in the name.
pub(super) fn saved_modules(parameters: &[ParameterInfo], names: &[String]) -> Vec<String> {
    let mut saved: Vec<String> = Vec::new();
    for path in module_paths(parameters) {
        let named = names.iter().any(|name| path.ends_with(name.as_str()));
        if named && !saved.iter().any(|outer| is_below(&path, outer)) {
            saved.push(path);
        }
    }
    saved
}

/// A name in `modules_to_save` that means nothing is an error, unless PEFT would have added it for
/// the task: it writes `classifier` and `score` for every sequence classification model.
pub(super) fn check_saved_names(
    config: &LoraConfig,
    saved: &[String],
    ties: &Ties,
    candidates: &[String],
) -> Result<(), LoraError> {
    let heads = config.task_type.map_or(&[][..], |task| task.head_names());
    for name in config.modules_to_save.iter().flatten() {
        let known = heads.contains(&name.as_str())
            || saved.iter().any(|s| s.ends_with(name))
            || ties.declared().any(|path| path.ends_with(name));
        if !known {
            return Err(LoraError::NothingMatched {
                field: "modules_to_save",
                pattern: name.clone(),
                nearest: nearest(name, candidates),
            });
        }
    }
    Ok(())
}

/// Writes `all-linear` out as the list of linear modules. As in PEFT, the head stays out: the
/// task's, and whatever is trained in full.
pub(super) fn expand(
    targets: &TargetModules,
    config: &LoraConfig,
    parameters: &[ParameterInfo],
    saved_names: &[String],
) -> ModulePattern {
    if !targets.is_all_linear() {
        return targets.0.clone();
    }
    let heads = saved_modules(parameters, saved_names);
    let linear = parameters
        .iter()
        .filter(|p| p.is_linear())
        .map(|p| p.module().to_string());
    let excluded = |path: &str| {
        let matcher = config
            .exclude_modules
            .as_ref()
            .and_then(|p| Matcher::new(p, "exclude_modules").ok());
        matcher.is_some_and(|m| m.matches(path)) || heads.iter().any(|head| is_below(path, head))
    };
    ModulePattern::Names(linear.filter(|path| !excluded(path)).collect())
}

/// The weight of the module at `path`, if LoRA can adapt it.
pub(super) fn adaptable<'a>(
    parameters: &'a [ParameterInfo],
    path: &str,
    config: &LoraConfig,
) -> Result<&'a ParameterInfo, LoraError> {
    let own = |p: &&ParameterInfo| p.module() == path;
    let Some(weight) = parameters.iter().filter(own).find(|p| is_weight(p)) else {
        let kind = parameters
            .iter()
            .find(own)
            .map_or("module of modules", |p| p.owner.as_str());
        return Err(LoraError::UnsupportedTarget {
            module: path.to_string(),
            kind: kind.to_string(),
        });
    };
    // An adapted embedding has no dropout in PEFT either.
    let has_dropout =
        matches!(weight.owner.as_str(), "LoraLinear" | "LoraConv1D") || weight.is_embedding();
    if config.lora_dropout > 0.0 && !has_dropout {
        return Err(LoraError::DropoutUnsupported {
            dropout: config.lora_dropout,
            module: path.to_string(),
            kind: weight.owner.clone(),
        });
    }
    Ok(weight)
}
