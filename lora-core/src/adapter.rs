//! One low-rank adapter of one frozen weight.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::module::linear;
use burn::tensor::{Device, Distribution, FloatDType, Tensor};

use crate::dora;
use crate::ops::{LowRank, dropout, dropout_probability};
use crate::precision::{float_type, to_float, wider};

/// A low-rank update `ΔW = scaling · A·B` of one weight (LoRA, Hu et al. 2021, section 4.1).
///
/// The paper writes `W₀ + BA` for column vectors; Burn multiplies row vectors from the left, so
/// here `A` comes first. The optimizer, records, device moves and `valid()`/`train()` see the
/// factors as ordinary parameters below the weight's own path: `weight.lora.default.a` and
/// `weight.lora.default.b` for the adapter named `default`.
#[derive(Module, Debug)]
pub struct LoraAdapter {
    /// The factor nearest the input, `[d_in, r]`: PEFT's `lora_A`, transposed.
    pub a: Param<Tensor<2>>,
    /// The factor nearest the output, `[r, d_out]`: PEFT's `lora_B`, transposed.
    pub b: Param<Tensor<2>>,
    /// DoRA's magnitudes, `[d_out]` (DoRA, Liu et al. 2024, section 4.1); `None` for plain LoRA.
    pub magnitude: Option<Param<Tensor<1>>>,
    /// Dropout on the adapter's input, in training only.
    pub dropout: Dropout,
    /// The factor on the product: `alpha / r`, or `alpha / √r` for rsLoRA.
    pub scaling: f64,
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
            magnitude: None,
            dropout: DropoutConfig::new(dropout).init(),
            scaling,
        }
    }

    /// Makes this a DoRA adapter of `weight`, `[d_in, d_out]`: the magnitudes start as the norms
    /// of the adapted weight's columns, so that the output does not change.
    pub fn with_magnitude(mut self, weight: Tensor<2>) -> Self {
        let norm = self.column_norm(&weight, wider(&weight, &self.a.val()));
        let norm = norm.cast(float_type(&self.a.val())).detach();
        self.magnitude = Some(Param::from_tensor(norm));
        self
    }

    /// The adapter's part of a linear layer's output, in factored form and without DoRA's
    /// magnitudes: `scaling · (dropout(x)·A)·B`. Of the types of `x` and of the factors it has the
    /// wider one.
    ///
    /// # Shapes
    ///
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_out]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let probability = dropout_probability(&self.dropout, &x);
        self.product(dropout(x, probability))
    }

    fn product(&self, x: Tensor<2>) -> Tensor<2> {
        let dtype = wider(&x, &self.a.val());
        let [a, b] = self.factors(dtype);
        // Scaling the narrow product costs rows·r multiplications instead of rows·d_out.
        let narrow = x.cast(dtype).matmul(a).mul_scalar(self.scaling);
        narrow.matmul(b)
    }

    fn factors(&self, dtype: FloatDType) -> [Tensor<2>; 2] {
        [self.a.val().cast(dtype), self.b.val().cast(dtype)]
    }

    /// What this adapter adds to the output of a linear layer, if that is a product and all are of
    /// one type; not for DoRA.
    pub(crate) fn update(&self, x: &Tensor<2>, weight: &Tensor<2>) -> Option<LowRank> {
        let (a, b) = (self.a.val(), self.b.val());
        let is_one_type = [&a, &b, weight].iter().all(|t| t.dtype() == x.dtype());
        (self.magnitude.is_none() && is_one_type).then(|| LowRank {
            a,
            b,
            scaling: self.scaling,
            dropout: dropout_probability(&self.dropout, x),
        })
    }

    /// `output`, that of the linear layer without this adapter, with it and in its type. An adapter
    /// of a narrower base computes in its own type, as in PEFT.
    ///
    /// # Shapes
    ///
    /// - `output`: `[rows, d_out]`
    /// - `x`: `[rows, d_in]`
    pub(crate) fn add_to_linear(
        &self,
        output: Tensor<2>,
        x: Tensor<2>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
    ) -> Tensor<2> {
        let before = float_type(&output);
        let dtype = wider(&output, &self.a.val());
        let (output, x) = (output.cast(dtype), x.cast(dtype));
        let Some(magnitude) = &self.magnitude else {
            return (output + self.forward(x)).cast(before);
        };
        // DoRA, equation 5: m · (W + ΔW)x / ‖W + ΔW‖, written as what it adds to `output`.
        let factor = self.magnitude_factor(weight, magnitude, dtype);
        let (base, low_rank) = if self.drops_out(&x) {
            // As in PEFT, both parts see the same dropped input.
            let x = self.dropout.forward(x);
            let weight = to_float(weight.clone(), dtype);
            (linear(x.clone(), weight, None), self.product(x))
        } else {
            let base = match bias {
                Some(bias) => output.clone() - bias.clone().cast(dtype).unsqueeze(),
                None => output.clone(),
            };
            (base, self.product(x))
        };
        (output + base * (factor.clone() - 1.0) + low_rank * factor).cast(before)
    }

    /// `output`, the table's rows, with this adapter's part added to them, in its type.
    ///
    /// # Shapes
    ///
    /// - `output`: `[rows, d_model]`
    /// - `narrow`: `[rows, r]`, the same rows of `A`
    pub(crate) fn add_to_embedding(
        &self,
        output: Tensor<2>,
        narrow: Tensor<2>,
        weight: &Tensor<2>,
    ) -> Tensor<2> {
        let dtype = wider(&output, &self.a.val());
        let [_, b] = self.factors(dtype);
        let low_rank = narrow.cast(dtype).mul_scalar(self.scaling).matmul(b);
        let before = float_type(&output);
        let sum = output.cast(dtype) + low_rank;
        let adapted = match &self.magnitude {
            None => sum,
            Some(magnitude) => sum * self.magnitude_factor(weight, magnitude, dtype),
        };
        adapted.cast(before)
    }

    /// `weight` with this adapter in it, in its type, where `base` is the weight without any adapter.
    pub(crate) fn add_to_weight(&self, weight: Tensor<2>, base: &Tensor<2>) -> Tensor<2> {
        let before = float_type(&weight);
        let dtype = wider(&weight, &self.a.val());
        let [a, b] = self.factors(dtype);
        let sum = to_float(weight, dtype) + a.matmul(b.mul_scalar(self.scaling));
        let adapted = match &self.magnitude {
            None => sum,
            Some(magnitude) => sum * self.magnitude_factor(base, magnitude, dtype),
        };
        adapted.cast(before)
    }

    /// DoRA's `m / ‖W + ΔW‖`, `[1, d_out]`. The norm is a constant to the gradient, as section 4.3
    /// of the paper proposes.
    fn magnitude_factor(
        &self,
        weight: &Tensor<2>,
        magnitude: &Param<Tensor<1>>,
        dtype: FloatDType,
    ) -> Tensor<2> {
        (magnitude.val().cast(dtype) / self.column_norm(weight, dtype)).unsqueeze()
    }

    /// `‖W + ΔW‖`, `[d_out]`, without a gradient.
    fn column_norm(&self, weight: &Tensor<2>, dtype: FloatDType) -> Tensor<1> {
        let [a, b] = self.factors(dtype).map(Tensor::detach);
        let weight = to_float(weight.clone().detach(), dtype);
        dora::column_norm(weight, a, b, self.scaling)
    }

    /// Whether dropout changes `x`.
    fn drops_out(&self, x: &Tensor<2>) -> bool {
        self.dropout.prob > 0.0 && self.dropout.training.is_enabled() && x.device().is_autodiff()
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

    #[test]
    fn dora_starts_as_the_base_and_its_three_forms_agree() {
        let device = crate::device::default_device();
        let random =
            |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (weight, x) = (random([6, 5]), random([4, 6]));
        let bias = Tensor::<1>::random([5], Distribution::Normal(0.0, 1.0), &device);
        let base = linear(x.clone(), weight.clone(), Some(bias.clone()));
        let near = |a: Tensor<2>, b: Tensor<2>| {
            a.into_data()
                .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-5));
        };

        let zero =
            LoraAdapter::from_factors(random([6, 3]), Tensor::zeros([3, 5], &device), 0.5, 0.0);
        let zero = zero.with_magnitude(weight.clone());
        let add = |adapter: &LoraAdapter| {
            adapter.add_to_linear(base.clone(), x.clone(), &weight, Some(&bias))
        };
        near(add(&zero), base.clone());

        let mut adapter = LoraAdapter::from_factors(random([6, 3]), random([3, 5]), 0.5, 0.0);
        adapter.magnitude = zero.magnitude;
        let dense = adapter.add_to_weight(weight.clone(), &weight);
        near(
            add(&adapter),
            linear(x.clone(), dense.clone(), Some(bias.clone())),
        );
        let rows = adapter.add_to_embedding(weight.clone(), adapter.a.val(), &weight);
        near(rows, dense);
    }
}
