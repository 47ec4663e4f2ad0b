//! Whether a record's base is the module's.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::burn_lora::BurnLora;
use crate::LoraError;
use crate::state::Location;

/// The names of `record` that are parameters of `module`'s base, all but those in `replaced` with
/// the values that the module has.
///
/// # Errors
///
/// [`LoraError::OtherBase`] with the parameters whose values differ; [`LoraError::Dtype`] if one
/// cannot be compared.
pub(super) fn same_base<M: Module>(
    record: &BurnLora,
    module: &M,
    replaced: BTreeSet<String>,
) -> Result<BTreeSet<String>, LoraError> {
    let mut compare = Compare {
        record,
        location: Location::default(),
        replaced,
        seen: BTreeSet::new(),
        differing: Vec::new(),
        error: None,
    };
    module.visit(&mut compare);
    match (compare.error, compare.differing.is_empty()) {
        (Some(error), _) => Err(error),
        (None, true) => Ok(compare.seen),
        (None, false) => Err(LoraError::OtherBase {
            path: record.path.clone(),
            parameters: compare.differing,
        }),
    }
}

/// Compares the base's parameters with the record's, one at a time.
struct Compare<'a> {
    record: &'a BurnLora,
    location: Location,
    /// Parameters that the adapter has a copy of: the record's values are the copy's.
    replaced: BTreeSet<String>,
    seen: BTreeSet<String>,
    differing: Vec<String>,
    error: Option<LoraError>,
}

impl<'a> Compare<'a> {
    /// The record's tensor for the current parameter of the base, if it is to be compared.
    fn recorded(&mut self) -> Option<&'a burn_pack::Tensor> {
        if self.error.is_some() || self.location.is_attached() {
            return None;
        }
        let path = self.location.path();
        let tensor = self.record.tensors.get(&path)?;
        let replaced = self.replaced.contains(&path);
        self.seen.insert(path);
        (!replaced).then_some(tensor)
    }

    fn compare_exactly(&mut self, own: impl FnOnce() -> TensorData) {
        if let Some(recorded) = self.recorded() {
            let recorded = self.record.any_data(recorded);
            self.compare(recorded.map(|recorded| own() == recorded));
        }
    }

    fn compare(&mut self, same: Result<bool, LoraError>) {
        match same {
            Ok(true) => {}
            Ok(false) => self.differing.push(self.location.path()),
            Err(error) => self.error = Some(error),
        }
    }
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.location.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.location.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(recorded) = self.recorded() else {
            return;
        };
        let recorded = self.record.data(recorded);
        let same = recorded.map(|recorded| {
            // Records hold what the parameter's mapper makes of it for saving.
            let own = param.transform_for_save().base().into_data();
            let values = own.iter::<f32>().zip(recorded.iter::<f32>());
            own.shape() == recorded.shape() && values.into_iter().all(|(a, b)| a == b)
        });
        self.compare(same);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.compare_exactly(|| param.transform_for_save().val().into_data());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.compare_exactly(|| param.transform_for_save().val().into_data());
    }
}
