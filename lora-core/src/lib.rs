//! Low-rank adaptation (LoRA, [Hu et al. 2021](https://arxiv.org/abs/2106.09685)) for any
//! [Burn](https://burn.dev) module, with adapter files that
//! [PEFT](https://github.com/huggingface/peft) reads and writes.
//!
//! A [`LoraConfig`] is PEFT's `adapter_config.json`. [`LoraConfig::inject`] freezes a module and
//! attaches a trainable [`LoraAdapter`] to each weight that the configuration targets, without a
//! change to the module's types. [`LoraLinear`] and [`LoraEmbedding`] are drop-ins for Burn's
//! layers that compute the adapter in factored form. [`LoraModule`] adds, switches, saves, loads
//! and merges the adapters of any module; its methods do what their namesakes in PEFT do.
//!
//! ```
//! use burn::module::Module;
//! use burn::tensor::Tensor;
//! use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, ParameterReport, default_device};
//!
//! #[derive(Module, Debug)]
//! struct Mlp {
//!     up: LoraLinear,
//!     down: LoraLinear,
//! }
//!
//! let device = default_device().autodiff();
//! let model = Mlp {
//!     up: LoraLinearConfig::new(16, 32).init(&device),
//!     down: LoraLinearConfig::new(32, 16).init(&device),
//! };
//! let config = LoraConfig::new().with_r(4).with_target_modules("all-linear");
//! let model = config.inject(model)?;
//!
//! let report = ParameterReport::of(&model);
//! assert_eq!(report.lora, 2 * 4 * (16 + 32));
//! assert_eq!(report.frozen, 16 * 32 + 32 + 32 * 16 + 16);
//!
//! let x = Tensor::<2>::ones([1, 16], &device);
//! let loss = model.down.forward(model.up.forward(x)).sum();
//! let gradients = loss.backward();
//! assert!(model.up.weight.grad(&gradients).is_none()); // frozen
//! # Ok::<(), lora_core::LoraError>(())
//! ```
//!
//! # Where is `<B: Backend>`?
//!
//! Burn 0.22 moved the backend from a type parameter to the device. What used to be written
//! `LoraLinear<B: Backend>` is [`LoraLinear`]: it is generic over every Burn backend through the
//! [`Device`](burn::tensor::Device) its tensors live on, and one program can use several backends
//! side by side. Which backends a build has is decided by this crate's features (`flex`,
//! `ndarray`, `wgpu`, `vulkan`, `metal`, `cuda`, `rocm`), and [`device()`] finds one by name.
//! Operations that need a backend's own primitives are written over `B: Backend` with Burn's
//! `#[backend_extension]`.

mod adapter;
pub mod adapter_file;
mod adapters;
pub mod analysis;
mod config;
mod conv1d;
mod decomposition;
mod device;
mod dora;
mod embedding;
mod error;
mod factorize;
pub mod file;
mod frozen;
pub mod import;
mod init;
mod inject;
mod linear;
mod merge;
mod modules_to_save;
pub mod ops;
mod precision;
pub mod quantization;
mod report;
pub mod state;
mod status;
pub mod tensor_file;
pub mod tie;
mod weighted;

pub use adapter::LoraAdapter;
pub use adapters::{BASE_ADAPTER, LoraAdapters, LoraModule, needs_all_rows};
pub use config::{
    Bias, EvaConfig, InitLoraWeights, LayerIndices, LoftQConfig, LoraConfig, ModulePattern,
    OneOrMany, TargetModules, TaskType,
};
pub use conv1d::LoraConv1D;
pub use device::{
    best_device, compiled_backends, default_device, device, device_of, largest_tensor,
};
pub use embedding::{LoraEmbedding, LoraEmbeddingConfig};
pub use error::LoraError;
pub use factorize::{FactorizeConfig, FactorizedLinear, FactorizedWeight, without_base};
pub use frozen::{FrozenParameter, FrozenReport};
pub use inject::{DEFAULT_ADAPTER, InjectionPlan};
pub use linear::{LoraLinear, LoraLinearConfig};
pub use modules_to_save::SavedCopies;
pub use report::{ParameterReport, grouped};
pub use status::{AdapterStatus, Agreement, Aspect, Irregularity, LayerStatus, ModelStatus};
pub use weighted::{Combination, CombinationType, MajoritySignMethod};
