//! The command line of `e2e`.

use std::path::PathBuf;

use burn_lora_examples::fine_tuning::OutArguments;
use burn_lora_examples::method_arguments::{Kind, MethodArguments, UsualAdapters};
use burn_lora_examples::training_arguments::TrainingArguments;
use clap::{Args, Parser};
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
    #[command(flatten)]
    pub(crate) out: OutArguments,
    #[command(flatten)]
    pub(crate) method: MethodArguments,
    #[command(flatten)]
    pub(crate) training: TrainingArguments,
    #[command(flatten)]
    pub(crate) generation: GenerationArguments,
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
    /// How it is trained if nothing else is said.
    pub(crate) fn usual(&self) -> TrainingConfig {
        let rate = match (self.model.is_none(), self.method.method) {
            (true, Kind::Full) => 1e-3,
            (true, _) => 1e-2,
            (false, _) => 2e-4,
        };
        // With the large data set the small model has steps enough.
        let small = self.model.is_none() && self.data.is_none();
        let (epochs, warmup) = if small { (6, 30) } else { (5, 500) };
        TrainingConfig::new()
            .with_epochs(epochs)
            .with_batch_size(8)
            .with_learning_rate(rate)
            .with_warmup_steps(Some(warmup))
            .with_label_smoothing(0.1)
            .with_max_len(512)
    }

    /// The adapters if nothing else is said.
    pub(crate) fn adapters(&self) -> UsualAdapters<'static> {
        // The small model has little to build on: it needs more of the adapters.
        let (rank, targets, dropout) = match self.model.is_none() {
            true => (16, "all-linear", 0.0),
            false => (4, "c_attn", 0.1),
        };
        UsualAdapters {
            rank,
            alpha: 32.0,
            targets,
            dropout,
        }
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
        let config = arguments.training.config(arguments.usual()).unwrap();
        assert_eq!((config.epochs, config.batch_size), (5, 8));
        assert_eq!(
            (config.learning_rate, config.warmup_steps),
            (2e-4, Some(500))
        );
        assert_eq!((config.label_smoothing, config.weight_decay), (0.1, 0.01));
        let lora = arguments.adapters();
        assert_eq!((lora.rank, lora.alpha, lora.dropout), (4, 32.0, 0.1));
        assert_eq!(lora.targets, "c_attn");
        let generation = arguments.generation.config();
        assert_eq!((generation.num_beams, generation.length_penalty), (10, 0.9));
        assert_eq!(generation.no_repeat_ngram_size, 4);
    }
}
