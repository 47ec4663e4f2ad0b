//! How exact matrix products are.

use std::fmt::{Display, Formatter};
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

use burn::tensor::Device;

use crate::LoraError;

/// How exact the products of 32-bit matrices are, with PyTorch's names
/// (`torch.set_float32_matmul_precision`).
///
/// The lower ones use the tile units of newer processors (AMX), which take 16-bit values and add up in
/// 32 bits; weights, activations, gradients and everything but large products stay as they are. What
/// each gains depends on the processor: see `docs/performance.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum MatmulPrecision {
    /// 32 bits throughout.
    #[default]
    Highest,
    /// Values with 16 bits of precision, as sums of two 16-bit values: three products for one. Relative
    /// errors are about 1e-5.
    High,
    /// Values with 8 bits of precision (bf16). Relative errors are about 4e-3.
    Medium,
}

static PRECISION: AtomicU8 = AtomicU8::new(MatmulPrecision::Highest as u8);

/// Sets how exact matrix products are, in the whole process, from the next product on.
///
/// ```
/// use burn::tensor::{Distribution, Tensor};
/// use lora_core::default_device;
/// use lora_core::ops::{MatmulPrecision, linear, set_matmul_precision};
///
/// let device = default_device();
/// let values = |shape| Tensor::<2>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
/// let (x, weight) = (values([64, 256]), values([256, 64]));
/// let exact = linear(x.clone(), weight.clone(), None);
/// for (precision, bound) in [(MatmulPrecision::High, 1e-3), (MatmulPrecision::Medium, 0.2)] {
///     match set_matmul_precision(precision) {
///         Ok(()) => {
///             let product = linear(x.clone(), weight.clone(), None);
///             let error = (product - exact.clone()).abs().max().into_scalar::<f32>();
///             assert!(error > 0.0 && error < bound, "{precision}: {error}");
///         }
///         // The processor has no tile units.
///         Err(error) => assert!(error.to_string().contains("use `highest`")),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`LoraError::MatmulPrecision`] if it is not [`MatmulPrecision::Highest`] and the processor has no tile
/// units, the system does not let this process use them, or the `flex` backend is not part of the build.
pub fn set_matmul_precision(precision: MatmulPrecision) -> Result<(), LoraError> {
    if precision != MatmulPrecision::Highest && !supported() {
        return Err(LoraError::MatmulPrecision { precision });
    }
    PRECISION.store(precision as u8, Ordering::Relaxed);
    Ok(())
}

/// How exact matrix products are.
pub fn matmul_precision() -> MatmulPrecision {
    let precision = PRECISION.load(Ordering::Relaxed);
    let all = [MatmulPrecision::High, MatmulPrecision::Medium];
    let found = all.into_iter().find(|p| *p as u8 == precision);
    found.unwrap_or_default()
}

/// Whether `device` computes products of a lower precision than [`MatmulPrecision::Highest`]: only Burn's
/// CPU backend `flex` does, where [`set_matmul_precision`] accepts them. Other backends compute as they
/// always do.
pub fn has_lower_matmul_precision(device: &Device) -> bool {
    crate::device::name(device).starts_with("flex") && supported()
}

fn supported() -> bool {
    #[cfg(all(feature = "flex", target_arch = "x86_64", target_os = "linux"))]
    return super::amx::available();
    #[cfg(not(all(feature = "flex", target_arch = "x86_64", target_os = "linux")))]
    return false;
}

impl Display for MatmulPrecision {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Highest => "highest",
            Self::High => "high",
            Self::Medium => "medium",
        })
    }
}

impl FromStr for MatmulPrecision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [Self::Highest, Self::High, Self::Medium];
        all.into_iter()
            .find(|precision| precision.to_string() == name)
            .ok_or_else(|| format!("`{name}` is not highest, high or medium"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pytorchs() {
        for name in ["highest", "high", "medium"] {
            assert_eq!(name.parse::<MatmulPrecision>().unwrap().to_string(), name);
        }
        let error = "higher".parse::<MatmulPrecision>().unwrap_err();
        assert_eq!(error, "`higher` is not highest, high or medium");
        assert_eq!(MatmulPrecision::default(), MatmulPrecision::Highest);
    }
}
