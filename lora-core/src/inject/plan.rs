//! Deciding, before anything is touched, which modules get adapters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use burn::module::Module;

use super::modules::{
    adaptable, check_saved_names, expand, is_below, is_weight, module_paths, saved_modules,
};
use super::nearest::{few, nearest};
use crate::adapters::attachments::Attachments;
use crate::config::{LayerFilter, Matcher};
use crate::factorize::is_replaced;
use crate::init::{self, NewAdapter, WeightKind};
use crate::state::{ParameterInfo, Role, parameters};
use crate::tie::Ties;
use crate::{Bias, LoraConfig, LoraError};

/// What an injection does: for each target pattern, the modules it matched.
///
/// Its `Display` is that list, one pattern a line.
#[derive(Debug, Clone)]
pub struct InjectionPlan {
    /// Each entry of `target_modules` with the paths of the modules it matched.
    pub patterns: Vec<(String, Vec<String>)>,
    /// The paths of the modules that are trained in full.
    pub saved_modules: Vec<String>,
    /// Settings that work but are likely not meant.
    pub warnings: Vec<String>,
    weights: BTreeMap<String, NewAdapter>,
    saved_parameters: BTreeSet<String>,
    trained_biases: BTreeSet<String>,
    /// Whether Python holds adapted weights as `[in, out]`.
    fan_in_fan_out: bool,
    /// Patterns that matched only modules which are excluded or trained in full: PEFT writes
    /// `all-linear` out with the head in the list.
    covered: BTreeSet<String>,
    candidates: Vec<String>,
}

impl InjectionPlan {
    pub(super) fn new<M: Module>(config: &LoraConfig, module: &M) -> Result<Self, LoraError> {
        config.validate()?;
        let mut parameters = parameters(module);
        parameters.retain(|p| p.role == Role::Base);
        let candidates: Vec<String> = parameters
            .iter()
            .filter(|p| is_weight(p))
            .map(|p| p.module().to_string())
            .collect();
        let Some(targets) = &config.target_modules else {
            return Err(LoraError::NoTargetModules {
                nearest: few(candidates),
            });
        };

        let saved_names = config.saved_module_names();
        let saved_modules = saved_modules(&parameters, &saved_names);
        let is_saved = |path: &str| saved_modules.iter().any(|saved| is_below(path, saved));
        let ties = Ties::of(module)?;
        let means_saved = |path: &str| {
            is_saved(path) || saved_names.iter().any(|name| path.ends_with(name.as_str()))
        };
        ties.require_not_meant("modules_to_save", means_saved, |owner| !is_saved(owner))?;
        check_saved_names(config, &saved_modules, &ties, &candidates)?;

        let targets = expand(targets, config, &parameters, &saved_names);
        let matcher = Matcher::new(&targets, "target_modules")?;
        let excluded = match &config.exclude_modules {
            Some(pattern) => Some(Matcher::new(pattern, "exclude_modules")?),
            None => None,
        };
        let layers = LayerFilter::new(config)?;
        let is_skipped =
            |path: &str| excluded.as_ref().is_some_and(|e| e.matches(path)) || is_saved(path);
        // PEFT's rule: a target whose whole path is listed is meant in whatever layer it is.
        let is_allowed = |path: &str| {
            matcher.lists(path) || layers.as_ref().is_none_or(|layers| layers.allows(path))
        };
        let is_target = |path: &str| {
            !is_skipped(path) && !matcher.matching(path).is_empty() && is_allowed(path)
        };
        ties.require_not_meant("target_modules", is_target, |owner| !is_saved(owner))?;
        let mut patterns: Vec<(String, Vec<String>)> = matcher
            .entries()
            .map(|text| (text.to_string(), Vec::new()))
            .collect();
        let mut weights = BTreeMap::new();
        let mut warnings = init::warnings(config);
        let hits = ties.declared().flat_map(|path| matcher.matching(path));
        let mut covered: BTreeSet<String> = hits.map(|hit| patterns[hit].0.clone()).collect();
        let mut fan_in_fan_out = false;
        for path in module_paths(&parameters) {
            let hits = matcher.matching(&path);
            if is_skipped(&path) {
                covered.extend(hits.into_iter().map(|hit| patterns[hit].0.clone()));
                continue;
            }
            if hits.is_empty() || !is_allowed(&path) {
                continue;
            }
            let weight = adaptable(&parameters, &path, config)?;
            ties.require_untied(&weight.path)?;
            if is_replaced(weight) {
                return Err(LoraError::Factorized {
                    parameter: weight.path.clone(),
                });
            }
            fan_in_fan_out |= weight.is_linear() && !weight.transposed;
            let rank = config.rank_for(&path)?;
            let smallest = weight.shape.iter().copied().min().unwrap_or_default();
            if rank > smallest {
                warnings.push(format!(
                    "rank {rank} is above the smaller dimension of {path}, {smallest}: \
                     a full-rank update of it needs no more than that"
                ));
            }
            let new = NewAdapter {
                kind: match weight.is_embedding() {
                    true => WeightKind::Embedding,
                    false => WeightKind::Linear,
                },
                rank,
                scaling: config.scaling_for(&path)?,
                dropout: config.lora_dropout,
                init: config.init_lora_weights,
                loftq: config.loftq_config.unwrap_or_default(),
                use_dora: config.use_dora,
            };
            new.check(&path, smallest)?;
            warnings.extend(new.warning(&path));
            weights.insert(weight.path.clone(), new);
            for hit in hits {
                patterns[hit].1.push(path.clone());
            }
        }
        let saved_parameters: BTreeSet<String> = parameters
            .iter()
            .filter(|p| is_saved(p.module()))
            .map(|p| p.path.clone())
            .collect();
        let adapted = |p: &ParameterInfo| weights.contains_key(&format!("{}.weight", p.module()));
        let trained_biases: BTreeSet<String> = parameters
            .iter()
            .filter(|p| p.name.rsplit('.').next() == Some("bias"))
            .filter(|p| match config.bias {
                Bias::None => false,
                Bias::All => !saved_parameters.contains(&p.path),
                Bias::LoraOnly => adapted(p),
            })
            .map(|p| p.path.clone())
            .collect();
        for path in &saved_parameters {
            ties.require_one_path("modules_to_save", path)?;
        }
        for path in &trained_biases {
            ties.require_one_path("bias", path)?;
        }
        if config
            .target_modules
            .as_ref()
            .is_some_and(|t| t.is_all_linear())
        {
            // The names that it stands for are not what was asked for.
            let is_adapted = |path: &String| weights.contains_key(&format!("{path}.weight"));
            let all = module_paths(&parameters).into_iter().filter(is_adapted);
            patterns = vec![("all-linear".to_string(), all.collect())];
        }
        Ok(Self {
            patterns,
            saved_modules,
            warnings,
            weights,
            saved_parameters,
            trained_biases,
            fan_in_fan_out,
            covered,
            candidates,
        })
    }

    /// Fails for the first pattern that matched nothing.
    pub(super) fn require_every_pattern(&self) -> Result<(), LoraError> {
        let missed = |(pattern, modules): &&(String, Vec<String>)| {
            modules.is_empty() && !self.covered.contains(pattern)
        };
        match self.patterns.iter().find(missed) {
            Some((pattern, _)) => Err(self.nothing_matched(pattern)),
            None => self.require_any_pattern(),
        }
    }

    /// Fails if no pattern matched anything.
    pub(super) fn require_any_pattern(&self) -> Result<(), LoraError> {
        if self.weights.is_empty() {
            let all: Vec<_> = self
                .patterns
                .iter()
                .map(|(text, _)| text.as_str())
                .collect();
            return Err(self.nothing_matched(&all.join(", ")));
        }
        Ok(())
    }

    /// Fails if a parameter would be adapted by one adapter and copied by another: it can carry
    /// one of the two.
    pub(super) fn require_compatible(&self, present: &Attachments) -> Result<(), LoraError> {
        let mut packed = present.lora().filter(|(_, all)| all.packed().is_some());
        if let Some((path, _)) = packed.find(|(path, _)| self.saves(path)) {
            return Err(LoraError::Quantization {
                tensor: path.to_string(),
                message: "it is to be trained in full (`modules_to_save`) and is stored in few \
                          bits: name its module in `llm_int8_skip_modules`"
                    .to_string(),
            });
        }
        let adapted = present.lora().map(|(path, all)| (path, all.names().next()));
        let copied = present.saved();
        let copied = copied.map(|saved| (saved.path, saved.owners.first().copied()));
        let clash = adapted
            .filter(|(path, _)| self.saves(path))
            .chain(copied.filter(|(path, _)| self.weights.contains_key(*path)))
            .next();
        match clash {
            None => Ok(()),
            Some((parameter, adapter)) => Err(LoraError::AdaptedAndSaved {
                parameter: parameter.to_string(),
                adapter: adapter.unwrap_or_default().to_string(),
            }),
        }
    }

    fn nothing_matched(&self, pattern: &str) -> LoraError {
        LoraError::NothingMatched {
            field: "target_modules",
            pattern: pattern.to_string(),
            nearest: nearest(pattern, &self.candidates),
        }
    }

    pub(super) fn saves(&self, path: &str) -> bool {
        self.saved_parameters.contains(path)
    }

    pub(super) fn fan_in_fan_out(&self) -> bool {
        self.fan_in_fan_out
    }

    pub(super) fn trains_bias(&self, path: &str) -> bool {
        self.trained_biases.contains(path)
    }

    pub(crate) fn new_adapter(&self, path: &str) -> Option<&NewAdapter> {
        self.weights.get(path)
    }

    /// The number of weights that get an adapter.
    pub fn adapter_count(&self) -> usize {
        self.weights.len()
    }
}

impl fmt::Display for InjectionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoRA on {} weights", self.weights.len())?;
        for (pattern, modules) in &self.patterns {
            write!(f, "\n  {pattern}: {}", summary(modules))?;
        }
        if !self.saved_modules.is_empty() {
            write!(f, "\n  trained in full: {}", self.saved_modules.join(", "))?;
        }
        Ok(())
    }
}

fn summary(modules: &[String]) -> String {
    match modules {
        [] => "nothing".to_string(),
        [one] => one.clone(),
        [first, .., last] => format!("{} modules, {first} … {last}", modules.len()),
    }
}
