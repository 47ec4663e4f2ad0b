//! Mixed batches: each row of a batch goes through the adapter that it names.

mod part;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor};
use part::Part;

use super::attachments::{Attachments, Edit, collect, edit};
use super::module::{require, require_any};
use super::{LoraAdapter, LoraAdapters};
use crate::LoraError;
use crate::modules_to_save::SavedCopies;
use crate::state::{Role, parameters};

/// What a row of a mixed batch names to go through no adapter, as in PEFT.
pub const BASE_ADAPTER: &str = "__base__";

/// The adapters that the rows of a batch name.
#[derive(Debug)]
pub(crate) struct MixedBatch {
    rows: usize,
    /// One for each adapter, in the order they are first named; the base has none.
    groups: Vec<Group>,
}

/// The rows that name one adapter, in rising order.
#[derive(Debug)]
struct Group {
    adapter: String,
    rows: Vec<usize>,
}

impl MixedBatch {
    fn new(names: &[&str]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (row, name) in names.iter().enumerate() {
            if *name == BASE_ADAPTER {
                continue;
            }
            match groups.iter_mut().find(|group| group.adapter == *name) {
                Some(group) => group.rows.push(row),
                None => groups.push(Group {
                    adapter: name.to_string(),
                    rows: vec![row],
                }),
            }
        }
        Self {
            rows: names.len(),
            groups,
        }
    }

    /// What each row names.
    pub(crate) fn row_names(&self) -> Vec<String> {
        let mut names = vec![BASE_ADAPTER.to_string(); self.rows];
        for group in &self.groups {
            for row in &group.rows {
                names[*row].clone_from(&group.adapter);
            }
        }
        names
    }

    /// The adapters that are named, without the base.
    fn adapters(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| group.adapter.as_str())
    }

    /// Whether some row names `adapter`.
    pub(crate) fn names(&self, adapter: &str) -> bool {
        self.adapters().any(|name| name == adapter)
    }

    /// The adapter that every row names.
    pub(crate) fn only(&self) -> Option<&str> {
        match &self.groups[..] {
            [group] if group.rows.len() == self.rows => Some(&group.adapter),
            _ => None,
        }
    }

    /// # Panics
    ///
    /// Panics if the rows name different adapters, so that no one weight is right for all.
    pub(crate) fn require_only(&self) {
        assert!(
            self.only().is_some(),
            "a weight was read as a whole, but the rows of the batch (`for_rows`) go through \
             different adapters of it: {}",
            self.adapters().collect::<Vec<_>>().join(", ")
        );
    }

    /// `output`, the linear layer's without adapters, with each row's adapter.
    ///
    /// # Shapes
    ///
    /// - `output`: `[rows · n, d_out]`
    /// - `x`: `[rows · n, d_in]`
    pub(crate) fn linear(
        &self,
        adapters: &LoraAdapters,
        output: Tensor<2>,
        x: Tensor<2>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
    ) -> Tensor<2> {
        self.through(adapters, output, |adapter, part, output| {
            adapter.add_to_linear(output, part.take(x.clone()), weight, bias)
        })
    }

    /// `output`, the table's vectors without adapters, with each row's adapter.
    ///
    /// # Shapes
    ///
    /// - `output`: `[rows · n, d_model]`
    /// - `ids`: `[rows · n]`
    pub(crate) fn embedding(
        &self,
        adapters: &LoraAdapters,
        output: Tensor<2>,
        ids: Tensor<1, Int>,
        weight: &Tensor<2>,
    ) -> Tensor<2> {
        let ids = ids.unsqueeze_dim::<2>(1);
        self.through(adapters, output, |adapter, part, output| {
            let narrow = embedding(adapter.a.val(), part.take(ids.clone()));
            let narrow = narrow.reshape([output.dims()[0], adapter.rank()]);
            adapter.add_to_embedding(output, narrow, weight)
        })
    }

    /// `output` with each group's part of it replaced by what `f` makes of that part: `f` is called
    /// once for each adapter that is named and that the layer has, and sees no other rows.
    fn through(
        &self,
        adapters: &LoraAdapters,
        output: Tensor<2>,
        f: impl Fn(&LoraAdapter, &Part, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let vectors = output.dims()[0];
        assert!(
            vectors.is_multiple_of(self.rows),
            "`for_rows` named the adapters of {} rows, but the input of a layer has {vectors} \
             vectors, which is no multiple of that: its leading axis has to be the batch",
            self.rows
        );
        let device = output.device();
        let groups = self.groups.iter();
        let groups = groups.filter_map(|group| Some((adapters.get(&group.adapter)?, group)));
        groups.fold(output, |output, (adapter, group)| {
            let part = Part::new(&group.rows, self.rows, vectors / self.rows, &device);
            let adapted = f(adapter, &part, part.take(output.clone()));
            part.put(output, adapted)
        })
    }
}

/// [`LoraModule::for_rows`](crate::LoraModule::for_rows).
pub(crate) fn for_rows<M: Module>(module: &M, names: &[&str]) -> Result<M, LoraError> {
    if names.is_empty() {
        return Err(LoraError::NoRows);
    }
    require_any(module)?;
    let batch = MixedBatch::new(names);
    require(module, &batch.adapters().collect::<Vec<_>>())?;
    let attachments = collect(module);
    for (_, adapters) in attachments.lora() {
        if let Some(merged) = adapters.merged().first() {
            return Err(LoraError::AdapterMerged {
                adapter: merged.clone(),
            });
        }
        if !adapters.is_enabled() {
            return Err(LoraError::AdaptersDisabled);
        }
    }
    if batch.only().is_none() {
        require_factored(module, &attachments, &batch)?;
        require_one_value(attachments.saved::<1>(), names)?;
        require_one_value(attachments.saved::<2>(), names)?;
        require_one_value(attachments.saved::<3>(), names)?;
        require_one_value(attachments.saved::<4>(), names)?;
    }
    edit(module.clone(), &mut SetBatch(Arc::new(batch)))
}

/// Fails if an adapter that is named sits in a module that only sees its composed weight.
fn require_factored<M: Module>(
    module: &M,
    attachments: &Attachments,
    batch: &MixedBatch,
) -> Result<(), LoraError> {
    let bases = parameters(module).into_iter();
    let bases: BTreeMap<String, _> = bases
        .filter(|p| p.role == Role::Base)
        .map(|p| (p.path.clone(), p))
        .collect();
    for (path, adapters) in attachments.lora() {
        let Some(base) = bases.get(path) else {
            continue;
        };
        let factored = matches!(
            base.owner.as_str(),
            "LoraLinear" | "LoraConv1D" | "LoraEmbedding"
        );
        if !factored && adapters.names().any(|name| batch.names(name)) {
            return Err(LoraError::MixedBatchUnsupported {
                module: base.module().to_string(),
                kind: base.owner.clone(),
            });
        }
    }
    Ok(())
}

/// Fails if the rows would need different values of one parameter, of which a module has one.
fn require_one_value<'a, const D: usize>(
    all: impl Iterator<Item = (&'a str, &'a SavedCopies<D>)>,
    names: &[&str],
) -> Result<(), LoraError> {
    for (path, copies) in all {
        let of = |name: &str| copies.names().find(|owner| *owner == name);
        if names.iter().any(|name| of(name) != of(names[0])) {
            let owners = copies.names().filter(|owner| names.contains(owner));
            return Err(LoraError::MixedBatchOfCopies {
                parameter: path.to_string(),
                adapters: owners.map(String::from).collect(),
            });
        }
    }
    Ok(())
}

/// Gives everything that adapters are in the batch's choice.
struct SetBatch(Arc<MixedBatch>);

impl Edit for SetBatch {
    fn lora(
        &mut self,
        _path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let batch = Some(self.0.clone());
        (base, adapters.map(|adapters| adapters.with_batch(batch)))
    }

    fn saved<const D: usize>(
        &mut self,
        _path: &str,
        base: Param<Tensor<D>>,
        copies: Option<SavedCopies<D>>,
    ) -> (Param<Tensor<D>>, Option<SavedCopies<D>>) {
        let batch = Some(self.0.clone());
        (base, copies.map(|copies| copies.with_batch(batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoraConfig;
    use std::cell::RefCell;

    fn adapters(names: &[&str]) -> LoraAdapters {
        let device = crate::default_device();
        let mut adapters = LoraAdapters::new();
        for name in names {
            let adapter = LoraAdapter::linear([4, 3], 2, 1.0, 0.0, &device);
            adapters.push(name, adapter, Arc::new(LoraConfig::new()), false);
        }
        adapters
    }

    /// How many vectors each call of the grouped product sees.
    fn calls(names: &[&str], present: &[&str], per_row: usize) -> Vec<usize> {
        let device = crate::default_device();
        let calls = RefCell::new(Vec::new());
        let output = Tensor::zeros([names.len() * per_row, 3], &device);
        MixedBatch::new(names).through(&adapters(present), output, |_, _, part| {
            calls.borrow_mut().push(part.dims()[0]);
            part
        });
        calls.into_inner()
    }

    #[test]
    fn there_is_one_product_for_each_adapter_however_many_rows_name_it() {
        let names = ["b", "a", "__base__", "b", "c", "a", "b"];
        assert_eq!(calls(&names, &["a", "b", "c"], 5), [15, 10, 5]);
        // Nothing is computed for rows of the base, nor of adapters that the layer lacks.
        assert_eq!(calls(&names, &["c"], 5), [5]);
        assert!(calls(&["__base__"; 4], &["a"], 2).is_empty());
        assert_eq!(calls(&["a"; 9], &["a"], 1), [9]);
    }
}
