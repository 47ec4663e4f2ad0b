//! A base weight in few bits, and the adapters beside it.

use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::LoraAdapters;
use crate::ops::{LowRank, linear, low_rank_linear, packed_linear};
use crate::quantization::PackedWeight;

impl LoraAdapters {
    /// The base's weight, if it is stored in few bits. What is merged into it is not.
    pub fn packed(&self) -> Option<&Arc<PackedWeight>> {
        self.packed.as_ref().filter(|_| self.merged.is_none())
    }

    pub(crate) fn set_packed(&mut self, packed: Option<Arc<PackedWeight>>) {
        self.packed = packed;
    }

    /// These without any adapter, if there is a weight in few bits to keep.
    pub(crate) fn into_packed(self) -> Option<Self> {
        let packed = self.packed()?.clone();
        let mut adapters = Self::new();
        adapters.packed = Some(packed);
        Some(adapters)
    }

    /// The base's values, `[d_in, d_out]`, where `base` is what its parameter holds.
    pub(crate) fn base_values(&self, base: Tensor<2>) -> Tensor<2> {
        match (self.packed(), self.without_base()) {
            (Some(packed), _) => values(packed, &base.device()),
            (None, Some(dims)) => Tensor::zeros(dims, (&base.device(), base.dtype())),
            (None, None) => base,
        }
    }

    /// As [`base_values`](Self::base_values), if one of the active adapters reads them.
    pub(super) fn values_to_read(&self, base: Tensor<2>) -> Tensor<2> {
        match self
            .active()
            .any(|(_, adapter)| adapter.magnitude.is_some())
        {
            true => self.base_values(base),
            false => base,
        }
    }

    /// The linear layer's output with one low-rank update, or none.
    pub(super) fn product(
        &self,
        x: Tensor<2>,
        base: Tensor<2>,
        bias: Option<Tensor<1>>,
        update: Option<LowRank>,
    ) -> Tensor<2> {
        if let Some([_, d_out]) = self.without_base() {
            return Self::product_without_base(x, d_out, bias, update);
        }
        match (self.packed(), update) {
            (Some(packed), update) => packed_linear(x, packed, bias, update),
            (None, Some(update)) => low_rank_linear(x, base, bias, update),
            (None, None) => linear(x, base, bias),
        }
    }
}

/// The values of a weight in few bits, `[d_in, d_out]`.
pub(crate) fn values(packed: &PackedWeight, device: &Device) -> Tensor<2> {
    let data = TensorData::new(packed.dequantize(), packed.shape());
    Tensor::<2>::from_data(data, device).transpose()
}

/// What a parameter holds whose values are stored in few bits: one number in the shape of them all.
/// It is none, so that what overlooks the packed values does not go unnoticed.
pub(crate) fn stand_in(param: &Param<Tensor<2>>) -> Param<Tensor<2>> {
    let dims: [usize; 2] = param.lazy_shape().dims();
    let number = Tensor::<2>::full([1, 1], f32::NAN, &param.lazy_device());
    let held = number.expand(dims).detach().set_require_grad(false);
    Param::initialized(param.id, held)
}
