//! Adding adapters into the weights they adapt, and taking them out again.

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Tensor};

use crate::LoraError;
use crate::adapters::LoraAdapters;
use crate::adapters::attachments::{Edit, edit};
use crate::init::residual::settle_to_merge;
use crate::modules_to_save::SavedCopies;

/// How the adapters of a model are merged.
pub(crate) struct Merge<'a> {
    /// The adapters to merge; `None`: the active ones.
    pub(crate) adapters: Option<&'a [&'a str]>,
    /// Whether the adapters are taken off, and copies of modules put in their originals' place.
    pub(crate) unload: bool,
    /// The type that every parameter is given.
    pub(crate) dtype: Option<FloatDType>,
    broken: Option<LoraError>,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(adapters: Option<&'a [&'a str]>) -> Self {
        Self {
            adapters,
            unload: false,
            dtype: None,
            broken: None,
        }
    }

    pub(crate) fn unloading(mut self) -> Self {
        self.unload = true;
        self
    }

    pub(crate) fn with_dtype(mut self, dtype: FloatDType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    pub(crate) fn apply<M: Module>(mut self, module: M) -> Result<M, LoraError> {
        let module = settle_to_merge(module, self.adapters, self.unload)?;
        let module = edit(module, &mut self)?;
        self.broken.map_or(Ok(module), Err)
    }

    /// `param` in the type asked for, after a look for values that are not finite.
    fn checked<const D: usize>(&mut self, path: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.broken.is_none() {
            self.broken = not_finite(path, &param);
        }
        match self.dtype {
            Some(dtype) => replaced(param, |value| value.cast(dtype)),
            None => param,
        }
    }
}

impl Edit for Merge<'_> {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        // A matrix without adapters comes by again, below.
        let Some(mut adapters) = adapters else {
            return (base, None);
        };
        let names: Vec<String> = adapters.names().map(String::from).collect();
        let chosen = |name: &&String| match self.adapters {
            Some(chosen) => chosen.contains(&name.as_str()),
            None => adapters.is_enabled() && adapters.is_active(name),
        };
        let chosen: Vec<&str> = names.iter().filter(chosen).map(String::as_str).collect();
        let merges = !chosen.is_empty() || !adapters.merged().is_empty();
        // Without a merge, values in few bits stay so, and where there are none there will be none.
        if adapters.without_base().is_some() && !merges {
            return (base, Some(adapters));
        }
        if adapters.packed().is_some() && !merges {
            let rest = match self.unload {
                true => adapters.into_packed(),
                false => Some(adapters),
            };
            return (base, rest);
        }
        let base = replaced(base, |weight| {
            adapters.merge_into(&chosen, weight, self.unload)
        });
        let base = self.checked(path, base);
        (base, (!self.unload).then_some(adapters))
    }

    fn saved<const D: usize>(
        &mut self,
        path: &str,
        base: Param<Tensor<D>>,
        copies: Option<SavedCopies<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<D>>) {
        if !self.unload {
            return (base, copies);
        }
        let Some(copies) = copies else {
            return (self.checked(path, base), None);
        };
        let chosen = match self.adapters {
            Some(names) => copies.names().find(|name| names.contains(name)),
            None => copies.active(),
        };
        let copy = chosen.and_then(|name| copies.get(name)).cloned();
        let merged = copy.map_or(base.clone(), |copy| {
            let (_, value, mapper) = copy.consume();
            Param::from_mapped_value(base.id, value, mapper)
        });
        (self.checked(path, merged), None)
    }
}

/// Puts the bases back that [`Merge`] changed, bit for bit.
pub(crate) struct Unmerge;

impl Edit for Unmerge {
    fn lora(
        &mut self,
        _path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        match adapters {
            None => (base, None),
            Some(mut adapters) => match adapters.take_unmerged() {
                Some(weight) => (replaced(base, |_| weight), Some(adapters)),
                None => (base, Some(adapters)),
            },
        }
    }
}

/// `param` with another value, a leaf like the one before, and the same id and training state.
pub(crate) fn replaced<const D: usize>(
    param: Param<Tensor<D>>,
    f: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    param.map(|value| {
        let require_grad = value.is_require_grad();
        f(value.detach()).detach().set_require_grad(require_grad)
    })
}

fn not_finite<const D: usize>(path: &str, param: &Param<Tensor<D>>) -> Option<LoraError> {
    // A sum is finite only if every term is, or the terms overflow: count only then.
    let value = param.base().without_autodiff();
    if value.clone().sum().into_scalar::<f32>().is_finite() {
        return None;
    }
    let values = value.into_data();
    let count = values.iter::<f32>().filter(|v| !v.is_finite()).count();
    (count > 0).then(|| LoraError::NotFinite {
        parameter: path.to_string(),
        count,
    })
}
