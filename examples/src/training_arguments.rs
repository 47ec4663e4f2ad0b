//! How to train, on the command line.

use std::path::PathBuf;

use clap::Args;
use lora_train::{Interval, LrSchedulerType, Optim, TrainingConfig};

/// The settings of a training run; what is not given stays as the program has it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How to train")]
pub struct TrainingArguments {
    /// Number of times each example is seen
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Number of steps, instead of epochs
    #[arg(long, value_name = "N")]
    pub max_steps: Option<usize>,
    /// Number of examples computed at once
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Number of batches that make a step
    #[arg(long, value_name = "N")]
    pub accumulate: Option<usize>,
    /// Put examples of like lengths into a batch
    #[arg(long)]
    pub group_by_length: bool,
    /// Optimizer: adamw_torch, or adamw_8bit with its moments in 8 bits
    #[arg(long, value_name = "NAME")]
    pub optim: Option<Optim>,
    /// Highest learning rate
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,
    /// Highest learning rate of a module, such as classifier=1e-3; may be repeated
    #[arg(long, value_name = "MODULE=RATE", value_parser = rate_of_module)]
    pub lr_of: Vec<(String, f64)>,
    /// How the learning rate falls: linear, cosine, constant or polynomial
    #[arg(long, value_name = "NAME", value_parser = scheduler)]
    pub lr_scheduler: Option<LrSchedulerType>,
    /// Part of the steps in which the learning rate rises
    #[arg(long, value_name = "RATIO")]
    pub warmup_ratio: Option<f64>,
    /// Steps in which the learning rate rises
    #[arg(long, value_name = "N", conflicts_with = "warmup_ratio")]
    pub warmup_steps: Option<usize>,
    /// AdamW's decoupled decay, not on biases and layer norms
    #[arg(long, value_name = "RATE")]
    pub weight_decay: Option<f64>,
    /// Longest gradient of all parameters together, 0 for any
    #[arg(long, value_name = "NORM")]
    pub max_grad_norm: Option<f64>,
    /// Part of each target that is spread over all classes or tokens
    #[arg(long, value_name = "P")]
    pub label_smoothing: Option<f64>,
    /// Longest sequence in tokens; what is longer is cut
    #[arg(long, value_name = "N")]
    pub max_len: Option<usize>,
    /// Seed of fresh weights, dropout and the order of the examples
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Seed of the order of the examples [default: that of --seed]
    #[arg(long, value_name = "N")]
    pub data_seed: Option<u64>,
    /// Compute large matrix products from bf16 values, where the device has them
    #[arg(long)]
    pub bf16: bool,
    /// Compute cheap activations again instead of keeping them
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// LoRA+: learning rate of the adapters' B, as a multiple of that of A
    #[arg(long, value_name = "RATIO")]
    pub loraplus_lr_ratio: Option<f64>,
    /// LoRA-FA: train the adapters' B alone
    #[arg(long, conflicts_with = "loraplus_lr_ratio")]
    pub lora_fa: bool,
    /// Settings from a JSON file, all or some of those that metrics.json has under "training"; options
    /// go before
    #[arg(long, value_name = "FILE")]
    pub training_config: Option<PathBuf>,
    /// When to measure and save.
    #[command(flatten)]
    pub keeping: KeepingArguments,
}

/// How often a run is measured and saved, and what is best.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "When to measure and save")]
pub struct KeepingArguments {
    /// Measure every so many steps, or each epoch [default: epoch]
    #[arg(long, value_name = "N|epoch")]
    pub eval_every: Option<Interval>,
    /// Write a checkpoint every so many steps, each epoch or never [default: epoch]
    #[arg(long, value_name = "N|epoch|never")]
    pub save_every: Option<Interval>,
    /// Add a line to metrics.jsonl every so many steps, each epoch or never [default: 10]
    #[arg(long, value_name = "N|epoch|never")]
    pub log_every: Option<Interval>,
    /// Number of last checkpoints to keep, besides the best [default: 1]
    #[arg(long, value_name = "N")]
    pub save_total_limit: Option<usize>,
    /// What is best, such as loss or accuracy [default: loss]
    #[arg(long, value_name = "NAME")]
    pub metric_for_best_model: Option<String>,
    /// End with the weights that measured best
    #[arg(long)]
    pub load_best_at_end: bool,
    /// Stop after so many measurements without a better one
    #[arg(long, value_name = "N")]
    pub early_stopping_patience: Option<usize>,
}

fn rate_of_module(text: &str) -> Result<(String, f64), String> {
    let expected = || format!("{text:?} is not of the form MODULE=RATE");
    let (module, rate) = text.rsplit_once('=').ok_or_else(expected)?;
    let rate = rate.parse().map_err(|_| expected())?;
    Ok((module.to_string(), rate))
}

fn scheduler(name: &str) -> Result<LrSchedulerType, String> {
    match name {
        "linear" => Ok(LrSchedulerType::Linear),
        "cosine" => Ok(LrSchedulerType::Cosine),
        "constant" => Ok(LrSchedulerType::Constant),
        "polynomial" => Ok(LrSchedulerType::Polynomial),
        _ => Err("expected linear, cosine, constant or polynomial".to_string()),
    }
}

impl TrainingArguments {
    /// The settings of a file, if one is given, else `usual`, with what is given here.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and what
    /// [`TrainingConfig::validate`](lora_train::TrainingConfig::validate) gives.
    pub fn config(
        &self,
        usual: TrainingConfig,
    ) -> Result<TrainingConfig, Box<dyn std::error::Error>> {
        let mut config = usual;
        if let Some(path) = &self.training_config {
            config = config.with_file(path)?;
        }
        macro_rules! set {
            ($($field:ident = $given:expr),* $(,)?) => {$(
                if let Some(value) = $given.clone() {
                    config.$field = value.into();
                }
            )*};
        }
        set!(
            epochs = self.epochs,
            batch_size = self.batch_size,
            gradient_accumulation_steps = self.accumulate,
            optim = self.optim,
            learning_rate = self.lr,
            lr_scheduler_type = self.lr_scheduler,
            warmup_ratio = self.warmup_ratio,
            weight_decay = self.weight_decay,
            max_grad_norm = self.max_grad_norm,
            label_smoothing = self.label_smoothing,
            max_len = self.max_len,
            seed = self.seed,
            eval_every = self.keeping.eval_every,
            save_every = self.keeping.save_every,
            log_every = self.keeping.log_every,
            save_total_limit = self.keeping.save_total_limit,
            metric_for_best_model = self.keeping.metric_for_best_model,
        );
        config.max_steps = self.max_steps.or(config.max_steps);
        config.warmup_steps = match self.warmup_ratio {
            Some(_) => None,
            None => self.warmup_steps.or(config.warmup_steps),
        };
        config.loraplus_lr_ratio = self.loraplus_lr_ratio.or(config.loraplus_lr_ratio);
        config.early_stopping_patience = self
            .keeping
            .early_stopping_patience
            .or(config.early_stopping_patience);
        config.data_seed = self.data_seed.or(config.data_seed);
        config.bf16 |= self.bf16;
        config.group_by_length |= self.group_by_length;
        config.gradient_checkpointing |= self.gradient_checkpointing;
        config.lora_fa |= self.lora_fa;
        config.load_best_at_end |= self.keeping.load_best_at_end;
        config
            .learning_rate_pattern
            .extend(self.lr_of.iter().cloned());
        config.validate()?;
        Ok(config)
    }

    /// Cuts the length of the sequences to the `longest` that a model takes, unless one was asked for here:
    /// too long a one is an error when texts are encoded.
    pub fn fit_max_len(&self, config: &mut TrainingConfig, longest: usize) {
        if self.max_len.is_none() {
            config.max_len = config.max_len.min(longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        training: TrainingArguments,
    }

    fn config(text: &str) -> Result<TrainingConfig, String> {
        let words = std::iter::once("program").chain(text.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        let usual = TrainingConfig::new()
            .with_epochs(7)
            .with_warmup_steps(Some(9));
        line.training.config(usual).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_not_given_stays() {
        <Line as clap::CommandFactory>::command().debug_assert();
        let usual = TrainingConfig::new()
            .with_epochs(7)
            .with_warmup_steps(Some(9));
        assert_eq!(config("").unwrap(), usual);
    }

    #[test]
    fn what_is_given_counts() {
        let given = config(
            "--epochs 2 --lr 1e-3 --optim adamw_8bit --bf16 --data-seed 4 --warmup-ratio 0.1 --eval-every 50 --save-every never \
             --lr-of classifier=1e-2 --lr-scheduler cosine --accumulate 4 --load-best-at-end \
             --loraplus-lr-ratio 16 --early-stopping-patience 3",
        )
        .unwrap();
        assert_eq!((given.epochs, given.warmup_steps), (2, None));
        assert_eq!((given.learning_rate, given.warmup_ratio), (1e-3, 0.1));
        assert_eq!(
            (given.eval_every, given.save_every),
            (Interval::Steps(50), Interval::Never)
        );
        assert_eq!(given.learning_rate_pattern["classifier"], 1e-2);
        assert_eq!(given.lr_scheduler_type, LrSchedulerType::Cosine);
        assert_eq!(given.gradient_accumulation_steps, 4);
        assert_eq!((given.optim, given.bf16), (Optim::AdamW8bit, true));
        assert_eq!((given.seed, given.data_seed), (42, Some(4)));
        assert_eq!(
            (given.loraplus_lr_ratio, given.early_stopping_patience),
            (Some(16.0), Some(3))
        );
        assert!(given.load_best_at_end && config("--lora-fa").unwrap().lora_fa);
    }

    #[test]
    fn a_length_is_cut_to_the_models_unless_it_was_asked_for() {
        let fitted = |text: &str| {
            let words = std::iter::once("program").chain(text.split_whitespace());
            let training = Line::try_parse_from(words).unwrap().training;
            let mut config = training
                .config(TrainingConfig::new().with_max_len(90))
                .unwrap();
            training.fit_max_len(&mut config, 64);
            config.max_len
        };
        assert_eq!((fitted(""), fitted("--max-len 80")), (64, 80));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (line, expected) in [
            ("--eval-every 0", "number of steps"),
            ("--lr-of classifier", "MODULE=RATE"),
            ("--lr-scheduler steep", "expected linear"),
            ("--optim sgd", "unknown variant `sgd`"),
            ("--lora-fa --optim adamw_8bit", "`lora_fa` is true beside"),
            ("--lora-fa --loraplus-lr-ratio 2", "cannot be used with"),
            ("--batch-size 0", "`batch_size` is 0"),
            ("--training-config none.json", "cannot read none.json"),
        ] {
            let error = config(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn settings_come_from_a_file() {
        let path = std::env::temp_dir().join(format!("training-{}.json", std::process::id()));
        let written = TrainingConfig::new().with_epochs(5).with_seed(3);
        std::fs::write(&path, serde_json::json!(written).to_string()).unwrap();
        let read = config(&format!("--training-config {} --seed 4", path.display())).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(read, written.with_seed(4));
    }
}
