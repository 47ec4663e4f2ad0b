//! Base models whose weights are stored in few bits (QLoRA, Dettmers et al. 2023).
//!
//! The codes, the scales and the values that are left of a weight are bitsandbytes', bit for bit:
//! NF4 and FP4 in blocks with double quantization, 8-bit whole numbers by rows, and the 8-bit
//! dynamic types.

mod checkpoint;
mod config;
mod double;
mod dynamic;
mod format;
pub(crate) mod four_bit;
mod int8;
mod loss;
mod model;
mod weight;

pub use checkpoint::write_quantized;
pub use config::QuantizationConfig;
pub use dynamic::{Blockwise, Dynamic};
pub use format::WeightFormat;
pub use loss::QuantizationLoss;
pub use model::{LoadedWeight, QuantizedWeight, dequantize, load_quantized, quantized};
pub use weight::PackedWeight;

#[cfg(test)]
mod tests;
