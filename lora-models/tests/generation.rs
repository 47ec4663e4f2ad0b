//! Text generation, against what transformers gives and by what has to hold of it.

#[path = "generation/adapters.rs"]
mod adapters;
#[path = "generation/common.rs"]
mod common;
#[path = "generation/configs.rs"]
mod configs;
#[path = "generation/errors.rs"]
mod errors;
#[path = "generation/golden.rs"]
mod golden;
#[path = "generation/properties.rs"]
mod properties;
#[path = "generation/sampling.rs"]
mod sampling;
#[path = "generation/text.rs"]
mod text;
