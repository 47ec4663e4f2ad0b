//! The drop-in for [`burn::nn::Linear`] that computes an attached adapter in factored form.

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use crate::LoraAdapters;
use crate::modules_to_save::{SavedCopies, value_for};
use crate::ops::linear;

/// A linear layer that knows about [`LoraAdapter`](crate::LoraAdapter)s.
///
/// It has [`burn::nn::Linear`]'s fields and record paths, so records and checkpoints of one load
/// into the other. Without an adapter it computes `x·W + b`; with one,
/// `x·W + b + scaling·(dropout(x)·A)·B` (LoRA, section 4.1, equation 3): the dense `W + scaling·A·B`
/// is never formed, and a frozen `W` gets no gradient.
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::Tensor;
/// use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, default_device};
///
/// #[derive(Module, Debug)]
/// struct Model {
///     query: LoraLinear,
/// }
///
/// let device = default_device().autodiff();
/// let model = Model { query: LoraLinearConfig::new(4, 6).init(&device) };
/// let before = model.query.forward(Tensor::<2>::ones([2, 4], &device));
///
/// let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
/// let model = config.inject(model)?;
/// let after = model.query.forward(Tensor::<2>::ones([2, 4], &device));
///
/// // B starts at zero: the output has not changed.
/// assert_eq!((before - after).abs().max().into_scalar::<f32>(), 0.0);
/// assert_eq!(lora_core::ParameterReport::of(&model).lora, 4 * 2 + 2 * 6);
/// # Ok::<(), lora_core::LoraError>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct LoraLinear {
    /// The weight, `[d_input, d_output]`; an adapter is attached to this parameter.
    pub weight: Param<Tensor<2>>,
    /// The bias, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
}

/// Creates a [`LoraLinear`]; Burn's own [`LinearConfig`], under the name that belongs to it here.
#[derive(burn::config::Config, Debug)]
pub struct LoraLinearConfig {
    /// The size of the input features.
    pub d_input: usize,
    /// The size of the output features.
    pub d_output: usize,
    /// Whether a bias is added.
    #[config(default = true)]
    pub bias: bool,
}

impl LoraLinearConfig {
    /// A layer without adapter, initialised as [`LinearConfig`] does.
    pub fn init(&self, device: &Device) -> LoraLinear {
        LinearConfig::new(self.d_input, self.d_output)
            .with_bias(self.bias)
            .init(device)
            .into()
    }
}

impl From<Linear> for LoraLinear {
    fn from(linear: Linear) -> Self {
        Self {
            weight: linear.weight,
            bias: linear.bias,
        }
    }
}

impl LoraLinear {
    /// Applies the layer, with its adapter if one is attached.
    ///
    /// # Shapes
    ///
    /// - `input`: `[..., d_input]`
    /// - output: `[..., d_output]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`, as every Burn operation does on
    /// shapes that do not fit.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        forward(&self.weight, self.bias.as_ref(), input)
    }
}

/// A linear layer's output, with the adapters that are attached to its weight, or the copies.
pub(crate) fn forward<const D: usize>(
    weight: &Param<Tensor<2>>,
    bias: Option<&Param<Tensor<1>>>,
    input: Tensor<D>,
) -> Tensor<D> {
    // One product over all rows: a batched 3-D product packs the weight once per batch row.
    let mut shape = input.dims();
    let d_input = shape[D - 1];
    let rows = shape[..D - 1].iter().product::<usize>();
    let x = reshaped(input, [rows, d_input]);
    let copies = weight.reparameterization::<SavedCopies<2>>();
    let mixed = copies.and_then(|copies| Some((copies, copies.mixed()?)));
    let output = if let Some(adapters) = weight.reparameterization::<LoraAdapters>() {
        adapters.linear(x, weight.base(), bias.map(Param::val))
    } else if let Some((copies, batch)) = mixed {
        let has = |adapter: &str| copies.get(adapter).is_some();
        batch.through_copies(x, has, |adapter, x| {
            let bias = bias.map(|bias| value_for(bias, adapter));
            linear(x, value_for(weight, adapter), bias)
        })
    } else {
        // Another reparameterization (Burn's own LoRA, say) composes its weight here.
        linear(x, weight.val(), bias.map(Param::val))
    };
    shape[D - 1] = output.dims()[1];
    reshaped(output, shape)
}

/// `tensor` in another shape; a matrix that stays one is no node of its own, which would keep what is
/// reshaped in case that gradient checkpointing asks for it.
fn reshaped<const D: usize, const E: usize>(tensor: Tensor<D>, shape: [usize; E]) -> Tensor<E> {
    match tensor.dims()[..] == shape[..] {
        true => Tensor::from_dispatch(tensor.into_dispatch()),
        false => tensor.reshape(shape),
    }
}

/// What Burn's display shows of a linear layer.
pub(crate) fn content(
    weight: &Param<Tensor<2>>,
    has_bias: bool,
    content: Content,
) -> Option<Content> {
    let adapters = weight.reparameterization::<LoraAdapters>();
    let replaced = adapters.and_then(LoraAdapters::without_base);
    let [d_input, d_output] = replaced.unwrap_or_else(|| weight.lazy_shape().dims());
    let content = content
        .add("d_input", &d_input)
        .add("d_output", &d_output)
        .add("bias", &has_bias);
    let Some(adapters) = adapters else {
        return content.optional();
    };
    let names: Vec<&str> = adapters.names().collect();
    content.add("lora", &names.join(", ")).optional()
}

impl ModuleDisplay for LoraLinear {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        self::content(&self.weight, self.bias.is_some(), content)
    }
}
