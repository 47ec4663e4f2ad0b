//! How long, how fast and in what order to train.

mod file;
mod interval;
mod optim;
mod schedule;
mod validation;

use burn::config::Config;
use indexmap::IndexMap;

pub use interval::Interval;
pub use optim::Optim;
pub use schedule::{LrSchedulerType, WarmupSchedule};

/// PEFT's default.
const LORAPLUS_LR_EMBEDDING: f64 = 1e-6;

/// The settings of a training run: Hugging Face's `TrainingArguments`, as far as they mean anything
/// here.
///
/// ```
/// use lora_train::{Interval, TrainingConfig};
///
/// let config = TrainingConfig::new()
///     .with_epochs(10)
///     .with_learning_rate(1e-3)
///     .with_eval_every(Interval::Steps(100));
/// assert_eq!(config.batch_size, 32);
/// config.validate()?;
/// # Ok::<(), lora_train::TrainError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// How often each example is seen.
    #[config(default = 3)]
    pub epochs: usize,
    /// The number of steps of the optimizer; `epochs` then does not count.
    pub max_steps: Option<usize>,
    /// How many examples are computed at once.
    #[config(default = 32)]
    pub batch_size: usize,
    /// How many batches make a step of the optimizer. Its gradient is the mean over all their
    /// examples (of a language model: predicted tokens), so that 4 batches of 8 are the same step as
    /// one of 32.
    #[config(default = 1)]
    pub gradient_accumulation_steps: usize,
    /// Puts examples of like lengths into a batch, which leaves less to pad: within 50 steps' worth of
    /// shuffled examples, as Hugging Face does. The steps are shuffled again after that.
    #[config(default = false)]
    pub group_by_length: bool,
    /// The optimizer.
    #[config(default = "Optim::AdamW")]
    pub optim: Optim,
    /// The highest learning rate, reached after the warm-up.
    #[config(default = 5e-4)]
    pub learning_rate: f64,
    /// Other highest learning rates, by module: the keys are as in PEFT's `rank_pattern`, a name or a
    /// regular expression for the end of a path, and mean everything below that module, too. Of
    /// several that fit, the last one counts. `{"classifier": 1e-3}` gives the head its own rate.
    #[config(default = "IndexMap::new()")]
    pub learning_rate_pattern: IndexMap<String, f64>,
    /// How the learning rate falls after the warm-up.
    #[config(default = "LrSchedulerType::Linear")]
    pub lr_scheduler_type: LrSchedulerType,
    /// The power of [`LrSchedulerType::Polynomial`].
    #[config(default = 1.0)]
    pub polynomial_power: f64,
    /// The fraction of all steps over which the learning rate rises from 0.
    #[config(default = 0.06)]
    pub warmup_ratio: f64,
    /// The number of steps over which the learning rate rises from 0; `warmup_ratio` then does not
    /// count.
    pub warmup_steps: Option<usize>,
    /// AdamW's decoupled weight decay, on every parameter that trains but biases and layer norms.
    #[config(default = 0.01)]
    pub weight_decay: f64,
    /// The longest that the gradient of all parameters together may be, by its Euclidean norm; what
    /// is longer is scaled down to it. 0 leaves gradients as they are.
    #[config(default = 1.0)]
    pub max_grad_norm: f64,
    /// How much the targets of training are smoothed, 0 to 1: the part of each target that is spread
    /// over all classes (or tokens). Losses and perplexities of development data are not smoothed,
    /// unlike Hugging Face's `eval_loss`.
    #[config(default = 0.0)]
    pub label_smoothing: f64,
    /// The longest sequence in tokens, special ones included; what is longer is cut.
    #[config(default = 128)]
    pub max_len: usize,
    /// Seeds fresh weights, dropout and the order of the examples.
    #[config(default = 42)]
    pub seed: u64,
    /// Seeds the order of the examples. Absent: `seed` does.
    pub data_seed: Option<u64>,
    /// Computes large matrix products from bf16 values, adding up in 32 bits, as PyTorch's autocast does;
    /// weights, activations and the optimizer stay in 32 bits. An error where the device does not have
    /// it: [`has_lower_matmul_precision`](lora_core::ops::has_lower_matmul_precision).
    #[config(default = false)]
    pub bf16: bool,
    /// Computes cheap activations again for the backward pass instead of keeping them.
    #[config(default = false)]
    pub gradient_checkpointing: bool,
    /// How often the development examples are measured.
    #[config(default = "Interval::Epoch")]
    pub eval_every: Interval,
    /// How often a checkpoint is written, besides one for each best measurement and at the end.
    #[config(default = "Interval::Epoch")]
    pub save_every: Interval,
    /// How often a line is added to `metrics.jsonl`.
    #[config(default = "Interval::Steps(10)")]
    pub log_every: Interval,
    /// How many of the last checkpoints are kept, besides the best.
    #[config(default = 1)]
    pub save_total_limit: usize,
    /// What is best, by the name of a measure of the development examples: `loss`, `accuracy`, ….
    #[config(default = "\"loss\".to_string()")]
    pub metric_for_best_model: String,
    /// Whether more of that measure is better. Absent: unless it is a loss or the perplexity.
    pub greater_is_better: Option<bool>,
    /// Ends with the weights that measured best instead of the last ones.
    #[config(default = false)]
    pub load_best_at_end: bool,
    /// Stops after so many measurements in a row that are no better than the best.
    pub early_stopping_patience: Option<usize>,
    /// By how much a measurement has to be better to count for `early_stopping_patience`.
    #[config(default = 0.0)]
    pub early_stopping_threshold: f64,
    /// Trains with LoRA+: the learning rate of `B` is this multiple of `learning_rate`, see
    /// [`LoraPlus`](crate::LoraPlus). Absent: one rate for all.
    pub loraplus_lr_ratio: Option<f64>,
    /// The highest learning rate of adapted embeddings in LoRA+.
    #[config(default = "LORAPLUS_LR_EMBEDDING")]
    pub loraplus_lr_embedding: f64,
    /// Trains with LoRA-FA: `A` is frozen, see [`LoraFa`](crate::LoraFa).
    #[config(default = false)]
    pub lora_fa: bool,
}

impl TrainingConfig {
    /// How many examples a step of the optimizer sees.
    pub fn examples_per_step(&self) -> usize {
        (self.batch_size * self.gradient_accumulation_steps).max(1)
    }

    /// How many steps it takes to see each of `examples` examples once.
    pub fn steps_per_epoch(&self, examples: usize) -> usize {
        examples.div_ceil(self.examples_per_step())
    }

    /// The number of steps of a run on `examples` examples.
    pub fn steps(&self, examples: usize) -> usize {
        let all = self.steps_per_epoch(examples) * self.epochs;
        self.max_steps.unwrap_or(all)
    }

    /// How many of `examples` examples the first `steps` steps see, each counted as often as it is
    /// seen.
    pub(crate) fn examples_in(&self, examples: usize, steps: usize) -> usize {
        let per_epoch = self.steps_per_epoch(examples).max(1);
        steps / per_epoch * examples + steps % per_epoch * self.examples_per_step()
    }

    /// The learning rate of each of `steps` steps.
    pub fn schedule(&self, steps: usize) -> WarmupSchedule {
        let share = || (self.warmup_ratio * steps as f64).ceil() as usize;
        WarmupSchedule {
            decay: self.lr_scheduler_type,
            power: self.polynomial_power,
            learning_rate: self.learning_rate,
            warmup: self.warmup_steps.unwrap_or_else(share),
            steps,
            next: 0,
        }
    }

    /// Whether more of `metric_for_best_model` is better.
    pub fn greater_is_better(&self) -> bool {
        let name = self.metric_for_best_model.as_str();
        let less = name.ends_with("loss") || name.ends_with("perplexity");
        self.greater_is_better.unwrap_or(!less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_count_the_last_short_batch() {
        let config = TrainingConfig::new().with_epochs(2).with_batch_size(8);
        assert_eq!(config.steps(17), 6);
        assert_eq!(config.steps(16), 4);
        let accumulated = config.with_gradient_accumulation_steps(2);
        assert_eq!((accumulated.steps(17), accumulated.steps(16)), (4, 2));
        assert_eq!(accumulated.with_max_steps(Some(5)).steps(16), 5);
    }

    #[test]
    fn less_loss_is_better() {
        let better = |name: &str| {
            let config = TrainingConfig::new().with_metric_for_best_model(name.into());
            config.greater_is_better()
        };
        assert!(!better("loss") && !better("perplexity"));
        assert!(better("accuracy") && better("matthews_correlation"));
        let config = TrainingConfig::new().with_greater_is_better(Some(true));
        assert!(config.greater_is_better());
    }

    #[test]
    fn the_configuration_goes_through_json() {
        let config = TrainingConfig::new()
            .with_seed(7)
            .with_eval_every(Interval::Steps(5))
            .with_learning_rate_pattern([("classifier".to_string(), 1e-3)].into());
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<TrainingConfig>(&json).unwrap(),
            config
        );
        assert!(json.contains("\"lr_scheduler_type\":\"linear\""), "{json}");
    }
}
