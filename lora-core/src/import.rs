//! Adapters in other formats than PEFT's: loralib's checkpoints, and records with Burn's own
//! [`Lora`](burn::module::Lora).
//!
//! | | a weight's factors | the scale | what else is there |
//! |---|---|---|---|
//! | [`Loralib`] | `<module>.lora_A`, `[r, in]`, and `.lora_B`, `[out, r]` | α / r, α not in the file | the head, biases |
//! | [`BurnLora`] | `<weight>.lora.a`, `[in, r]`, and `.lora.b`, `[r, out]` | α / r, α not in the record | the base |
//!
//! Ranks and targets are read off the tensors; α and the rest come from a
//! [`LoraConfig`](crate::LoraConfig). What is attached is an adapter like any other, so
//! [`save_adapter`](crate::LoraModule::save_adapter) writes it as PEFT's folder.
//! [`load_loralib`](crate::LoraModule::load_loralib) and
//! [`load_burn_lora`](crate::LoraModule::load_burn_lora) are the short ways.

mod base_comparison;
mod burn_lora;
mod foreign_adapter;
mod loralib;
mod merged_linear;
mod pickle_file;
mod saved_modules;

pub use burn_lora::BurnLora;
pub use loralib::Loralib;
pub use pickle_file::PickleFile;
