//! Choosing the adapters for the rows of a batch, where the model's modules can follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::MixedBatch;
use crate::LoraError;
use crate::adapters::LoraAdapters;
use crate::adapters::attachments::{Attachments, Edit, collect, edit};
use crate::adapters::requirements::{require, require_any};
use crate::modules_to_save::SavedCopies;
use crate::state::{ParameterInfo, Role, parameters};
use crate::tie::Ties;

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
        require_row_by_row(module, &attachments, &batch)?;
    }
    edit(module.clone(), &mut SetBatch(Arc::new(batch)))
}

/// Fails if the rows name different adapters or copies of a parameter that is only read as a whole.
fn require_row_by_row<M: Module>(
    module: &M,
    attachments: &Attachments,
    batch: &MixedBatch,
) -> Result<(), LoraError> {
    let bases = parameters(module).into_iter();
    let bases: BTreeMap<String, ParameterInfo> = bases
        .filter(|p| p.role == Role::Base)
        .map(|p| (p.path.clone(), p))
        .collect();
    for (path, adapters) in attachments.lora() {
        let Some(base) = bases.get(path) else {
            continue;
        };
        if !sees_rows(base) && adapters.names().any(|name| batch.names(name)) {
            return Err(LoraError::MixedBatchUnsupported {
                module: base.module().to_string(),
                kind: base.owner.clone(),
            });
        }
    }
    let ties = Ties::of(module)?;
    for saved in attachments.saved() {
        if batch.agrees(|name| saved.owners.contains(&name)) {
            continue;
        }
        let kind = bases.get(saved.path).filter(|base| !sees_rows(base));
        let reader = match (kind, ties.user_of(saved.path)) {
            (Some(base), _) => format!("a {}", base.owner),
            (None, Some(user)) => format!("{user}, which shares it,"),
            (None, None) => continue,
        };
        let owners = saved.owners.iter().filter(|owner| batch.names(owner));
        return Err(LoraError::MixedBatchOfCopies {
            parameter: saved.path.to_string(),
            adapters: owners.map(|owner| owner.to_string()).collect(),
            reader,
        });
    }
    Ok(())
}

/// Whether the parameter's module is one of this crate's, which see the rows of their input before
/// they read their parameters. Any other asks its parameter for its value, and Burn has one.
fn sees_rows(base: &ParameterInfo) -> bool {
    matches!(
        base.owner.as_str(),
        "LoraLinear" | "LoraConv1D" | "LoraEmbedding"
    )
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
