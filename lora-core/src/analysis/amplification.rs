//! How much an update amplifies what the weight has in its directions.

use serde::Serialize;

/// The norms of the paper's table 7: with `U` and `V` the directions of the outputs and the inputs, as
/// many as the update has, `‖Uᵀ·W·V‖` (Frobenius) says how much of the weight `W` is in them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Amplification {
    /// `‖W‖`.
    pub weight_norm: f64,
    /// `‖ΔW‖`.
    pub update_norm: f64,
    /// `‖Uᵀ·W·V‖` in the directions of `ΔW`.
    pub along_update: f64,
    /// The same in the strongest directions of `W`.
    pub along_weight: f64,
    /// The same in directions at random.
    pub along_random: f64,
    /// The amplification factor, `‖ΔW‖ / ‖Uᵀ·W·V‖` in the directions of `ΔW`; none if one of the two
    /// is 0.
    pub factor: Option<f64>,
}
