//! How far apart two results may be.

/// Logits and losses of one forward pass.
pub const FORWARD: f32 = 2e-5;
/// Gradients of one backward pass.
pub const GRADIENT: f32 = 1e-4;
/// Losses, logits and parameters after five optimizer steps, and after merging what they trained.
pub const TRAINED: f32 = 1e-4;
/// The same model's logits before and after merging.
pub const MERGING: f32 = 1e-5;
