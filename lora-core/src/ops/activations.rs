//! In how many bits the inputs of layers with 8-bit weights are multiplied.

use std::fmt::{Display, Formatter};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;

use crate::LoraError;

/// How the inputs of layers whose weight has 8 bits ([`WeightFormat::Int8`](crate::quantization::WeightFormat::Int8))
/// are multiplied with it, and the gradients of their outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// As they are, in 32 bits: the weight's values are made for the product.
    #[default]
    F32,
    /// Rounded to 8 bits by the largest value of each row, so that whole numbers are multiplied (LLM.int8(),
    /// Dettmers et al. 2022, section 2.1, with all values in 8 bits). Faster, and the relative error
    /// of a product is about a hundredth.
    Int8,
}

static INT8: AtomicBool = AtomicBool::new(false);

/// Sets how layers with 8-bit weights are multiplied, in the whole process, from the next product on.
///
/// # Errors
///
/// [`LoraError::Activations`] for [`Activations::Int8`] if the `flex` backend, which alone does that, is not
/// part of the build.
pub fn set_activations(activations: Activations) -> Result<(), LoraError> {
    if activations == Activations::Int8 && !cfg!(feature = "flex") {
        return Err(LoraError::Activations);
    }
    INT8.store(activations == Activations::Int8, Ordering::Relaxed);
    Ok(())
}

/// How layers with 8-bit weights are multiplied.
pub fn activations() -> Activations {
    match INT8.load(Ordering::Relaxed) {
        true => Activations::Int8,
        false => Activations::F32,
    }
}

/// Whether `device` does what [`set_activations`] says: only Burn's CPU backend `flex` does.
pub fn has_int8_activations(device: &Device) -> bool {
    cfg!(feature = "flex") && crate::device::name(device).starts_with("flex")
}

impl Display for Activations {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for Activations {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [Self::F32, Self::Int8];
        all.into_iter()
            .find(|activations| activations.to_string() == name)
            .ok_or_else(|| format!("`{name}` is not f32 or int8"))
    }
}
