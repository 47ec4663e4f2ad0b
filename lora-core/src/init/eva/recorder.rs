//! Looking at the inputs of layers while a model runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Param;
use burn::tensor::Tensor;

use crate::adapters::LoraAdapters;
use crate::adapters::attachments::Edit;

/// The inputs of one layer since it was last asked, `[rows, d_in]` each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Tensor<2>>>>);

impl Recorder {
    pub(crate) fn record(&self, x: &Tensor<2>) {
        self.inputs().push(x.clone());
    }

    pub(super) fn take(&self) -> Vec<Tensor<2>> {
        std::mem::take(&mut *self.inputs())
    }

    fn inputs(&self) -> MutexGuard<'_, Vec<Tensor<2>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the layers record their inputs.
pub(super) struct Observe(pub(super) BTreeMap<String, Recorder>);

impl Edit for Observe {
    fn lora(
        &mut self,
        path: &str,
        base: Param<Tensor<2>>,
        adapters: Option<LoraAdapters>,
    ) -> (Param<Tensor<2>>, Option<LoraAdapters>) {
        let recorder = self.0.remove(path);
        (
            base,
            adapters.map(|adapters| adapters.with_recorder(recorder)),
        )
    }
}
