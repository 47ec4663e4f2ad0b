//! The command line of `e2e`.

use std::error::Error;
use std::path::PathBuf;

use burn_lora_examples::DeviceArgument;
use burn_lora_examples::classification::targets;
use clap::{Args, Parser, ValueEnum};
use lora_core::LoraConfig;
use lora_models::generation::GenerationConfig;
use lora_train::TrainingConfig;

/// Fine-tune a GPT-2 to put restaurant records into sentences, and score what it writes.
///
/// Without options: LoRA on a small GPT-2 with a small set of records, both part of the repository,
/// into out/e2e. With a model of your own the defaults are the LoRA paper's for E2E (Hu et al. 2021,
/// table 11); the small model, which takes and needs larger steps, has its own where that is said.
#[derive(Debug, Parser)]
#[command(name = "e2e")]
pub(crate) struct Arguments {
    /// Folder with a checkpoint, or a model's id on the hub, such as openai-community/gpt2
    /// [default: the small one in the repository]
    #[arg(long, value_name = "DIR|ID")]
    pub(crate) model: Option<String>,
    /// Folder with train.txt, valid.txt (or dev.txt) and test.txt, lines of record||sentence
    /// [default: assets/restaurants]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Train on this many of the sentences, drawn at random
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Write about the first so many records only
    #[arg(long, value_name = "N")]
    pub(crate) limit_records: Option<usize>,
    /// Folder for the adapter (or model), texts, scores and plot [default: out/e2e]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write into the folder though there is something in it
    #[arg(long)]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgument,
    #[command(flatten)]
    pub(crate) method: MethodArguments,
    #[command(flatten)]
    pub(crate) training: TrainingArguments,
    #[command(flatten)]
    pub(crate) generation: GenerationArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What to train")]
pub(crate) struct MethodArguments {
    /// How to fine-tune
    #[arg(long, value_enum, default_value_t = Kind::Lora)]
    pub(crate) method: Kind,
    /// PEFT's adapter_config.json, or a folder with one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rank", "alpha", "targets", "lora_dropout"])]
    pub(crate) config: Option<PathBuf>,
    /// Rank of the adapters [default: 4; with the small model 16]
    #[arg(long, value_name = "R")]
    pub(crate) rank: Option<usize>,
    /// Scale of the adapters, divided by the rank [default: 32]
    #[arg(long)]
    pub(crate) alpha: Option<f64>,
    /// Modules to adapt: names with commas between them, a regular expression for whole paths, or
    /// all-linear [default: c_attn, which is query, key and value in one; with the small model
    /// all-linear]
    #[arg(long, value_name = "NAMES")]
    pub(crate) targets: Option<String>,
    /// Dropout before the adapters [default: 0.1; with the small model 0]
    #[arg(long, value_name = "P")]
    pub(crate) lora_dropout: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// Adapters
    Lora,
    /// Every weight
    Full,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How to train")]
pub(crate) struct TrainingArguments {
    /// Number of times each sentence is seen [default: 5; with the small model and data 6]
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,
    /// Number of sentences in a step
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) batch_size: usize,
    /// Highest learning rate [default: 2e-4; with the small model 1e-2, in full 1e-3]
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Steps in which the learning rate rises [default: 500; with the small model and data 30]
    #[arg(long, value_name = "N")]
    pub(crate) warmup_steps: Option<usize>,
    /// Part of each target that is spread over all tokens
    #[arg(long, value_name = "P", default_value_t = 0.1)]
    pub(crate) label_smoothing: f64,
    /// Longest record and sentence together in tokens, or what the model has
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub(crate) max_len: usize,
    /// Seed of fresh weights, dropout and the order of the sentences
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How to write")]
pub(crate) struct GenerationArguments {
    /// Number of beams; 1 is greedy
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) beams: usize,
    /// Above 0 favours long sentences, below 0 short ones
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub(crate) length_penalty: f64,
    /// No sequence of so many tokens occurs twice in a sentence
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) no_repeat_ngram_size: usize,
    /// Longest sentence in tokens
    #[arg(long, value_name = "N", default_value_t = 80)]
    pub(crate) max_new_tokens: usize,
    /// Number of records at once
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) generation_batch_size: usize,
}

impl Arguments {
    /// The training as the library has it.
    pub(crate) fn training_config(&self) -> TrainingConfig {
        let training = &self.training;
        let rate = match (self.model.is_none(), self.method.method) {
            (true, Kind::Lora) => 1e-2,
            (true, Kind::Full) => 1e-3,
            (false, _) => 2e-4,
        };
        // With the large data set the small model has steps enough.
        let small = self.model.is_none() && self.data.is_none();
        let (epochs, warmup) = if small { (6, 30) } else { (5, 500) };
        TrainingConfig::new()
            .with_epochs(training.epochs.unwrap_or(epochs))
            .with_batch_size(training.batch_size)
            .with_learning_rate(training.lr.unwrap_or(rate))
            .with_warmup_steps(Some(training.warmup_steps.unwrap_or(warmup)))
            .with_label_smoothing(training.label_smoothing)
            .with_max_len(training.max_len)
            .with_seed(training.seed)
    }

    /// The adapters' configuration; `None` for full training.
    pub(crate) fn lora(&self) -> Result<Option<LoraConfig>, Box<dyn Error>> {
        let method = &self.method;
        if method.method == Kind::Full {
            let given = [
                ("--config", method.config.is_some()),
                ("--rank", method.rank.is_some()),
                ("--alpha", method.alpha.is_some()),
                ("--targets", method.targets.is_some()),
                ("--lora-dropout", method.lora_dropout.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((option, _)) => Err(format!("{option} is for --method lora only").into()),
                None => Ok(None),
            };
        }
        if let Some(path) = &method.config {
            return Ok(Some(LoraConfig::from_file(path)?));
        }
        // The small model has little to build on: it needs more of the adapters.
        let (rank, usual, dropout) = match self.model.is_none() {
            true => (16, "all-linear", 0.0),
            false => (4, "c_attn", 0.1),
        };
        let mut config = LoraConfig::new()
            .with_r(method.rank.unwrap_or(rank))
            .with_lora_alpha(method.alpha.unwrap_or(32.0))
            .with_lora_dropout(method.lora_dropout.unwrap_or(dropout));
        config.target_modules = Some(targets(method.targets.as_deref().unwrap_or(usual)));
        Ok(Some(config))
    }
}

impl GenerationArguments {
    /// How sentences are written.
    pub(crate) fn config(&self) -> GenerationConfig {
        GenerationConfig {
            max_new_tokens: self.max_new_tokens,
            num_beams: self.beams,
            length_penalty: self.length_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            // Names are to be taken over from the record.
            no_repeat_ngram_in_prompt: false,
            ..GenerationConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Arguments {
        let words = std::iter::once("e2e").chain(text.split_whitespace());
        Arguments::try_parse_from(words).unwrap()
    }

    #[test]
    fn the_defaults_are_the_papers_with_a_model_of_ones_own() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
        let arguments = parse("--model gpt2");
        let config = arguments.training_config();
        assert_eq!((config.epochs, config.batch_size), (5, 8));
        assert_eq!(
            (config.learning_rate, config.warmup_steps),
            (2e-4, Some(500))
        );
        assert_eq!((config.label_smoothing, config.weight_decay), (0.1, 0.01));
        let lora = arguments.lora().unwrap().unwrap();
        assert_eq!((lora.r, lora.lora_alpha, lora.lora_dropout), (4, 32.0, 0.1));
        assert_eq!(lora.target_modules, Some(["c_attn"].into()));
        let generation = arguments.generation.config();
        assert_eq!((generation.num_beams, generation.length_penalty), (10, 0.9));
        assert_eq!(generation.no_repeat_ngram_size, 4);
    }

    #[test]
    fn options_of_lora_are_refused_without_it() {
        let error = parse("--method full --rank 2").lora().unwrap_err();
        assert_eq!(error.to_string(), "--rank is for --method lora only");
        assert_eq!(parse("--method full").lora().unwrap(), None);
    }
}
