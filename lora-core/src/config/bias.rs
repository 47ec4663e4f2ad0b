//! `bias`: which biases are trained.

use serde::{Deserialize, Serialize};

/// Which of the base's biases are trained with the adapters: PEFT's `bias`.
///
/// A bias is trained in place, not in a copy: a model can have one adapter that does so, and
/// without the adapter it is not the base model any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// No bias.
    #[default]
    None,
    /// Every bias of the model.
    All,
    /// The biases of the modules that have an adapter.
    LoraOnly,
}
