//! The command line of the programs that classify.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lora_core::{LoraConfig, TargetModules};
use lora_train::TrainingConfig;

use super::Program;
use crate::DeviceArgument;

/// What a program that classifies is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder with a checkpoint, or a model's id on the hub [default: the small one in the
    /// repository]
    #[arg(long, value_name = "DIR|ID")]
    pub(super) model: Option<String>,
    /// Folder with train.tsv and dev.tsv (or parquet), or a data set's id on the hub, such as
    /// stanfordnlp/sst2 or stanfordnlp/imdb [default: assets/reviews]
    #[arg(long, value_name = "DIR|ID")]
    pub(super) data: Option<String>,
    /// Train on this many of the examples, drawn at random
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(super) labels: usize,
    /// Folder for the adapter (or model), metrics and plot [default: in out]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write into the folder though there is something in it
    #[arg(long)]
    pub(super) overwrite: bool,
    #[command(flatten)]
    pub(super) device: DeviceArgument,
    #[command(flatten)]
    pub(super) method: MethodArguments,
    #[command(flatten)]
    pub(super) training: TrainingArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What to train")]
pub(super) struct MethodArguments {
    /// How to fine-tune
    #[arg(long, value_enum, default_value_t = Kind::Lora)]
    pub(super) method: Kind,
    /// PEFT's adapter_config.json, or a folder with one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rank", "alpha", "targets", "lora_dropout"])]
    pub(super) config: Option<PathBuf>,
    /// Rank of the adapters [default: sst2 8, imdb 4]
    #[arg(long, value_name = "R")]
    pub(super) rank: Option<usize>,
    /// Scale of the adapters, divided by the rank [default: 16]
    #[arg(long)]
    pub(super) alpha: Option<f64>,
    /// Modules to adapt: names with commas between them, a regular expression for whole paths, or
    /// all-linear [default: sst2 query,value, imdb transformer\.h\..*\.attn\.c_.*]
    #[arg(long, value_name = "NAMES")]
    pub(super) targets: Option<String>,
    /// Dropout before the adapters [default: 0]
    #[arg(long, value_name = "P")]
    pub(super) lora_dropout: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(super) enum Kind {
    /// Adapters and the classification head
    Lora,
    /// Every weight
    Full,
    /// The classification head alone
    Head,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How to train")]
pub(super) struct TrainingArguments {
    /// Number of times each example is seen [default: 3, or 4 with the small model]
    #[arg(long, value_name = "N")]
    pub(super) epochs: Option<usize>,
    /// Number of examples in a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(super) batch_size: usize,
    /// Highest learning rate [default: 5e-4; with the small model 3e-3, in full 5e-4]
    #[arg(long)]
    pub(super) lr: Option<f64>,
    /// Part of the steps in which the learning rate rises
    #[arg(long, value_name = "RATIO", default_value_t = 0.06)]
    pub(super) warmup_ratio: f64,
    /// Longest sequence in tokens; what is longer is cut [default: sst2 128, imdb 256, or what
    /// the model has]
    #[arg(long, value_name = "N")]
    pub(super) max_len: Option<usize>,
    /// Seed of fresh weights, dropout and the order of the examples
    #[arg(long, default_value_t = 42)]
    pub(super) seed: u64,
    /// LoRA+: learning rate of the adapters' B, as a multiple of that of A
    #[arg(long, value_name = "RATIO")]
    pub(super) loraplus_lr_ratio: Option<f64>,
    /// LoRA-FA: train the adapters' B alone
    #[arg(long, conflicts_with = "loraplus_lr_ratio")]
    pub(super) lora_fa: bool,
}

impl Arguments {
    /// The training as the library has it. The embedded model is so small that it takes, and
    /// needs, larger steps than a real one.
    pub(super) fn training_config(&self, program: &Program) -> TrainingConfig {
        let embedded = self.model.is_none();
        let rate = match embedded && self.method.method != Kind::Full {
            true => 3e-3,
            false => 5e-4,
        };
        let epochs = if embedded { 4 } else { 3 };
        self.training.config(epochs, rate, program.max_len)
    }
}

impl TrainingArguments {
    fn config(&self, epochs: usize, rate: f64, max_len: usize) -> TrainingConfig {
        TrainingConfig::new()
            .with_epochs(self.epochs.unwrap_or(epochs))
            .with_batch_size(self.batch_size)
            .with_learning_rate(self.lr.unwrap_or(rate))
            .with_warmup_ratio(self.warmup_ratio)
            .with_max_len(self.max_len.unwrap_or(max_len))
            .with_seed(self.seed)
            .with_loraplus_lr_ratio(self.loraplus_lr_ratio)
            .with_lora_fa(self.lora_fa)
    }
}

impl MethodArguments {
    /// The adapters' configuration; `None` for the methods without.
    pub(super) fn lora(&self, program: &Program) -> Result<Option<LoraConfig>, Box<dyn Error>> {
        if self.method != Kind::Lora {
            let given = [
                ("--config", self.config.is_some()),
                ("--rank", self.rank.is_some()),
                ("--alpha", self.alpha.is_some()),
                ("--targets", self.targets.is_some()),
                ("--lora-dropout", self.lora_dropout.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(format!("{option} is for --method lora only").into()),
                None => Ok(None),
            };
        }
        if let Some(path) = &self.config {
            return Ok(Some(LoraConfig::from_file(path)?));
        }
        let mut config = LoraConfig::new()
            .with_r(self.rank.unwrap_or(program.rank))
            .with_lora_alpha(self.alpha.unwrap_or(16.0))
            .with_lora_dropout(self.lora_dropout.unwrap_or(0.0));
        config.target_modules = Some(targets(self.targets.as_deref().unwrap_or(program.targets)));
        Ok(Some(config))
    }
}

/// Modules to adapt as they are given on the command line: names with commas between them, or else
/// one of PEFT's strings.
pub fn targets(text: &str) -> TargetModules {
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
    };
    let parts: Vec<String> = text
        .split(',')
        .map(|part| part.trim().to_string())
        .collect();
    match parts.iter().all(|part| is_name(part)) {
        true => parts.into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classification::{IMDB, SST2};
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(text: &str) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("sst2").chain(text.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    #[test]
    fn the_arguments_are_consistent() {
        <Line as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_folder_is_overwritten_when_that_is_asked_for() {
        let given = parse("--out a").unwrap();
        assert!(given.out.is_some() && !given.overwrite);
        assert!(parse("--out a --overwrite").unwrap().overwrite);
    }

    #[test]
    fn targets_are_names_or_one_of_pefts_strings() {
        assert_eq!(targets("query"), ["query"].into());
        assert_eq!(targets("query, self.value"), ["query", "self.value"].into());
        assert!(targets("all-linear").is_all_linear());
        assert_eq!(targets(".*layer.{1,2}"), ".*layer.{1,2}".into());
    }

    #[test]
    fn options_of_lora_are_refused_without_it() {
        let arguments = parse("--method head --rank 4").unwrap();
        let error = arguments.method.lora(&SST2).unwrap_err().to_string();
        assert_eq!(error, "--rank is for --method lora only");
        let full = parse("--method full").unwrap();
        assert_eq!(full.method.lora(&SST2).unwrap(), None);
        let lora = parse("--rank 4 --targets key").unwrap().method.lora(&SST2);
        let lora = lora.unwrap().unwrap();
        assert_eq!(
            (lora.r, lora.lora_alpha, lora.target_modules),
            (4, 16.0, Some(["key"].into()))
        );
        assert!(parse("--config a.json --rank 4").is_err());
    }

    #[test]
    fn the_programs_have_their_own_defaults() {
        let arguments = parse("").unwrap();
        let lora = |program| arguments.method.lora(program).unwrap().unwrap();
        assert_eq!(lora(&SST2).r, 8);
        assert_eq!(lora(&IMDB).r, 4);
        let pattern = r"transformer\.h\..*\.attn\.c_.*";
        assert_eq!(lora(&IMDB).target_modules, Some(pattern.into()));
        assert_eq!(arguments.training_config(&IMDB).max_len, 256);
    }

    #[test]
    fn the_variants_of_training_reach_the_configuration() {
        let parse = |text: &str| parse(text).map(|line| line.training_config(&SST2));
        assert_eq!(parse("").unwrap().loraplus_lr_ratio, None);
        let plus = parse("--loraplus-lr-ratio 16").unwrap();
        assert_eq!((plus.loraplus_lr_ratio, plus.lora_fa), (Some(16.0), false));
        assert!(parse("--lora-fa").unwrap().lora_fa);
        assert!(parse("--lora-fa --loraplus-lr-ratio 16").is_err());
    }
}
