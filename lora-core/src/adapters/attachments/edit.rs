//! Replacing what is attached, and the parameters it is attached to.

use std::any::Any;

use burn::module::{Module, Param, Reparameterizer};
use burn::tensor::Tensor;

use super::{ASIDE, Attachments, collect, each_rank};
use crate::LoraError;
use crate::adapters::LoraAdapters;
use crate::modules_to_save::SavedCopies;

/// How [`edit`] changes each of the base's parameters and what is attached to it.
pub(crate) trait Edit {
    /// A matrix and its adapters; what is returned takes their place.
    fn lora(
        &mut self,
        _path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        (base, adapters)
    }

    /// A parameter and its copies, asked for every one that has no low-rank adapters.
    fn saved<const D: usize>(
        &mut self,
        _path: &str,
        base: Param<Tensor<D>>,
        copies: Option<SavedCopies<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<D>>) {
        (base, copies)
    }
}

/// Hands every parameter of `module`'s base to `editor`, with what is attached to it.
///
/// Neither the base nor the factors are copied or computed with. What the rows of a mixed batch
/// name is forgotten, unless the editor says it anew: it may not fit the adapters any more.
///
/// # Errors
///
/// [`LoraError::ForeignReparameterization`]: taking that off would change its parameter.
pub(crate) fn edit<M: Module>(module: M, editor: &mut impl Edit) -> Result<M, LoraError> {
    let mut attachments = collect(&module);
    attachments.require_ours()?;
    let module = match attachments.found.is_empty() {
        true => module,
        false => bare(module),
    };
    let mut module = module.apply_reparameterization(AttachLora {
        editor,
        attachments: &mut attachments,
    });
    each_rank!(D => {
        if attachments.ranks.contains(&D) {
            module = module.apply_reparameterization(AttachSaved::<_, D> {
                editor,
                attachments: &mut attachments,
            });
        }
    });
    Ok(module)
}

/// `module` without what is attached to its parameters, and the parameters as they are.
fn bare<M: Module>(module: M) -> M {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            ASIDE.set(false);
        }
    }
    ASIDE.set(true);
    let _guard = Guard;
    module.materialize()
}

struct AttachLora<'a, E> {
    editor: &'a mut E,
    attachments: &'a mut Attachments,
}

impl<E: Edit> Reparameterizer for AttachLora<'_, E> {
    type Reparam = LoraAdapters;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraAdapters>) {
        let Some(matrix) = same::<_, Param<Tensor<2>>>(&param) else {
            return (param, None);
        };
        if self.attachments.holds::<SavedCopies<2>>(path) {
            return (param, None);
        }
        let adapters: Option<LoraAdapters> = self.attachments.take(path);
        let adapters = adapters.map(|adapters| adapters.with_batch(None));
        let (base, adapters) = self.editor.lora(path, matrix, adapters);
        if adapters.is_some() {
            self.attachments.bases.remove(path);
        }
        (same(&base).unwrap_or(param), adapters)
    }
}

struct AttachSaved<'a, E, const N: usize> {
    editor: &'a mut E,
    attachments: &'a mut Attachments,
}

impl<E: Edit, const N: usize> Reparameterizer for AttachSaved<'_, E, N> {
    type Reparam = SavedCopies<N>;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<N>>) {
        // What the earlier passes attached is visited too, and is none of the base's.
        if D != N || !self.attachments.bases.contains(path) {
            return (param, None);
        }
        let copies: Option<SavedCopies<D>> = self.attachments.take(path);
        let copies = copies.map(|copies| copies.with_batch(None));
        let (base, copies) = self.editor.saved(path, param, copies);
        (base, copies.as_ref().and_then(same))
    }
}

/// `value` as the type `U`, if that is what it is: ranks are only numbers to the compiler.
fn same<T: Any, U: Any + Clone>(value: &T) -> Option<U> {
    (value as &dyn Any).downcast_ref::<U>().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::attachments::aside;
    use crate::{LoraConfig, LoraModule};
    use burn::module::Lora;
    use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};

    #[derive(Module, Debug)]
    struct Block {
        dense: Linear,
        norm: LayerNorm,
    }

    fn block() -> Block {
        let device = crate::default_device().autodiff();
        Block {
            dense: LinearConfig::new(4, 3).init(&device),
            norm: LayerNormConfig::new(3).init(&device),
        }
    }

    struct Nothing;
    impl Edit for Nothing {}

    #[test]
    fn an_edit_that_does_nothing_changes_nothing() {
        let config = LoraConfig::new()
            .with_target_modules(["dense"])
            .with_modules_to_save(["norm"]);
        let model = config.inject(block()).unwrap();
        let before = crate::state::parameters(&model);
        let ids = |model: &Block| {
            let copies = model.norm.gamma.reparameterization::<SavedCopies<1>>();
            let copy = copies.unwrap().get("default").unwrap().id;
            let found = collect(model);
            let adapter = found.lora().next().unwrap().1.get("default").unwrap().a.id;
            (model.dense.weight.id, model.norm.gamma.id, copy, adapter)
        };
        let edited = edit(model.clone(), &mut Nothing).unwrap();
        assert_eq!(crate::state::parameters(&edited), before);
        assert_eq!(ids(&edited), ids(&model));
        assert!(!aside());
        edited
            .dense
            .weight
            .base()
            .into_data()
            .assert_eq(&model.dense.weight.base().into_data(), true);
    }

    #[test]
    fn lazy_parameters_stay_lazy() {
        let edited = edit(block(), &mut Nothing).unwrap();
        assert!(!edited.dense.weight.is_initialized());
    }

    #[test]
    fn another_reparameterization_is_refused() {
        let model = block().apply_lora(Lora::new(2, 4.0));
        let error = edit(model.clone(), &mut Nothing).unwrap_err().to_string();
        assert!(error.contains("dense.weight"), "{error}");
        assert!(model.adapter_names().is_empty());
    }
}
