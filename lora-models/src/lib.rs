//! BERT, RoBERTa and GPT-2 for [Burn](https://burn.dev) under Hugging Face's names, read from Hugging
//! Face's files, and ready for the adapters of [`lora_core`].
//!
//! ```
//! use burn::tensor::{Int, Tensor};
//! use lora_core::{LoraConfig, ParameterReport, default_device};
//! use lora_models::bert::{BertConfig, EncoderInput, SequenceClassification};
//!
//! let config = BertConfig {
//!     vocab_size: 100,
//!     hidden_size: 16,
//!     num_hidden_layers: 2,
//!     num_attention_heads: 2,
//!     intermediate_size: 32,
//!     ..BertConfig::roberta_base()
//! };
//! let device = default_device();
//! let model = SequenceClassification::new(&config, &device);
//!
//! // A configuration written for Python's PEFT works unchanged.
//! let lora = LoraConfig::from_json(
//!     r#"{"r": 2, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"}"#,
//! )?;
//! let model = lora.inject(model)?;
//! assert_eq!(ParameterReport::of(&model).lora, 2 * 2 * 2 * (16 + 16));
//!
//! let ids = Tensor::<2, Int>::from_data([[0, 5, 6, 2]], &device);
//! assert_eq!(model.forward(EncoderInput::new(ids)).dims(), [1, 2]);
//! # Ok::<(), lora_core::LoraError>(())
//! ```

mod activation;
pub mod bert;
pub mod checkpoint;
mod classifier;
mod config_file;
mod error;
pub mod generation;
pub mod gpt2;
pub mod hub;
mod named_module;
mod norm;
mod pretrained;
mod rows;
pub mod tokenizer;

pub use activation::Activation;
pub use classifier::{SequenceClassifier, TextConfig};
pub use error::ModelError;
pub use lora_core::tensor_file::Precision;
pub use pretrained::{LoadReport, Pretrained, PretrainedConfig, PretrainedModel};
pub use tokenizer::Tokenizer;
