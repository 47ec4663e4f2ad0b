//! The fused operations against the same in Burn's own operations.

mod attention;
mod common;
mod dropout;
mod gelu;
mod layer_norm;
mod linear;
