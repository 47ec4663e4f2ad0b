//! The configuration of a combined adapter.

use std::collections::BTreeSet;

use burn::module::Module;

use crate::config::{ModulePattern, TargetModules};
use crate::{InitLoraWeights, LoraConfig, LoraError};

/// What a combined adapter has, by the paths of the base's modules.
pub(super) struct Combined<'a> {
    /// The modules that it adapts, with the rank in each.
    pub(super) ranks: Vec<(&'a str, usize)>,
    /// The modules that it has a copy of.
    pub(super) saved: BTreeSet<String>,
}

impl Combined<'_> {
    /// The configuration that describes it in `module`, where every scaling is 1: that of the
    /// first of the combined adapters, `configs`, as in PEFT, with the targets of all.
    ///
    /// PEFT keeps the first one's exclusions and layers too, and leaves out what they keep the
    /// others' targets from. Where such a configuration means other modules than were combined,
    /// here the targets are spelled out.
    pub(super) fn config<M: Module>(
        &self,
        module: &M,
        configs: &[LoraConfig],
    ) -> Result<LoraConfig, LoraError> {
        let Some(first) = configs.first() else {
            return Err(LoraError::NotInjected);
        };
        let largest = self.ranks.iter().map(|(_, rank)| *rank).max();
        let mut config = first.clone();
        config.r = largest.unwrap_or(first.r);
        config.lora_alpha = config.r as f64;
        // How the others were scaled and started is no matter of this one's.
        config.use_rslora = false;
        config.init_lora_weights = InitLoraWeights::default();
        config.eva_config = None;
        config.loftq_config = None;
        config.fan_in_fan_out = configs.iter().any(|config| config.fan_in_fan_out);
        config.modules_to_save = self.modules_to_save(configs);
        config.rank_pattern.clear();
        config.alpha_pattern.clear();
        for (path, rank) in &self.ranks {
            if *rank != config.r {
                // Exactly this module: a pattern without `^` would match deeper paths as well.
                let pattern = format!("^{}", fancy_regex::escape(path));
                config.rank_pattern.insert(pattern.clone(), *rank);
                config.alpha_pattern.insert(pattern, *rank as f64);
            }
        }
        if let Some(targets) = union(configs) {
            config.target_modules = Some(targets);
            if self.fits(&config, module).unwrap_or(false) {
                return Ok(config);
            }
        }
        let paths: Vec<_> = self
            .ranks
            .iter()
            .map(|(path, _)| fancy_regex::escape(path))
            .collect();
        config.target_modules = Some(TargetModules::from(paths.join("|").as_str()));
        config.exclude_modules = None;
        config.layers_to_transform = None;
        config.layers_pattern = None;
        // The paths mean what was combined: a module that one adapter trains in full cannot be
        // adapted by another. What else is in the configuration may still be refused.
        config.plan(module)?;
        Ok(config)
    }

    /// Whether `config` would adapt the modules of this adapter, and no others.
    fn fits<M: Module>(&self, config: &LoraConfig, module: &M) -> Result<bool, LoraError> {
        let plan = config.plan(module)?;
        let planned = plan.patterns.iter().flat_map(|(_, modules)| modules);
        let planned: BTreeSet<&str> = planned.map(String::as_str).collect();
        let combined = self.ranks.iter().map(|(path, _)| *path);
        Ok(planned == combined.collect())
    }

    /// The names that mean the modules of which there is a copy; other tasks' heads are left out.
    fn modules_to_save(&self, configs: &[LoraConfig]) -> Option<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for name in configs.iter().flat_map(LoraConfig::saved_module_names) {
            let means = |path: &String| ancestors(path).any(|path| path.ends_with(&name));
            if !names.contains(&name) && self.saved.iter().any(means) {
                names.push(name);
            }
        }
        (!names.is_empty()).then_some(names)
    }
}

/// The path of a module and of those around it.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('.').map(|(end, _)| end);
    ends.chain([path.len()]).map(|end| &path[..end])
}

/// The targets of all configurations, as PEFT writes them; `None` if it takes both kinds.
fn union(configs: &[LoraConfig]) -> Option<TargetModules> {
    let targets: Option<Vec<&TargetModules>> =
        configs.iter().map(|c| c.target_modules.as_ref()).collect();
    let targets = targets?;
    if targets.iter().all(|targets| targets.is_all_linear()) {
        return targets.first().map(|targets| (*targets).clone());
    }
    let mut names: Vec<String> = Vec::new();
    let mut expressions: Vec<String> = Vec::new();
    for targets in targets {
        match &targets.0 {
            ModulePattern::Names(listed) => {
                for name in listed {
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
            ModulePattern::Regex(expression) => expressions.push(format!("({expression})")),
        }
    }
    match (names.is_empty(), expressions.is_empty()) {
        (false, true) => Some(TargetModules::from(names)),
        (true, false) => Some(TargetModules::from(expressions.join("|").as_str())),
        _ => None,
    }
}
