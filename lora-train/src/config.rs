//! How long, how fast and in what order to train.

use burn::config::Config;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::module::Module;
use burn::optim::{AdamWConfig, LearningRate, ModuleOptimizer};

use crate::{LoraFa, LoraPlus, LoraPlusRates, TrainError};

/// PEFT's default.
const LORAPLUS_LR_EMBEDDING: f64 = 1e-6;

/// The settings of a training run.
///
/// ```
/// use lora_train::TrainingConfig;
///
/// let config = TrainingConfig::new().with_epochs(10).with_learning_rate(1e-3);
/// assert_eq!(config.batch_size, 32);
/// config.validate()?;
/// # Ok::<(), lora_train::TrainError>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct TrainingConfig {
    /// How often each example is seen.
    #[config(default = 3)]
    pub epochs: usize,
    /// How many examples make a step.
    #[config(default = 32)]
    pub batch_size: usize,
    /// The highest learning rate, reached after the warm-up.
    #[config(default = 5e-4)]
    pub learning_rate: f64,
    /// AdamW's decoupled weight decay, on every parameter that trains.
    #[config(default = 0.01)]
    pub weight_decay: f64,
    /// The fraction of all steps over which the learning rate rises from 0.
    #[config(default = 0.06)]
    pub warmup_ratio: f64,
    /// The number of steps over which the learning rate rises from 0; `warmup_ratio` then does not
    /// count.
    pub warmup_steps: Option<usize>,
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
    /// Trains with LoRA+: the learning rate of `B` is this multiple of `learning_rate`, see
    /// [`LoraPlus`]. Absent: one rate for all.
    pub loraplus_lr_ratio: Option<f64>,
    /// The highest learning rate of adapted embeddings in LoRA+.
    #[config(default = "LORAPLUS_LR_EMBEDDING")]
    pub loraplus_lr_embedding: f64,
    /// Trains with LoRA-FA: `A` is frozen, see [`LoraFa`].
    #[config(default = false)]
    pub lora_fa: bool,
}

impl TrainingConfig {
    /// Checks that every value can be used.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] that names the field.
    pub fn validate(&self) -> Result<(), TrainError> {
        let check = |ok: bool, field, value: String, expected| match ok {
            true => Ok(()),
            false => Err(TrainError::Setting {
                field,
                value,
                expected,
            }),
        };
        let Self {
            epochs,
            batch_size,
            learning_rate,
            weight_decay,
            warmup_ratio,
            label_smoothing,
            loraplus_lr_ratio,
            loraplus_lr_embedding,
            lora_fa,
            ..
        } = *self;
        check(epochs > 0, "epochs", epochs.to_string(), "at least 1")?;
        check(
            batch_size > 0,
            "batch_size",
            batch_size.to_string(),
            "at least 1",
        )?;
        let rate = learning_rate > 0.0 && learning_rate <= 1.0;
        check(
            rate,
            "learning_rate",
            learning_rate.to_string(),
            "above 0 and at most 1",
        )?;
        let decay = (0.0..=1.0).contains(&weight_decay);
        check(
            decay,
            "weight_decay",
            weight_decay.to_string(),
            "from 0 to 1",
        )?;
        let ratio = (0.0..=1.0).contains(&warmup_ratio);
        check(
            ratio,
            "warmup_ratio",
            warmup_ratio.to_string(),
            "from 0 to 1",
        )?;
        check(
            (0.0..=1.0).contains(&label_smoothing),
            "label_smoothing",
            label_smoothing.to_string(),
            "from 0 to 1",
        )?;
        let plus = loraplus_lr_ratio.is_none_or(|ratio| ratio > 0.0 && ratio.is_finite());
        check(
            plus,
            "loraplus_lr_ratio",
            loraplus_lr_ratio.unwrap_or_default().to_string(),
            "above 0 and finite",
        )?;
        let embedding = loraplus_lr_embedding > 0.0 && loraplus_lr_embedding <= 1.0;
        let unused = loraplus_lr_ratio.is_none() && loraplus_lr_embedding != LORAPLUS_LR_EMBEDDING;
        check(
            embedding && !unused,
            "loraplus_lr_embedding",
            loraplus_lr_embedding.to_string(),
            "above 0 and at most 1, and its default without `loraplus_lr_ratio`",
        )?;
        check(
            !(lora_fa && loraplus_lr_ratio.is_some()),
            "lora_fa",
            "true beside `loraplus_lr_ratio`".to_string(),
            "one of the two: LoRA+ is about the rates of both factors, LoRA-FA trains one",
        )
    }

    /// The number of steps it takes to see `examples` examples in every epoch.
    pub fn steps(&self, examples: usize) -> usize {
        examples.div_ceil(self.batch_size.max(1)) * self.epochs
    }

    /// AdamW as PyTorch has it, in the groups of LoRA-FA or LoRA+ if `module` is trained so.
    pub(crate) fn optimizer<M: Module>(&self, module: &M) -> Result<ModuleOptimizer, TrainError> {
        let adamw = AdamWConfig::new()
            .with_weight_decay(self.weight_decay as f32)
            // Burn's default of 1e-5 would damp the small gradients of an adapter.
            .with_epsilon(1e-8);
        match (self.lora_fa, self.loraplus_lr_ratio) {
            (true, _) => LoraFa::optimizer(module, &adamw),
            (false, Some(_)) => Ok(LoraPlus::of(module)?.optimizer(&adamw)),
            (false, None) => Ok(adamw.init()),
        }
    }

    /// [`schedule`](Self::schedule), in the groups of LoRA+ if `module` is trained so.
    pub(crate) fn scheduler<M: Module>(
        &self,
        module: &M,
        steps: usize,
    ) -> Result<ModuleLrScheduler, TrainError> {
        let Some(ratio) = self.loraplus_lr_ratio else {
            return Ok(self.schedule(steps).into());
        };
        let rates = LoraPlusRates {
            a: self.learning_rate,
            ratio,
            embedding: self.loraplus_lr_embedding,
        };
        let schedule = |rate| self.clone().with_learning_rate(rate).schedule(steps);
        Ok(LoraPlus::of(module)?.scheduler(rates, schedule))
    }

    /// The learning rate of each of `steps` steps.
    pub fn schedule(&self, steps: usize) -> LinearWarmup {
        let share = || (self.warmup_ratio * steps as f64).ceil() as usize;
        let warmup = self.warmup_steps.unwrap_or_else(share);
        LinearWarmup {
            learning_rate: self.learning_rate,
            warmup,
            steps,
            next: 0,
        }
    }
}

/// A learning rate that rises linearly from 0 and then falls linearly to 0, as Hugging Face's
/// `get_linear_schedule_with_warmup`.
///
/// ```text
/// lr(i) = rate · i / warmup                        for i < warmup
/// lr(i) = rate · (steps - i) / (steps - warmup)    after that, at least 0
/// ```
///
/// The first step, `i` = 0, therefore changes nothing if there is a warm-up.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearWarmup {
    learning_rate: f64,
    warmup: usize,
    steps: usize,
    next: usize,
}

impl LinearWarmup {
    fn at(&self, step: usize) -> LearningRate {
        let factor = if step < self.warmup {
            step as f64 / self.warmup as f64
        } else {
            let left = self.steps.saturating_sub(step) as f64;
            left / self.steps.saturating_sub(self.warmup).max(1) as f64
        };
        self.learning_rate * factor
    }
}

impl LrScheduler for LinearWarmup {
    fn step(&mut self) -> LearningRate {
        let rate = self.at(self.next);
        self.next += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("next", self.next as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(next) = record.scalar::<u64>("next") {
            self.next = next as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(config: &TrainingConfig, steps: usize) -> Vec<f64> {
        let mut schedule = config.schedule(steps);
        (0..steps + 1).map(|_| schedule.step()).collect()
    }

    #[test]
    fn the_schedule_is_hugging_faces() {
        // get_linear_schedule_with_warmup(optimizer, 3, 10) with a rate of 0.1.
        let config = TrainingConfig::new()
            .with_learning_rate(0.1)
            .with_warmup_ratio(0.3);
        let expected = [
            0.0,
            0.1 / 3.0,
            0.2 / 3.0,
            0.1,
            0.6 / 7.0,
            0.5 / 7.0,
            0.4 / 7.0,
            0.3 / 7.0,
            0.2 / 7.0,
            0.1 / 7.0,
            0.0,
        ];
        for (found, expected) in rates(&config, 10).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn without_warm_up_it_starts_at_the_top() {
        let config = TrainingConfig::new()
            .with_learning_rate(0.4)
            .with_warmup_ratio(0.0);
        assert_eq!(rates(&config, 4), [0.4, 0.4 * 0.75, 0.2, 0.1, 0.0]);
        let all = config.with_warmup_ratio(1.0);
        assert_eq!(rates(&all, 4), [0.0, 0.1, 0.2, 0.4 * 0.75, 0.0]);
        assert_eq!(rates(&all, 0), [0.0]);
    }

    #[test]
    fn the_warm_up_is_rounded_up() {
        let config = TrainingConfig::new();
        assert_eq!(config.schedule(10).warmup, 1);
        assert_eq!(config.schedule(0).warmup, 0);
        assert_eq!(config.with_warmup_steps(Some(7)).schedule(10).warmup, 7);
    }

    #[test]
    fn a_record_continues_the_schedule() {
        let mut first = TrainingConfig::new().schedule(20);
        for _ in 0..7 {
            first.step();
        }
        let mut second = TrainingConfig::new().schedule(20);
        second.load_record(first.to_record());
        assert_eq!(second, first);
    }

    #[test]
    fn steps_count_the_last_short_batch() {
        let config = TrainingConfig::new().with_epochs(2).with_batch_size(8);
        assert_eq!(config.steps(17), 6);
        assert_eq!(config.steps(16), 4);
    }

    #[test]
    fn values_out_of_range_name_their_field() {
        TrainingConfig::new().validate().unwrap();
        let message = |config: TrainingConfig| config.validate().unwrap_err().to_string();
        let base = TrainingConfig::new();
        assert!(message(base.clone().with_epochs(0)).contains("`epochs` is 0"));
        assert!(message(base.clone().with_batch_size(0)).contains("`batch_size` is 0"));
        for rate in [0.0, -1.0, 1.5, f64::NAN] {
            let message = message(base.clone().with_learning_rate(rate));
            assert!(message.contains("`learning_rate`"), "{message}");
        }
        assert!(message(base.clone().with_weight_decay(-0.1)).contains("`weight_decay` is -0.1"));
        assert!(message(base.clone().with_warmup_ratio(1.1)).contains("`warmup_ratio` is 1.1"));
        for smoothing in [-0.1, 1.5, f64::NAN] {
            let message = message(base.clone().with_label_smoothing(smoothing));
            assert!(message.contains("`label_smoothing`"), "{message}");
        }
        for ratio in [0.0, -2.0, f64::INFINITY, f64::NAN] {
            let message = message(base.clone().with_loraplus_lr_ratio(Some(ratio)));
            assert!(message.contains("`loraplus_lr_ratio`"), "{message}");
        }
        let plus = base.clone().with_loraplus_lr_ratio(Some(16.0));
        plus.validate().unwrap();
        let fast = base.clone().with_loraplus_lr_embedding(1e-3);
        for bad in [plus.clone().with_loraplus_lr_embedding(0.0), fast] {
            let message = message(bad);
            assert!(message.contains("`loraplus_lr_embedding`"), "{message}");
        }
        base.with_lora_fa(true).validate().unwrap();
        assert!(message(plus.with_lora_fa(true)).contains("`lora_fa` is true beside"));
    }

    #[test]
    fn the_configuration_goes_through_json() {
        let config = TrainingConfig::new().with_seed(7);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<TrainingConfig>(&json).unwrap(),
            config
        );
    }
}
