//! Reading and replacing what is attached to a module's parameters.
//!
//! Burn attaches a reparameterization once and for all: a `map` puts the existing one back, and a
//! visitor is shown the parameter without it. Only the attached value itself still sees the visit.
//! So ours hand out a copy of themselves while [`collect`] looks, and step aside while [`edit`]
//! takes them off, which leaves the base exactly as it was.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleVisitor, Param, Reparameterizer};
use burn::tensor::Tensor;

use super::LoraAdapters;
use crate::LoraError;
use crate::modules_to_save::SavedCopies;
use crate::state::Location;

thread_local! {
    /// Copies of the attachments that a visit meets, while somebody collects them.
    static MET: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
    /// Whether attachments step aside, so that materializing a parameter gives its base.
    static ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// Called by an attachment whenever it is visited.
pub(crate) fn met<T: Any + Clone>(attachment: &T) {
    MET.with_borrow_mut(|met| {
        if let Some(met) = met {
            met.push(Box::new(attachment.clone()));
        }
    });
}

/// Whether an attachment has to leave the base as it is.
pub(crate) fn aside() -> bool {
    ASIDE.get()
}

/// `$body` for each number of dimensions `$D` that a parameter with an attachment can have in Burn.
macro_rules! each_rank {
    ($D:ident => $body:block) => {
        each_rank!(@ $D $body 1 2 3 4 5 6 7 8)
    };
    (@ $D:ident $body:block $($rank:literal)*) => {
        $({
            const $D: usize = $rank;
            $body
        })*
    };
}

/// What is attached to a module's parameters, by their paths.
#[derive(Default)]
pub(crate) struct Attachments {
    found: BTreeMap<String, Box<dyn Any>>,
    /// The base's parameters.
    bases: BTreeSet<String>,
    /// The numbers of dimensions that they have.
    ranks: BTreeSet<usize>,
    /// Those that carry another crate's reparameterization.
    foreign: Vec<String>,
}

impl Attachments {
    /// The low-rank adapters, in the order of their paths.
    pub(crate) fn lora(&self) -> impl Iterator<Item = (&str, &LoraAdapters)> {
        let all = self.found.iter();
        all.filter_map(|(path, any)| Some((path.as_str(), any.downcast_ref()?)))
    }

    /// The parameters that adapters have copies of, in the order of their paths.
    pub(crate) fn saved(&self) -> impl Iterator<Item = Saved<'_>> {
        self.found.iter().filter_map(|(path, any)| {
            each_rank!(D => {
                if let Some(copies) = any.downcast_ref::<SavedCopies<D>>() {
                    return Some(Saved::new(path, copies));
                }
            });
            None
        })
    }

    /// Fails if there is another crate's reparameterization, which cannot be taken off unchanged.
    pub(crate) fn require_ours(&self) -> Result<(), LoraError> {
        match self.foreign.first() {
            None => Ok(()),
            Some(parameter) => Err(LoraError::ForeignReparameterization {
                parameter: parameter.clone(),
            }),
        }
    }

    fn holds<T: Any>(&self, path: &str) -> bool {
        self.found.get(path).is_some_and(|any| any.is::<T>())
    }

    fn take<T: Any>(&mut self, path: &str) -> Option<T> {
        if !self.holds::<T>(path) {
            return None;
        }
        let any = self.found.remove(path)?;
        any.downcast().ok().map(|attachment| *attachment)
    }
}

/// Whose copies there are of one parameter, however many dimensions it has.
pub(crate) struct Saved<'a> {
    /// The parameter's path.
    pub(crate) path: &'a str,
    /// The adapters that have a copy, in the order they were added.
    pub(crate) owners: Vec<&'a str>,
    /// The one whose copy is chosen, be the copies enabled or not.
    pub(crate) active: Option<&'a str>,
    pub(crate) enabled: bool,
}

impl<'a> Saved<'a> {
    fn new<const D: usize>(path: &'a str, copies: &'a SavedCopies<D>) -> Self {
        Self {
            path,
            owners: copies.names().collect(),
            active: copies.names().find(|name| copies.is_active(name)),
            enabled: copies.is_enabled(),
        }
    }
}

/// Copies of everything that is attached to `module`'s parameters; tensors are shared.
pub(crate) fn collect<M: Module>(module: &M) -> Attachments {
    #[derive(Default)]
    struct Collect {
        location: Location,
        attachments: Attachments,
    }

    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, container: &str) {
            if container == "Reparameterization" {
                MET.set(Some(Vec::new()));
            }
            self.location.enter(name, container);
        }

        fn exit_module(&mut self, _name: &str, container: &str) {
            self.location.exit();
            if container != "Reparameterization" {
                return;
            }
            let path = self.location.path();
            match MET.take().and_then(|mut met| met.pop()) {
                Some(attachment) => {
                    self.attachments.found.insert(path, attachment);
                }
                None => self.attachments.foreign.push(path),
            }
        }

        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            if !self.location.is_attached() {
                self.attachments.bases.insert(self.location.path());
                self.attachments.ranks.insert(D);
            }
        }
    }

    let mut visitor = Collect::default();
    module.visit(&mut visitor);
    visitor.attachments
}

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
