//! What all formats have in common: ranks and targets from the tensors, and then attaching them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::TensorData;

use crate::config::pattern_value;
use crate::state::{ParameterInfo, Role, load_state, parameters};
use crate::{Bias, InitLoraWeights, LoraConfig, LoraError, ModulePattern, TargetModules};

/// An adapter in somebody else's file.
pub(super) struct ForeignAdapter {
    pub(super) path: PathBuf,
    /// The modules that have factors.
    pub(super) ranks: BTreeMap<String, Rank>,
    /// The names of all tensors that belong to the adapter.
    pub(super) names: BTreeSet<String>,
    /// What the file calls a parameter.
    pub(super) name_of: fn(&ParameterInfo) -> String,
}

/// The rank of one module's factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    /// The rank as we attach them.
    pub(super) rank: usize,
    /// How many parts that rank is shared by: α, which counts for each of them, is multiplied by
    /// it to keep the scale.
    pub(super) parts: usize,
}

impl ForeignAdapter {
    /// `config` with the ranks and the targets of the file, and every α such that the scale is
    /// α / r of the file's rank.
    pub(super) fn configure<M: Module>(
        &self,
        module: &M,
        config: &LoraConfig,
    ) -> Result<LoraConfig, LoraError> {
        self.check(config)?;
        let mut modules: Vec<(&str, usize, f64)> = Vec::new();
        for (path, rank) in &self.ranks {
            let alpha = pattern_value(&config.alpha_pattern, path, "alpha_pattern")?;
            let alpha = alpha.unwrap_or(config.lora_alpha) * rank.parts as f64;
            modules.push((path, rank.rank, alpha));
        }
        let mut config = config.clone();
        let alike = |a: &(&str, usize, f64), b: &(&str, usize, f64)| (a.1, a.2) == (b.1, b.2);
        let count = |one: &&(&str, usize, f64)| modules.iter().filter(|m| alike(m, one)).count();
        // What most modules have is the rule, whatever differs from it an exception.
        if let Some(&(_, rank, alpha)) = modules.iter().max_by_key(count) {
            (config.r, config.lora_alpha) = (rank, alpha);
        }
        config.alpha_pattern.clear();
        for &(path, rank, alpha) in &modules {
            let exactly = format!("^{}", fancy_regex::escape(path));
            if rank != config.r {
                config.rank_pattern.insert(exactly.clone(), rank);
            }
            if alpha != config.lora_alpha {
                config.alpha_pattern.insert(exactly, alpha);
            }
        }
        config.target_modules = Some(self.targets(module, &config));
        Ok(config)
    }

    /// Refuses settings that the file decides, and those that would change what it means.
    fn check(&self, config: &LoraConfig) -> Result<(), LoraError> {
        let decided = "its default: it is read off the tensors";
        let default = LoraConfig::default();
        let bad = |field, value: String, expected| {
            Err(LoraError::ConfigValue {
                field,
                value,
                expected,
            })
        };
        if let Some(targets) = &config.target_modules {
            return bad("target_modules", format!("{:?}", targets.0), decided);
        }
        if !config.rank_pattern.is_empty() {
            return bad(
                "rank_pattern",
                format!("{:?}", config.rank_pattern),
                decided,
            );
        }
        let in_file = |rank: &Rank| rank.rank == config.r || rank.rank / rank.parts == config.r;
        if config.r != default.r && !self.ranks.values().any(in_file) {
            return bad("r", config.r.to_string(), decided);
        }
        if config.use_rslora {
            return bad("use_rslora", "true".into(), "false: the scale is alpha / r");
        }
        if config.init_lora_weights != InitLoraWeights::default() {
            let value = format!("{:?}", config.init_lora_weights);
            return bad(
                "init_lora_weights",
                value,
                "its default: the file has the factors",
            );
        }
        Ok(())
    }

    /// The last parts of the targets' paths if they mean no other module, else the paths.
    fn targets<M: Module>(&self, module: &M, config: &LoraConfig) -> TargetModules {
        let paths: BTreeSet<&String> = self.ranks.keys().collect();
        let last = |path: &&String| path.rsplit('.').next().unwrap_or_default().to_string();
        let names: BTreeSet<String> = paths.iter().map(last).collect();
        let names: TargetModules = names.into_iter().collect::<Vec<_>>().into();
        let short = config.clone().with_target_modules(names.clone());
        let exact = short.plan(module).is_ok_and(|plan| {
            let matched = plan.patterns.iter().flat_map(|(_, modules)| modules);
            matched.collect::<BTreeSet<_>>() == paths
        });
        if exact {
            return names;
        }
        let whole: Vec<_> = paths.iter().map(|path| fancy_regex::escape(path)).collect();
        TargetModules(ModulePattern::Regex(whole.join("|")))
    }

    /// Attaches the adapter. `read` gives the tensor of that name, in PyTorch's layout and as
    /// 32-bit floats, or none if there is none.
    pub(super) fn attach<M: Module>(
        &self,
        module: M,
        name: &str,
        config: &LoraConfig,
        read: impl Fn(&ParameterInfo, &str) -> Result<Option<TensorData>, LoraError>,
    ) -> Result<M, LoraError> {
        let module = config.inject_as(module, name)?;
        let trains_in_place =
            |p: &ParameterInfo| config.bias != Bias::None && p.role == Role::Base && p.trainable;
        let mut tensors = BTreeMap::new();
        let (mut missing, mut unexpected) = (Vec::new(), self.names.clone());
        for info in parameters(&module) {
            if info.adapter.as_deref() != Some(name) && !trains_in_place(&info) {
                continue;
            }
            let key = (self.name_of)(&info);
            unexpected.remove(&key);
            let Some(data) = read(&info, &key)? else {
                missing.push(key);
                continue;
            };
            if data.shape().to_vec() != info.shape {
                return Err(LoraError::Shape {
                    path: self.path.clone(),
                    tensor: key,
                    found: data.shape().to_vec(),
                    expected: info.shape,
                });
            }
            tensors.insert(info.path, data);
        }
        if !missing.is_empty() || !unexpected.is_empty() {
            return Err(LoraError::Keys {
                path: self.path.clone(),
                missing,
                unexpected: unexpected.into_iter().collect(),
            });
        }
        load_state(module, |info| Ok(tensors.remove(&info.path)))
    }
}

/// The weight of the module at `path`, and its inputs and outputs.
///
/// # Errors
///
/// [`LoraError::UnsupportedTarget`] if the module has no weight that can be adapted; `None` if
/// there is no such module.
pub(super) fn weight_dims(
    base: &[ParameterInfo],
    path: &str,
) -> Result<Option<[usize; 2]>, LoraError> {
    let mut own = base.iter().filter(|p| p.module() == path).peekable();
    let Some(first) = own.peek().map(|p| p.owner.clone()) else {
        return Ok(None);
    };
    let weight = own.find(|p| p.shape.len() == 2 && p.name.rsplit('.').next() == Some("weight"));
    match weight {
        Some(weight) if weight.transposed => Ok(Some([weight.shape[1], weight.shape[0]])),
        Some(weight) => Ok(Some([weight.shape[0], weight.shape[1]])),
        None => Err(LoraError::UnsupportedTarget {
            module: path.to_string(),
            kind: first,
        }),
    }
}
