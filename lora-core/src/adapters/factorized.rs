//! A weight that is the product of an adapter's factors, and of nothing else.

use burn::module::Param;
use burn::tensor::Tensor;

use super::LoraAdapters;
use crate::ops::{LowRank, dropout, linear};

impl LoraAdapters {
    /// The shape of the weight, `[d_in, d_out]`, if there is no base below the adapters
    /// ([`FactorizeConfig`](crate::FactorizeConfig)). What they are merged into is one.
    pub fn without_base(&self) -> Option<[usize; 2]> {
        self.without_base.filter(|_| self.merged.is_none())
    }

    pub(crate) fn set_without_base(&mut self, dims: [usize; 2]) {
        self.without_base = Some(dims);
    }

    /// The output of a layer whose weight is `update` alone, or nothing.
    pub(super) fn product_without_base(
        x: Tensor<2>,
        d_out: usize,
        bias: Option<Tensor<1>>,
        update: Option<LowRank>,
    ) -> Tensor<2> {
        let Some(update) = update else {
            let nothing = Tensor::zeros([x.dims()[0], d_out], (&x.device(), x.dtype()));
            return match bias {
                Some(bias) => nothing + bias.unsqueeze(),
                None => nothing,
            };
        };
        let narrow = linear(dropout(x, update.dropout), update.a, None);
        let narrow = match update.scaling == 1.0 {
            true => narrow,
            false => narrow.mul_scalar(update.scaling),
        };
        linear(narrow, update.b, bias)
    }
}

/// What the parameter holds: no value at all.
pub(crate) fn empty(param: &Param<Tensor<2>>) -> Param<Tensor<2>> {
    let nothing = Tensor::<2>::zeros([0, 0], &param.lazy_device());
    Param::initialized(param.id, nothing.detach().set_require_grad(false))
}
