//! Reading and replacing what is attached to a module's parameters.
//!
//! Burn attaches a reparameterization once and for all: a `map` puts the existing one back, and a
//! visitor is shown the parameter without it. Only the attached value itself still sees the visit.
//! So ours hand out a copy of themselves while [`collect`] looks, and step aside while [`edit`]
//! takes them off, which leaves the base exactly as it was.

mod edit;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

pub(crate) use edit::{Edit, edit};

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
use each_rank;

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

    /// Whether a weight has an adapter, and not only a base in few bits.
    pub(crate) fn has_adapters(&self) -> bool {
        self.lora().any(|(_, all)| all.names().next().is_some())
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

/// Whether what is attached to `module` depends on which rows its layers are given: the adapters of a
/// mixed batch ([`LoraModule::for_rows`](crate::LoraModule::for_rows)) do, and whoever looks at the
/// layers' inputs. A model must then compute all rows of a batch, padding too.
pub fn needs_all_rows<M: Module>(module: &M) -> bool {
    let attachments = collect(module);
    let mut adapters = attachments.lora();
    adapters.any(|(_, adapters)| adapters.batch().is_some() || adapters.has_recorder())
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
