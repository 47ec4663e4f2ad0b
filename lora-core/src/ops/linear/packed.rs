//! Linear layers whose weight is stored in few bits.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::{LowRank, linear, low_rank_linear};
use crate::adapters::values_of_packed;
use crate::quantization::PackedWeight;

/// `x·W + b`, with `scaling·(dropout(x)·A)·B` added if there is an update, of a weight in few bits.
///
/// On Burn's CPU backend the weight's values are made a panel at a time inside the products, forward
/// and backward, and are never all there. Other backends make them for the product.
///
/// # Shapes
///
/// - `x`: `[rows, d_in]`
/// - `weight`: `[d_out, d_in]`, as bitsandbytes lays it out
/// - `bias`: `[d_out]`
/// - output: `[rows, d_out]`
///
/// # Panics
///
/// Panics if the shapes do not fit.
pub fn packed_linear(
    x: Tensor<2>,
    weight: &Arc<PackedWeight>,
    bias: Option<Tensor<1>>,
    update: Option<LowRank>,
) -> Tensor<2> {
    let [d_out, d_in] = weight.shape();
    assert_eq!(x.dims()[1], d_in, "the columns of a linear layer's input");
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [d_out], "the length of a linear layer's bias");
    }
    if let Some(update) = &update {
        let [rank, columns] = update.b.dims();
        assert_eq!(update.a.dims(), [d_in, rank], "the shape of A");
        assert_eq!(columns, d_out, "the columns of B");
    }
    #[cfg(feature = "flex")]
    {
        let factors = update.iter().flat_map(|update| [&update.a, &update.b]);
        let is_fast = |tensor: &Tensor<2>| crate::ops::is_fast(tensor);
        if is_fast(&x) && factors.into_iter().all(is_fast) && bias.iter().all(crate::ops::is_fast) {
            return fast(x, weight.clone(), bias, update);
        }
    }
    let values = values_of_packed(weight, &x.device()).cast(x.dtype());
    match update {
        Some(update) => low_rank_linear(x, values, bias, update),
        None => linear(x, values, bias),
    }
}

#[cfg(feature = "flex")]
fn fast(
    x: Tensor<2>,
    weight: Arc<PackedWeight>,
    bias: Option<Tensor<1>>,
    update: Option<LowRank>,
) -> Tensor<2> {
    use super::{Update, bias_or_none};
    use crate::ops::backend::LoraBackend;
    use crate::ops::dropout::mask::Mask;
    let bias = bias_or_none(bias, &x).into_dispatch();
    let options = update.as_ref().map(|update| Update {
        scaling: update.scaling as f32,
        mask: Mask::new(update.dropout, &x.device()),
    });
    let [a, b] = match update {
        Some(LowRank { a, b, .. }) => [a, b],
        None => [(); 2].map(|()| Tensor::zeros([0, 0], &x.device())),
    };
    let output = burn::backend::Dispatch::fused_packed_linear(
        x.into_dispatch(),
        bias,
        a.into_dispatch(),
        b.into_dispatch(),
        Packed { weight, options },
    );
    Tensor::from_dispatch(output)
}

/// What a linear layer of a weight in few bits is told beside its tensors.
#[cfg(feature = "flex")]
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) weight: Arc<PackedWeight>,
    /// If there is a low-rank update.
    pub(crate) options: Option<super::Update>,
}
