//! A model with dropout, its data, and runs of it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{TensorData, TensorReadError};
use burn::train::Interrupter;
use burn::train::metric::{
    LossInput, Metric, MetricAttributes, MetricMetadata, MetricName, SerializedEntry,
};
use lora_core::state::{initialize, values};
use lora_core::{LoraConfig, default_device};
use lora_models::bert::{BertConfig, SequenceClassification};
use lora_models::tokenizer::train_byte_level_bpe;
use lora_train::data::{Example, Label, TokenizedDataset};
use lora_train::{Interval, Method, Progress, Task, Trained, Trainer, TrainingConfig};

pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn tiny_config() -> BertConfig {
    BertConfig {
        vocab_size: 320,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 34,
        initializer_range: 0.2,
        ..BertConfig::roberta_base()
    }
}

/// Sentences of three lengths.
pub fn data() -> TokenizedDataset {
    let texts = [
        "a good film",
        "a dull film",
        "moving and warm and good",
        "cold",
    ];
    let tokenizer = train_byte_level_bpe(texts.into_iter(), 320, 1).unwrap();
    let examples: Vec<_> = (0..20)
        .map(|i| Example {
            text: texts[i % 4].to_string(),
            pair: None,
            label: Label::Class((i + 1) % 2),
        })
        .collect();
    TokenizedDataset::encode(&examples, &tokenizer, &tiny_config(), 16).unwrap()
}

/// The same model in every call, with dropout in the adapters and everywhere else.
pub fn model() -> SequenceClassification {
    let device = default_device();
    device.seed(5);
    let model = SequenceClassification::new(&tiny_config(), &device);
    initialize(&model);
    let config = LoraConfig::new()
        .with_r(4)
        .with_lora_dropout(0.1)
        .with_target_modules("all-linear");
    Method::lora(config, &tiny_config()).prepare(model).unwrap()
}

/// 3 epochs of 5 steps, measured and saved in the middle of them, too.
pub fn config() -> TrainingConfig {
    TrainingConfig::new()
        .with_batch_size(2)
        .with_gradient_accumulation_steps(2)
        .with_group_by_length(true)
        .with_learning_rate(1e-2)
        .with_eval_every(Interval::Steps(4))
        .with_save_every(Interval::Steps(2))
        .with_log_every(Interval::Steps(1))
        .with_max_len(16)
}

pub const STEPS: usize = 15;

pub fn trainer<T: Task>(config: TrainingConfig) -> Trainer<T> {
    Trainer::new(config).progress(Progress::Silent)
}

pub fn all<M: burn::module::Module>(model: &M) -> Vec<(String, TensorData)> {
    let values = values(model, |_| true).into_iter();
    values.map(|(info, data)| (info.path, data)).collect()
}

/// All that does not tell the time is the same.
pub fn assert_same<T: Task>(found: &Trained<T>, expected: &Trained<T>) {
    assert_eq!(found.history.steps, expected.history.steps);
    let measured = |trained: &Trained<T>| -> Vec<_> {
        let records = trained.history.evaluations.iter();
        records
            .map(|r| (r.step, r.epoch, r.train_loss, r.dev.clone()))
            .collect()
    };
    assert_eq!(measured(found), measured(expected));
    assert!(all(&found.model) == all(&expected.model), "other weights");
    assert_eq!(found.evaluation, expected.evaluation);
    assert_eq!(found.best_step, expected.best_step);
}

/// Stops the run after so many batches.
#[derive(Clone)]
pub struct Stop {
    pub after: usize,
    pub interrupter: Interrupter,
}

impl Metric for Stop {
    type Input = LossInput;

    fn update(
        &mut self,
        _input: &LossInput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.after = self.after.saturating_sub(1);
        if self.after == 0 {
            self.interrupter.stop(Some("enough"));
        }
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn clear(&mut self) {}

    fn name(&self) -> MetricName {
        MetricName::new("Stop".to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        MetricAttributes::None
    }
}

/// A run in `folder` that stops some time after so many batches, or measurements' batches.
pub fn interrupted(
    folder: &Path,
    train_batches: usize,
    dev_batches: usize,
) -> Trained<SequenceClassification> {
    let interrupter = Interrupter::new();
    let stop = |after| Stop {
        after,
        interrupter: interrupter.clone(),
    };
    let (train, dev) = (stop(train_batches), stop(dev_batches));
    trainer(config())
        .folder(folder)
        .resume(true)
        .interrupter(interrupter.clone())
        .configure(move |training| training.metric_train(train).metric_valid(dev))
        .train(model(), &data(), &data())
        .unwrap()
}
