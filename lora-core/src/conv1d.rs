//! The linear layer that GPT-2's checkpoints store the other way round.

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::tensor::Tensor;

use crate::LoraLinear;

/// A [`LoraLinear`] whose checkpoint holds the weight as `[d_input, d_output]`: `Conv1D` of
/// Hugging Face transformers, which GPT-2 is made of.
///
/// It computes what [`LoraLinear`] does and has its fields; only the layout in PyTorch's files
/// differs, and `fan_in_fan_out` in an adapter's configuration, which follows from it.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct LoraConv1D {
    /// The weight, `[d_input, d_output]`; an adapter is attached to this parameter.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl From<LoraLinear> for LoraConv1D {
    fn from(linear: LoraLinear) -> Self {
        Self {
            weight: linear.weight,
            bias: linear.bias,
        }
    }
}

impl LoraConv1D {
    /// Applies the layer, with its adapters if there are any.
    ///
    /// # Shapes
    ///
    /// - `input`: `[..., d_input]`
    /// - output: `[..., d_output]`
    ///
    /// # Panics
    ///
    /// As [`LoraLinear::forward`].
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        crate::linear::forward(&self.weight, self.bias.as_ref(), input)
    }
}

impl ModuleDisplay for LoraConv1D {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        crate::linear::content(&self.weight, self.bias.is_some(), content)
    }
}
