//! The low-rank adapter that is attached to a frozen weight.

use burn::module::{Module, Param, Reparameterization};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Distribution, Tensor};

/// A low-rank update `ΔW = scaling · A·B` of one weight (LoRA, Hu et al. 2021, section 4.1).
///
/// The paper writes `W₀ + BA` for column vectors; Burn multiplies row vectors from the left, so
/// here `A` comes first. It is a Burn [`Reparameterization`]: the optimizer, records, device
/// moves and `valid()`/`train()` see its factors as ordinary parameters, below the weight's own
/// path, as `weight.lora.a` and `weight.lora.b` (the paths that Burn's own `apply_lora` uses).
#[derive(Module, Debug)]
pub struct LoraAdapter {
    /// The factor nearest the input, `[d_in, r]`: PEFT's `lora_A`, transposed.
    pub a: Param<Tensor<2>>,
    /// The factor nearest the output, `[r, d_out]`: PEFT's `lora_B`, transposed.
    pub b: Param<Tensor<2>>,
    /// Dropout on the adapter's input, in training only.
    pub dropout: Dropout,
    /// The factor on the product: `alpha / r`, or `alpha / √r` for rsLoRA.
    pub scaling: f64,
}

impl Reparameterization for LoraAdapter {
    const NAME: &'static str = "lora";

    /// The dense weight `W + ΔW`, for modules that read their weight as a whole.
    ///
    /// [`LoraLinear`](crate::LoraLinear) and [`LoraEmbedding`](crate::LoraEmbedding) never call
    /// it in their forward pass; a plain `burn::nn::Linear` does.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let shape = base.shape();
        base + self.delta().reshape(shape)
    }
}

impl LoraAdapter {
    /// A new adapter for a linear weight: `A` Kaiming-uniform with `a = √5`, so uniform on
    /// `±1/√d_in`, `B` zero, as in loralib and PEFT. The adapted module starts out as the base.
    pub fn linear(
        [d_in, d_out]: [usize; 2],
        rank: usize,
        scaling: f64,
        dropout: f64,
        device: &Device,
    ) -> Self {
        let bound = 1.0 / (d_in as f64).sqrt();
        let a = Tensor::random([d_in, rank], Distribution::Uniform(-bound, bound), device);
        let b = Tensor::zeros([rank, d_out], device);
        Self::from_factors(a, b, scaling, dropout)
    }

    /// A new adapter for an embedding table: `A` zero, `B` standard normal, as in loralib and
    /// PEFT.
    pub fn embedding(
        [n_embedding, d_model]: [usize; 2],
        rank: usize,
        scaling: f64,
        device: &Device,
    ) -> Self {
        let a = Tensor::zeros([n_embedding, rank], device);
        let b = Tensor::random([rank, d_model], Distribution::Normal(0.0, 1.0), device);
        Self::from_factors(a, b, scaling, 0.0)
    }

    /// An adapter from its two factors, `a: [d_in, r]` and `b: [r, d_out]`.
    pub fn from_factors(a: Tensor<2>, b: Tensor<2>, scaling: f64, dropout: f64) -> Self {
        Self {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            dropout: DropoutConfig::new(dropout).init(),
            scaling,
        }
    }

    /// The adapter's part of a linear layer's output, in factored form:
    /// `scaling · (dropout(x)·A)·B`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        // Scaling the narrow product costs rows·r multiplications instead of rows·d_out.
        let narrow = self
            .dropout
            .forward(x)
            .matmul(self.a.val())
            .mul_scalar(self.scaling);
        narrow.matmul(self.b.val())
    }

    /// The dense update `scaling · A·B`, `[d_in, d_out]`.
    pub fn delta(&self) -> Tensor<2> {
        self.a.val().matmul(self.b.val().mul_scalar(self.scaling))
    }

    /// The rank `r`.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn kaiming_bound_and_zero_start() {
        let device = crate::device::default_device();
        device.seed(7);
        let adapter = LoraAdapter::linear([64, 16], 4, 2.0, 0.0, &device);
        let a = adapter.a.val().into_data().try_to_vec::<f32>().unwrap();
        let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(largest <= 0.125 && largest > 0.12, "{largest}");
        assert_eq!(adapter.b.val().abs().sum().into_scalar::<f32>(), 0.0);
        assert_eq!(adapter.rank(), 4);
    }

    #[test]
    fn forward_is_the_delta_product() {
        let device = crate::device::default_device();
        let random =
            |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let adapter = LoraAdapter::from_factors(random([6, 3]), random([3, 5]), 0.5, 0.0);
        let x = random([4, 6]);
        adapter
            .forward(x.clone())
            .into_data()
            .assert_approx_eq::<f32>(&x.matmul(adapter.delta()).into_data(), Tolerance::default());
    }
}
