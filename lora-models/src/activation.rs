//! The activation inside feed-forward layers.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use lora_core::ops::{Gelu, gelu};
use serde::{Deserialize, Serialize};

/// The activation between the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// The exact GELU, by the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// The tanh approximation of GELU.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// ReLU.
    #[serde(rename = "relu")]
    Relu,
}

impl Activation {
    /// Applies the activation to each value.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => gelu(x, Gelu::Exact),
            Self::GeluTanh => gelu(x, Gelu::Tanh),
            Self::Relu => relu(x),
        }
    }
}
