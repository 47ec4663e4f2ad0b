//! Fine-tunes a GPT-2 to tell positive from negative reviews, as in IMDb.

use std::process::ExitCode;

use burn_lora_examples::classification::{Arguments, IMDB, fine_tune};
use burn_lora_examples::run;
use clap::Parser;
use lora_models::gpt2::SequenceClassification;

/// Fine-tune a GPT-2 to tell positive from negative reviews.
///
/// Without options: LoRA on a small GPT-2 with a small set of reviews, both part of the repository,
/// into out/imdb.
#[derive(Parser)]
#[command(name = "imdb")]
struct Imdb {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    let Imdb { arguments } = Imdb::parse();
    run(|| fine_tune::<SequenceClassification>(&IMDB, &arguments))
}
