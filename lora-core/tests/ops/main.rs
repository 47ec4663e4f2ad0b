//! The fused operations against the same in Burn's own operations.

mod attention;
mod checkpointing;
mod common;
mod cross_entropy;
mod dropout;
mod gelu;
mod layer_norm;
mod linear;
mod tied_linear;
