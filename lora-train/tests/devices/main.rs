//! Operations, models and training on a device, compared with the CPU.
//!
//! ```text
//! LORA_TEST_DEVICE=vulkan cargo test --features vulkan --test devices
//! ```
//!
//! Without the variable the device is the CPU itself (`flex`), and what is left is whether the plain
//! operations, several devices and a failing one do what they should.
#![cfg(feature = "flex")]

mod compare;
mod models;
mod operations;
mod several;
mod tables;
