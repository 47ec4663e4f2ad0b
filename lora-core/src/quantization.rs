//! Base models whose weights are stored in few bits (QLoRA, Dettmers et al. 2023).
//!
//! The codes, the scales and the values that are left of a weight are bitsandbytes', bit for bit:
//! NF4 and FP4 in blocks with double quantization, 8-bit whole numbers by rows, and the 8-bit
//! dynamic types.

mod double;
mod dynamic;
mod format;
pub(crate) mod four_bit;
mod int8;
mod weight;

pub use dynamic::{Blockwise, Dynamic};
pub use format::WeightFormat;
pub use weight::PackedWeight;

#[cfg(test)]
mod tests;
