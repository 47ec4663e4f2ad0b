//! Fine-tuning with LoRA adapters on Burn's learner: data, losses, training, metrics and plots.
//!
//! ```
//! use lora_core::{LoraConfig, default_device};
//! use lora_models::bert::{BertConfig, SequenceClassification};
//! use lora_models::tokenizer::train_byte_level_bpe;
//! use lora_train::data::{Example, Label, TokenizedDataset};
//! use lora_train::{Method, Progress, Trainer, TrainingConfig, predict};
//!
//! let texts = ["a bad film", "a good film"];
//! let example = |class: usize| Example {
//!     text: texts[class].to_string(),
//!     pair: None,
//!     label: Label::Class(class),
//! };
//! let tokenizer = train_byte_level_bpe(texts.iter(), 300, 1)?;
//! let model = BertConfig {
//!     vocab_size: 300,
//!     hidden_size: 16,
//!     num_hidden_layers: 1,
//!     num_attention_heads: 2,
//!     intermediate_size: 32,
//!     ..BertConfig::roberta_base()
//! };
//! let data = TokenizedDataset::encode(&[example(0), example(1)], &tokenizer, &model, 16)?;
//!
//! let method = Method::lora(LoraConfig::new().with_r(2), &model);
//! let model = method.prepare(SequenceClassification::new(&model, &default_device()))?;
//! let config = TrainingConfig::new().with_epochs(2).with_max_len(16);
//! let trainer = Trainer::new(config).progress(Progress::Silent);
//! let trained = trainer.train(model, &data, &data)?;
//! assert_eq!(trained.history.evaluations.len(), 2);
//!
//! let predictions = predict(&trained.model, &tokenizer, &["good"], 16, 1)?;
//! assert!(predictions[0].probability >= 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adamw_8bit;
mod anatomy;
mod chart;
mod checkpoint;
mod classification;
mod comparison;
mod config;
pub mod data;
mod error;
mod evaluation;
pub mod glue;
mod history;
mod html;
mod language_model;
mod lora_fa;
mod lora_plus;
pub mod loss;
mod method;
pub mod metric;
mod metrics_file;
mod null;
mod optimizer;
mod outcome;
mod plot;
mod predict;
mod reconstruction;
mod recorder;
mod report;
mod run_settings;
pub mod squad;
mod sweep;
mod task;
#[cfg(test)]
mod testing;
pub mod text_metrics;
mod trainer;

pub use adamw_8bit::{AdamW8bit, AdamW8bitConfig, AdamW8bitState, QuantizedMoments};
pub use anatomy::{Anatomy, BaseWeight, ModuleAnatomy, ModuleSimilarity};
pub use checkpoint::CHECKPOINT_PREFIX;
pub use classification::SequenceOutput;
pub use comparison::{ComparedRun, Comparison};
pub use config::{Interval, LrSchedulerType, Optim, TrainingConfig, WarmupSchedule};
pub use error::TrainError;
pub use evaluation::{Evaluation, evaluate};
pub use history::{EvaluationRecord, History, Measures, StepRecord};
pub use language_model::TokenLosses;
pub use lora_fa::LoraFa;
pub use lora_plus::{LoraPlus, LoraPlusRates};
pub use method::Method;
pub use metrics_file::{METRICS_NAME, RunMetrics, peak_rss_mb};
pub use outcome::Outcome;
pub use plot::plot;
pub use predict::{Prediction, predict};
pub use reconstruction::{Reconstruction, ReconstructionAtRank};
pub use report::{Classes, REPORT_NAME, Report};
pub use run_settings::{CONFIG_NAME, RunNames, RunSettings};
pub use sweep::{Sweep, SweepCell};
pub use task::{Task, Trainee};
pub use trainer::{LOCK_NAME, LOG_NAME, Progress, RunLock, Stopped, Trained, Trainer};
