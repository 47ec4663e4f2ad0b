//! The base's weight while an adapter's start is taken out of it.

use std::fmt;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use crate::LoraError;
use crate::adapters::LoraAdapters;
use crate::adapters::attachments::{Edit, collect, edit};
use crate::merge::replaced;

/// How many values are remembered of a weight.
const SAMPLES: usize = 64;

/// What an initialisation leaves of a weight.
pub(crate) struct Rest {
    /// The weight without the adapter's start, `[d_in, d_out]` and of the weight's type.
    pub(crate) weight: Tensor<2>,
    /// The start, if that is all the weight lacks: `A₀` times the scaling, `[d_in, r]`, and `B₀`.
    pub(crate) start: Option<[TensorData; 2]>,
}

/// The two weights of a base whose adapter took its start out of it: the original, and the rest.
///
/// The parameter holds the rest while that adapter takes part in the forward pass, and the original
/// otherwise. The one it does not hold is here, on the host: no device has to hold both.
#[derive(Clone)]
pub(crate) struct Residual {
    adapter: String,
    start: Option<Arc<[TensorData; 2]>>,
    /// Whether the parameter holds the rest.
    in_use: bool,
    /// The weight that the parameter does not hold.
    other: Arc<TensorData>,
    /// Values of the one that it does: a record can replace a parameter, but not what is here.
    held: Arc<[f32]>,
}

impl Residual {
    /// For the parameter `original`, which holds the rest from now on if `in_use`.
    pub(crate) fn new(adapter: &str, original: Tensor<2>, rest: &Rest, in_use: bool) -> Self {
        let original = original.into_data();
        let taken = rest.weight.clone().into_data();
        let (held, other) = match in_use {
            true => (taken, original),
            false => (original, taken),
        };
        Self {
            adapter: adapter.to_string(),
            start: rest.start.clone().map(Arc::new),
            in_use,
            held: samples(&held).into(),
            other: Arc::new(other),
        }
    }

    /// The adapter that took its start.
    pub(crate) fn adapter(&self) -> &str {
        &self.adapter
    }

    /// The start, if the rest is the original without a low-rank part: `A₀` times the scaling and
    /// `B₀`.
    pub(crate) fn start(&self) -> Option<&[TensorData; 2]> {
        self.start.as_deref()
    }

    /// Fails if the parameter at `path` holds something else than it was given.
    fn require_held(&self, path: &str, value: &TensorData) -> Result<(), LoraError> {
        let found = samples(value);
        let difference = found.iter().zip(&*self.held).map(|(a, b)| (a - b).abs());
        let size: f32 = self.held.iter().map(|v| v.abs()).sum();
        // The same decomposition on another machine differs by rounding, another weight by much.
        match found.len() == self.held.len() && difference.sum::<f32>() <= 0.01 * size {
            true => Ok(()),
            false => Err(LoraError::BaseReplaced {
                parameter: path.to_string(),
                adapter: self.adapter.clone(),
            }),
        }
    }

    /// The other weight, in place of `value`.
    fn exchange(&mut self, path: &str, value: Tensor<2>) -> Result<Tensor<2>, LoraError> {
        let (device, dtype) = (value.device(), value.dtype());
        let value = value.into_data();
        self.require_held(path, &value)?;
        let other = std::mem::replace(&mut self.other, Arc::new(value));
        self.held = samples(&other).into();
        self.in_use = !self.in_use;
        let other = Arc::unwrap_or_clone(other);
        Ok(Tensor::from_data(other, (&device, dtype)))
    }
}

/// Not the weights: they are large.
impl fmt::Debug for Residual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Residual")
            .field("adapter", &self.adapter)
            .field("in_use", &self.in_use)
            .finish_non_exhaustive()
    }
}

fn samples(data: &TensorData) -> Vec<f32> {
    let values = data.num_elements();
    let step = values.div_ceil(SAMPLES).max(1);
    data.iter::<f32>().step_by(step).collect()
}

/// Fails if an adapter cannot take its start out of the weight at `path`.
pub(crate) fn require_free(path: &str, adapters: &LoraAdapters) -> Result<(), LoraError> {
    if let Some(residual) = adapters.residual() {
        return Err(LoraError::BaseTaken {
            parameter: path.to_string(),
            adapter: residual.adapter.clone(),
        });
    }
    match adapters.merged().first() {
        None => Ok(()),
        Some(adapter) => Err(LoraError::AdapterMerged {
            adapter: adapter.clone(),
        }),
    }
}

/// Fails if one of the adapters that `concerns` says took its start out of the base.
pub(crate) fn require_none<M: Module>(
    module: &M,
    call: &'static str,
    concerns: impl Fn(&str) -> bool,
) -> Result<(), LoraError> {
    let attachments = collect(module);
    let mut residuals = attachments.lora().filter_map(|(_, all)| all.residual());
    match residuals.find(|residual| concerns(residual.adapter())) {
        None => Ok(()),
        Some(residual) => Err(LoraError::StartTaken {
            call,
            adapter: residual.adapter.clone(),
        }),
    }
}

/// Gives each weight the value that its active adapters need. `leaving` counts as inactive.
///
/// # Errors
///
/// [`LoraError::BaseReplaced`].
pub(crate) fn settle<M: Module>(module: M, leaving: Option<&str>) -> Result<M, LoraError> {
    apply(module, |path, base, adapters| {
        let Some(residual) = adapters.residual() else {
            return Ok(base);
        };
        // What is merged has been added to the value it needs.
        if !adapters.merged().is_empty() {
            return Ok(base);
        }
        let name = residual.adapter();
        let wanted = adapters.is_enabled() && adapters.is_active(name) && leaving != Some(name);
        hold(path, base, adapters, wanted)
    })
}

/// Gives each weight the value that `names`, or without them the active adapters, have to be
/// merged into. `last` is for a merge that ends in a module without adapters.
///
/// # Errors
///
/// [`LoraError::BaseReplaced`].
pub(crate) fn settle_to_merge<M: Module>(
    module: M,
    names: Option<&[&str]>,
    last: bool,
) -> Result<M, LoraError> {
    apply(module, |path, base, adapters| {
        let Some(residual) = adapters.residual() else {
            return Ok(base);
        };
        let before = adapters.merged().to_vec();
        let chosen = |name: &str| match names {
            Some(names) => names.contains(&name),
            None => adapters.is_enabled() && adapters.is_active(name),
        };
        let merges = |name: &str| chosen(name) || before.iter().any(|merged| merged == name);
        let wanted = merges(residual.adapter());
        let none = !adapters.names().any(merges);
        if (none && !last) || wanted == residual.in_use {
            return Ok(base);
        }
        let unmerged = adapters.take_unmerged();
        let base = unmerged.map_or(base.clone(), |weight| replaced(base, |_| weight));
        let base = hold(path, base, adapters, wanted)?;
        let names: Vec<&str> = before.iter().map(String::as_str).collect();
        Ok(replaced(base, |weight| {
            adapters.merge_into(&names, weight, false)
        }))
    })
}

/// Fails if a weight that the adapter `name` took its start out of is not what it was made.
pub(crate) fn require_held<M: Module>(module: &M, name: &str) -> Result<(), LoraError> {
    apply(module.clone(), |path, base, adapters| {
        if let Some(residual) = adapters.residual().filter(|r| r.adapter() == name) {
            let value = adapters.before_merging().cloned();
            let value = value.unwrap_or_else(|| base.base());
            residual.require_held(path, &value.into_data())?;
        }
        Ok(base)
    })
    .map(|_| ())
}

/// `base` with the rest in it, or the original.
fn hold(
    path: &str,
    base: Param<Tensor<2>>,
    adapters: &mut LoraAdapters,
    rest: bool,
) -> Result<Param<Tensor<2>>, LoraError> {
    let Some(residual) = adapters.residual_mut().filter(|r| r.in_use != rest) else {
        return Ok(base);
    };
    let other = residual.exchange(path, base.base().without_autodiff())?;
    Ok(replaced(base, |value| match value.is_autodiff() {
        true => other.autodiff(),
        false => other,
    }))
}

/// Changes every weight that has adapters, unless nothing was ever taken out of one.
fn apply<M: Module>(
    module: M,
    f: impl FnMut(&str, Param<Tensor<2>>, &mut LoraAdapters) -> Result<Param<Tensor<2>>, LoraError>,
) -> Result<M, LoraError> {
    if !collect(&module)
        .lora()
        .any(|(_, all)| all.residual().is_some())
    {
        return Ok(module);
    }
    let mut apply = Apply { f, broken: None };
    let module = edit(module, &mut apply)?;
    apply.broken.map_or(Ok(module), Err)
}

struct Apply<F> {
    f: F,
    broken: Option<LoraError>,
}

impl<F> Edit for Apply<F>
where
    F: FnMut(&str, Param<Tensor<2>>, &mut LoraAdapters) -> Result<Param<Tensor<2>>, LoraError>,
{
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        mut adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let changed = match (&mut adapters, &self.broken) {
            (Some(adapters), None) => (self.f)(path, base.clone(), adapters),
            _ => Ok(base.clone()),
        };
        match changed {
            Ok(base) => (base, adapters),
            Err(error) => {
                self.broken = Some(error);
                (base, adapters)
            }
        }
    }
}
