//! A linear layer of two thin matrices.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::factors;
use crate::ops::linear;
use crate::{LoraError, LoraLinear};

/// A linear layer without a weight of its own: `y = (x·C)·F + b`.
#[derive(Module, Debug)]
pub struct FactorizedLinear {
    /// `[d_input, rank]`.
    pub c: Param<Tensor<2>>,
    /// `[rank, d_output]`.
    pub f: Param<Tensor<2>>,
    /// `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl FactorizedLinear {
    /// The layer that is closest to `layer` with `rank` columns of `C`, or with as many as its smaller
    /// side has, if that is less. Adapters are part of the weight that is decomposed.
    ///
    /// # Errors
    ///
    /// [`LoraError::ConfigValue`] for a rank of 0; [`LoraError::NoSvd`] if a value is not finite.
    pub fn from_linear(layer: &LoraLinear, rank: usize) -> Result<Self, LoraError> {
        if rank == 0 {
            return Err(LoraError::ConfigValue {
                field: "rank",
                value: "0".to_string(),
                expected: "at least 1",
            });
        }
        let weight = layer.weight.val().detach();
        let [d_input, d_output] = weight.dims();
        let [c, f] = factors("weight", weight, rank.min(d_input).min(d_output))?;
        Ok(Self {
            c: Param::from_tensor(c),
            f: Param::from_tensor(f),
            bias: layer.bias.clone(),
        })
    }

    /// Applies the layer.
    ///
    /// # Shapes
    ///
    /// - `input`: `[..., d_input]`
    /// - output: `[..., d_output]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let mut shape = input.dims();
        let rows = shape[..D - 1].iter().product::<usize>();
        let x = input.reshape([rows, shape[D - 1]]);
        let narrow = linear(x, self.c.val(), None);
        let output = linear(narrow, self.f.val(), self.bias.as_ref().map(Param::val));
        shape[D - 1] = output.dims()[1];
        output.reshape(shape)
    }

    /// The plain layer with the product as its weight.
    pub fn to_linear(&self) -> LoraLinear {
        Linear {
            weight: Param::from_tensor(self.c.val().matmul(self.f.val()).detach()),
            bias: self.bias.clone(),
        }
        .into()
    }
}
