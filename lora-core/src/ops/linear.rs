//! Linear layers with a low-rank update beside the weight (LoRA, Hu et al. 2021, section 4.1).

#[cfg(feature = "flex")]
pub(super) mod autodiff;
#[cfg(feature = "flex")]
pub(super) mod flex;
mod packed;

use burn::tensor::Tensor;
use burn::tensor::module::linear as burns_linear;

use super::dropout;
#[cfg(feature = "flex")]
pub(crate) use packed::Packed;
pub use packed::packed_linear;

/// A low-rank update of a linear layer's output: `scaling · (dropout(x)·A)·B`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[d_in, r]`.
    pub a: Tensor<2>,
    /// `[r, d_out]`.
    pub b: Tensor<2>,
    /// The factor on the product.
    pub scaling: f64,
    /// The probability with which a value of the input is dropped, for the update only.
    pub dropout: f64,
}

/// `x·W + b`.
///
/// # Shapes
///
/// - `x`: `[rows, d_in]`
/// - `weight`: `[d_in, d_out]`
/// - `bias`: `[d_out]`
/// - output: `[rows, d_out]`
///
/// # Panics
///
/// Panics if the shapes do not fit.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if is_fast(&x, &weight, bias.as_ref()) {
        use super::backend::LoraBackend;
        let bias = bias_or_none(bias, &x).into_dispatch();
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        return Tensor::from_dispatch(burn::backend::Dispatch::fused_linear(x, weight, bias));
    }
    burns_linear(x, weight, bias)
}

/// `x·W + b + scaling·(dropout(x)·A)·B`.
///
/// Neither `W + scaling·A·B` nor a gradient of a frozen `W` is ever formed; what is kept for the
/// backward pass beside `x` is `dropout(x)·A`, of `r` columns.
///
/// # Shapes
///
/// As [`linear`] and [`LowRank`].
///
/// # Panics
///
/// Panics if the shapes do not fit.
pub fn low_rank_linear(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    update: LowRank,
) -> Tensor<2> {
    let [_, d_in] = x.dims();
    let [rank, d_out] = update.b.dims();
    assert_eq!(update.a.dims(), [d_in, rank], "the shape of A");
    assert_eq!(weight.dims()[1], d_out, "the columns of B");
    #[cfg(feature = "flex")]
    if is_fast(&x, &weight, bias.as_ref()) && super::is_fast(&update.a) && super::is_fast(&update.b)
    {
        use super::backend::LoraBackend;
        let options = Update {
            scaling: update.scaling as f32,
            mask: dropout::mask::Mask::new(update.dropout, &x.device()),
        };
        let bias = bias_or_none(bias, &x).into_dispatch();
        let output = burn::backend::Dispatch::fused_low_rank_linear(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias,
            update.a.into_dispatch(),
            update.b.into_dispatch(),
            options,
        );
        return Tensor::from_dispatch(output);
    }
    let narrow = dropout::plain(x.clone(), update.dropout).matmul(update.a);
    // Scaling the narrow product costs rows·r multiplications instead of rows·d_out.
    burns_linear(x, weight, bias) + narrow.mul_scalar(update.scaling).matmul(update.b)
}

/// What [`low_rank_linear`] is told beside its tensors.
#[cfg(feature = "flex")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    pub(crate) scaling: f32,
    pub(crate) mask: dropout::mask::Mask,
}

/// The bias, or one of length 0.
#[cfg(feature = "flex")]
fn bias_or_none(bias: Option<Tensor<1>>, x: &Tensor<2>) -> Tensor<1> {
    bias.unwrap_or_else(|| Tensor::zeros([0], &x.device()))
}

#[cfg(feature = "flex")]
fn is_fast(x: &Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> bool {
    let [d_in, d_out] = weight.dims();
    assert_eq!(
        x.dims()[1],
        d_in,
        "a linear layer's input has as many columns as its weight rows"
    );
    if let Some(bias) = bias {
        assert_eq!(
            bias.dims(),
            [d_out],
            "a linear layer's bias has its output's width"
        );
    }
    super::is_fast(x) && super::is_fast(weight) && bias.is_none_or(super::is_fast)
}
