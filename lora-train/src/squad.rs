//! Questions about a text that are answered by a piece of it, as in SQuAD, the Stanford Question
//! Answering Dataset 1.1 ([Rajpurkar et al. 2016](https://arxiv.org/abs/1606.05250)) and 2.0
//! ([Rajpurkar et al. 2018](https://arxiv.org/abs/1806.03822)), where some questions have no answer.
//!
//! [`read_squad`] reads the official files, [`SquadFiles`] finds them. [`SquadFeature`]s are what a
//! model reads: a question with a window of its text. [`QuestionAnswering`](lora_models::bert::QuestionAnswering)
//! is a [`Task`](crate::Task) on them, and [`answer_questions`] makes answers of what it says, which
//! [`SquadReport`] measures and writes down. All are as Hugging Face's `run_qa.py` has it.
//!
//! ```
//! use lora_core::{LoraConfig, TaskType, default_device};
//! use lora_models::bert::{BertConfig, QuestionAnswering};
//! use lora_models::tokenizer::train_byte_level_bpe;
//! use lora_train::squad::{AnswerOptions, SquadReport, Windows, read_squad};
//! use lora_train::{Method, Progress, Trainer, TrainingConfig, data::TokenizedDataset};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("train.json");
//! let text = r#"{"data": [{"title": "Orlo", "paragraphs": [{
//!     "context": "Orlo lies on the river Wen.",
//!     "qas": [{"id": "1", "question": "Which river is Orlo on?",
//!              "answers": [{"text": "Wen", "answer_start": 23}]}]}]}]}"#;
//! std::fs::write(&path, text)?;
//! let questions = read_squad(&path)?;
//!
//! let tokenizer = train_byte_level_bpe([text].into_iter(), 300, 1)?;
//! let shape = BertConfig {
//!     vocab_size: 300,
//!     hidden_size: 16,
//!     num_hidden_layers: 1,
//!     num_attention_heads: 2,
//!     intermediate_size: 32,
//!     ..BertConfig::roberta_base()
//! };
//! let windows = Windows { max_len: 64, doc_stride: 16 };
//! let data = TokenizedDataset::questions(&questions, &tokenizer, &shape, windows)?;
//!
//! let lora = LoraConfig::new().with_task_type(TaskType::QuestionAnswering);
//! let method = Method::lora(lora, &shape);
//! let model = method.prepare(QuestionAnswering::new(&shape, &default_device()))?;
//! let trainer = Trainer::new(TrainingConfig::new().with_epochs(1)).progress(Progress::Silent);
//! let trained = trainer.train(model, &data, &data)?;
//!
//! let options = AnswerOptions::new();
//! let report = SquadReport::of(&trained.model, &questions, &data, &options, 8)?;
//! report.write(folder.path())?; // predictions.json, nbest_predictions.json
//! assert!(report.scores.all.f1 <= 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answers;
mod batch;
mod feature;
mod files;
mod options;
mod parquet_file;
mod question;
mod reader;
mod report;
mod spans;
mod task;

pub use answers::{SquadCandidate, SquadPrediction, predictions};
pub use batch::{SpanBatch, SpanBatcher};
pub use feature::{SquadFeature, Windows};
pub use files::SquadFiles;
pub use options::AnswerOptions;
pub use question::{GoldAnswer, Question, has_unanswerable};
pub use reader::read_squad;
pub use report::{NBEST_NAME, NULL_ODDS_NAME, PREDICTIONS_NAME, SquadReport};
pub use spans::{SpanLogits, answer_questions, span_logits};
pub use task::SpanOutput;
