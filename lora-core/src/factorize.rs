//! Weights replaced by products of two thin matrices: LoRA over nothing.
//!
//! `W ≈ C·F` by the largest `r` singular triplets of `W`, which is the closest of that rank (Eckart and
//! Young 1936). Unlike an adapter it has no base below it: a layer of `d_in` inputs and `d_out` outputs
//! has `r·(d_in + d_out)` values in place of `d_in·d_out`.
//!
//! [`FactorizedLinear`] is a layer of its own. [`FactorizeConfig`] replaces the weights of any module,
//! whose types do not change: the factors are an adapter like any other, [`DEFAULT_ADAPTER`], that
//! `merge_and_unload` makes a plain weight of and `save_adapter` writes as PEFT's folder, to be put over
//! weights of zeros there, or over a module [`without_base`] here.
//!
//! ```
//! use burn::tensor::Tensor;
//! use lora_core::{FactorizeConfig, LoraLinearConfig, LoraModule, ParameterReport, default_device};
//!
//! let device = default_device();
//! let layer = LoraLinearConfig::new(64, 32).init(&device);
//! let x = Tensor::<2>::ones([1, 64], &device);
//! let whole = layer.forward(x.clone());
//!
//! let thin = FactorizeConfig::new(4).factorize(layer.clone())?;
//! assert_eq!(ParameterReport::of(&thin).total(), 4 * (64 + 32) + 32);
//! // At full rank nothing is lost.
//! let full = FactorizeConfig::new(32).factorize(layer)?.merge_and_unload()?;
//! let difference = (full.forward(x) - whole).abs().max().into_scalar::<f32>();
//! assert!(difference < 1e-5);
//! # Ok::<(), lora_core::LoraError>(())
//! ```

mod layer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

pub use layer::FactorizedLinear;

use crate::adapters::attachments::{Edit, collect, edit};
use crate::adapters::{LoraAdapters, empty};
use crate::config::Matcher;
use crate::decomposition::{Svd, svd, to_device, to_host};
use crate::state::{ParameterInfo, Role, parameters};
use crate::tie::Ties;
use crate::{DEFAULT_ADAPTER, LoraAdapter, LoraConfig, LoraError, ModulePattern};

/// Which weights become products of thin matrices, and how thin.
#[derive(Config, Debug, PartialEq)]
pub struct FactorizeConfig {
    /// The number of columns of `C` and rows of `F`; at most the smaller side of a weight, for which
    /// that is taken.
    pub rank: usize,
    /// The linear layers that are meant, as in
    /// [`LoraConfig::target_modules`](crate::LoraConfig::target_modules); `None`: all of them, heads
    /// too.
    #[config(default = "None")]
    pub target_modules: Option<ModulePattern>,
    /// The linear layers that are not.
    #[config(default = "None")]
    pub exclude_modules: Option<ModulePattern>,
}

/// A weight and its factors' rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorizedWeight {
    /// The parameter's path.
    pub path: String,
    /// The path of the module that owns it.
    pub module: String,
    /// `[d_in, d_out]`.
    pub dims: [usize; 2],
    /// The rank it gets.
    pub rank: usize,
}

impl FactorizedWeight {
    /// How many values the factors have.
    pub fn count(&self) -> usize {
        self.rank * (self.dims[0] + self.dims[1])
    }
}

impl FactorizeConfig {
    /// The weights that are meant, in the module's order. Nothing is read of them.
    ///
    /// # Errors
    ///
    /// [`LoraError::ConfigValue`] for a rank of 0; [`LoraError::NothingMatched`] if no linear layer is
    /// meant, [`LoraError::Pattern`]; [`LoraError::Tied`] if one shares its weight;
    /// [`LoraError::Factorized`] if it has no base any more.
    pub fn plan<M: Module>(&self, module: &M) -> Result<Vec<FactorizedWeight>, LoraError> {
        if self.rank == 0 {
            return Err(LoraError::ConfigValue {
                field: "rank",
                value: "0".to_string(),
                expected: "at least 1",
            });
        }
        let target = matcher(&self.target_modules, "target_modules")?;
        let excluded = matcher(&self.exclude_modules, "exclude_modules")?;
        let is_meant = |info: &ParameterInfo| {
            let module = info.module();
            info.is_linear()
                && target.as_ref().is_none_or(|target| target.matches(module))
                && !excluded
                    .as_ref()
                    .is_some_and(|excluded| excluded.matches(module))
        };
        let ties = Ties::of(module)?;
        let mut weights = Vec::new();
        for info in parameters(module).into_iter().filter(is_meant) {
            ties.require_untied(&info.path)?;
            let dims = match (&info.shape[..], info.transposed) {
                ([d_out, d_in], true) => [*d_in, *d_out],
                ([d_in, d_out], false) => [*d_in, *d_out],
                _ => continue,
            };
            let rank = self.rank.min(dims[0]).min(dims[1]);
            if rank == 0 {
                return Err(LoraError::Factorized {
                    parameter: info.path,
                });
            }
            weights.push(FactorizedWeight {
                module: info.module().to_string(),
                path: info.path,
                dims,
                rank,
            });
        }
        if weights.is_empty() {
            let pattern = match &target {
                Some(target) => target.entries().collect::<Vec<_>>().join(", "),
                None => "all linear layers".to_string(),
            };
            let linear = parameters(module)
                .into_iter()
                .filter(ParameterInfo::is_linear);
            return Err(LoraError::NothingMatched {
                field: "target_modules",
                pattern,
                nearest: linear
                    .map(|info| info.module().to_string())
                    .take(5)
                    .collect(),
            });
        }
        Ok(weights)
    }

    /// `module` with the factors of its weights in their place. All that is trained goes on being
    /// trained, the factors too.
    ///
    /// # Errors
    ///
    /// As [`plan`](Self::plan); [`LoraError::AdapterExists`] if the module has adapters;
    /// [`LoraError::Quantization`] if a weight is stored in few bits; [`LoraError::NoSvd`] if its values
    /// are not finite.
    pub fn factorize<M: Module>(&self, module: M) -> Result<M, LoraError> {
        let weights = self.plan(&module)?;
        let attachments = collect(&module);
        if let Some(adapter) = attachments.lora().find_map(|(_, all)| all.names().next()) {
            return Err(LoraError::AdapterExists {
                adapter: adapter.to_string(),
            });
        }
        let conv1d = |info: &ParameterInfo| info.is_linear() && !info.transposed;
        let mut factorize = Factorize {
            config: Arc::new(LoraConfig {
                fan_in_fan_out: parameters(&module).iter().any(conv1d),
                ..self.adapter_config(&weights)
            }),
            weights: weights
                .into_iter()
                .map(|weight| (weight.path.clone(), weight))
                .collect(),
            broken: None,
        };
        let module = edit(module, &mut factorize)?;
        factorize.broken.map_or(Ok(module), Err)
    }

    /// The adapter's configuration: a scaling of 1 everywhere.
    fn adapter_config(&self, weights: &[FactorizedWeight]) -> LoraConfig {
        let mut config = LoraConfig::new()
            .with_r(self.rank)
            .with_lora_alpha(self.rank as f64);
        for weight in weights.iter().filter(|weight| weight.rank != self.rank) {
            // A pattern is a regular expression, in which the dots of a path mean what they are.
            let module = weight.module.replace('.', r"\.");
            config = config
                .with_rank_pattern(&module, weight.rank)
                .with_alpha_pattern(&module, weight.rank as f64);
        }
        let modules = weights.iter().map(|weight| weight.module.clone());
        config.target_modules = Some(modules.collect::<Vec<_>>().into());
        config
    }
}

/// `module` without the weights below the adapter `name`: what is left of each is the adapter's update.
/// For factors that were saved as an adapter and loaded over a module as it was.
///
/// # Errors
///
/// [`LoraError::NoAdapter`]; [`LoraError::AdapterMerged`] if it is merged into the weights.
pub fn without_base<M: Module>(module: M, name: &str) -> Result<M, LoraError> {
    struct DropBase<'a>(&'a str);

    impl Edit for DropBase<'_> {
        fn lora(
            &mut self,
            _path: &str,
            base: Param<Tensor<2>>,
            adapters: Option<LoraAdapters>,
        ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
            match adapters {
                Some(mut adapters) if adapters.get(self.0).is_some() => {
                    if adapters.without_base().is_none() {
                        adapters.set_without_base(base.lazy_shape().dims());
                    }
                    (empty(&base), Some(adapters))
                }
                other => (base, other),
            }
        }
    }

    let attachments = collect(&module);
    let mut adapted = attachments
        .lora()
        .filter(|(_, all)| all.get(name).is_some())
        .peekable();
    if adapted.peek().is_none() {
        let present = attachments
            .lora()
            .flat_map(|(_, all)| all.names().map(String::from));
        let mut present: Vec<String> = present.collect();
        present.sort();
        present.dedup();
        return Err(LoraError::NoAdapter {
            adapter: name.to_string(),
            present,
        });
    }
    if let Some(merged) = adapted.find_map(|(_, all)| all.merged().first().cloned()) {
        return Err(LoraError::AdapterMerged { adapter: merged });
    }
    edit(module, &mut DropBase(name))
}

fn matcher(
    pattern: &Option<ModulePattern>,
    field: &'static str,
) -> Result<Option<Matcher>, LoraError> {
    pattern
        .as_ref()
        .map(|pattern| Matcher::new(pattern, field))
        .transpose()
}

/// `C = U·√S` and `F = √S·Vᵀ` of the `rank` largest singular triplets.
///
/// # Shapes
///
/// - `weight`: `[d_in, d_out]`
/// - output: `[d_in, rank]`, `[rank, d_out]`
fn factors(path: &str, weight: Tensor<2>, rank: usize) -> Result<[Tensor<2>; 2], LoraError> {
    let device = weight.device();
    let Some(Svd { mut u, s, mut v }) = svd(&to_host(weight), rank) else {
        return Err(LoraError::NoSvd {
            parameter: path.to_string(),
        });
    };
    for (i, s) in s.iter().enumerate() {
        u.column_mut(i).scale_mut(s.sqrt());
        v.column_mut(i).scale_mut(s.sqrt());
    }
    Ok([to_device(&u, &device), to_device(&v.transpose(), &device)])
}

struct Factorize {
    config: Arc<LoraConfig>,
    /// By their paths.
    weights: BTreeMap<String, FactorizedWeight>,
    broken: Option<LoraError>,
}

impl Edit for Factorize {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let weight = self.weights.get(path).filter(|_| self.broken.is_none());
        let Some(weight) = weight else {
            return (base, adapters);
        };
        if adapters.is_some() {
            self.broken = Some(LoraError::Quantization {
                tensor: path.to_string(),
                message: "it is stored in few bits: load the base in f32 to factorize it"
                    .to_string(),
            });
            return (base, adapters);
        }
        match factors(path, base.base().detach(), weight.rank) {
            Ok([c, f]) => {
                let mut adapters = LoraAdapters::new();
                let factors = LoraAdapter::from_factors(c, f, 1.0, 0.0);
                adapters.push(DEFAULT_ADAPTER, factors, self.config.clone(), true);
                adapters.set_without_base(weight.dims);
                (empty(&base), Some(adapters))
            }
            Err(error) => {
                self.broken = Some(error);
                (base, None)
            }
        }
    }
}

/// Whether a parameter has no values since the factors are in its place.
pub(crate) fn is_replaced(info: &ParameterInfo) -> bool {
    info.role == Role::Base && info.count() == 0
}
