//! Adapters that are added into their weight, and the weight as it was.

use burn::tensor::{FloatDType, Tensor};

use super::{LoraAdapters, values_of_packed};

/// What is needed to take merged adapters out again, bit for bit.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    names: Vec<String>,
    /// The base before merging: `(W + ΔW) - ΔW` is not `W` in floating point.
    base: Tensor<2>,
}

impl LoraAdapters {
    /// The adapters that are merged into the weight.
    pub fn merged(&self) -> &[String] {
        self.merged.as_ref().map_or(&[], |merged| &merged.names)
    }

    /// `weight` with the adapters `names` in it, computed in f32. Unless it is to be final,
    /// `weight` itself is kept, so that [`take_unmerged`](Self::take_unmerged) can give it back.
    pub(crate) fn merge_into(
        &mut self,
        names: &[&str],
        weight: Tensor<2>,
        last: bool,
    ) -> Tensor<2> {
        let merged = self.merged();
        let names: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !merged.iter().any(|m| m == name))
            .collect();
        if names.is_empty() {
            return weight;
        }
        let base = self
            .merged
            .as_ref()
            .map_or(&weight, |merged| &merged.base)
            .clone();
        let original = match (&self.packed, self.without_base) {
            (Some(packed), _) => values_of_packed(packed, &weight.device()),
            (None, Some(dims)) => Tensor::zeros(dims, (&weight.device(), weight.dtype())),
            (None, None) => base.clone(),
        };
        let weight = match self.merged {
            Some(_) => weight,
            None => original.clone(),
        };
        let dtype = FloatDType::from(weight.dtype());
        let wide_base = original.cast(FloatDType::F32);
        let chosen = names.iter().filter_map(|name| self.get(name));
        let sum = chosen.fold(weight.cast(FloatDType::F32), |weight, adapter| {
            adapter.add_to_weight(weight, &wide_base)
        });
        if !last {
            let before = self.merged().iter().cloned();
            let names = before.chain(names.into_iter().map(String::from)).collect();
            self.merged = Some(Merged { names, base });
        }
        sum.cast(dtype)
    }

    /// The weight before anything was merged into it, if anything was.
    pub(crate) fn before_merging(&self) -> Option<&Tensor<2>> {
        self.merged.as_ref().map(|merged| &merged.base)
    }

    /// As [`before_merging`](Self::before_merging), and nothing is merged from then on.
    pub(crate) fn take_unmerged(&mut self) -> Option<Tensor<2>> {
        self.merged.take().map(|merged| merged.base)
    }

    /// The same with what was merged into changed by `f`.
    pub(super) fn with_base(mut self, f: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Self {
        if let Some(merged) = &mut self.merged {
            merged.base = f(merged.base.clone());
        }
        self
    }
}
