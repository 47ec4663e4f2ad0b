//! What quantizing a model would lose.

use burn::module::Module;

use super::QuantizationConfig;
use super::weight::other_layout;
use crate::LoraError;
use crate::state::{parameters, values};

/// How far a weight would be from its values if it were quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizationLoss {
    /// The weight's path.
    pub path: String,
    /// The Euclidean norm of the differences, divided by that of the values.
    pub relative: f64,
    /// The largest difference.
    pub largest: f64,
}

impl QuantizationConfig {
    /// What [`quantize`](Self::quantize) would lose, weight by weight in the order of their paths: above
    /// all for a model that an adapter was merged into, whose weights are no longer those that the base's
    /// codes stood for.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use lora_core::default_device;
    /// use lora_core::quantization::{QuantizationConfig, WeightFormat};
    ///
    /// let layer = LinearConfig::new(64, 64).init(&default_device());
    /// let losses = |format| QuantizationConfig::new(format).losses(&layer);
    /// let (nf4, int8) = (losses(WeightFormat::Nf4)?, losses(WeightFormat::Int8)?);
    /// assert_eq!(nf4[0].path, "weight");
    /// assert!(nf4[0].relative > 0.05 && nf4[0].relative < 0.15);
    /// assert!(int8[0].relative < 0.01);
    /// # Ok::<(), lora_core::LoraError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoraError::QuantizationConfig`]; [`LoraError::Quantization`] if a weight cannot be quantized.
    pub fn losses<M: Module>(&self, module: &M) -> Result<Vec<QuantizationLoss>, LoraError> {
        let format = self.format()?;
        let meant = parameters(module).into_iter().filter(|p| self.means(p));
        let mut losses = Vec::new();
        for info in meant {
            // One at a time, so that no more than one weight is held twice.
            for (info, data) in values(module, |p| p.path == info.path) {
                let data = other_layout(&info, data);
                let dense: Vec<f32> = data.iter().collect();
                let left = self
                    .pack(&info.path, &data.convert::<f32>(), format)?
                    .dequantize();
                losses.push(QuantizationLoss::of(info.path, &dense, &left));
            }
        }
        losses.sort_by(|one: &QuantizationLoss, other| one.path.cmp(&other.path));
        Ok(losses)
    }
}

impl QuantizationLoss {
    fn of(path: String, dense: &[f32], left: &[f32]) -> Self {
        let (mut off, mut all, mut largest) = (0.0, 0.0, 0f64);
        for (dense, left) in dense.iter().zip(left) {
            let difference = f64::from(*dense) - f64::from(*left);
            off += difference * difference;
            all += f64::from(*dense).powi(2);
            largest = largest.max(difference.abs());
        }
        Self {
            path,
            relative: if off == 0.0 { 0.0 } else { (off / all).sqrt() },
            largest,
        }
    }
}
