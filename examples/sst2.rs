//! Fine-tunes a BERT or RoBERTa to tell positive from negative sentences, as in GLUE's SST-2.

use std::process::ExitCode;

use burn_lora_examples::classification::{Arguments, SST2, fine_tune};
use burn_lora_examples::run;
use clap::Parser;
use lora_models::bert::SequenceClassification;

/// Fine-tune a BERT or RoBERTa to tell positive from negative sentences.
///
/// Without options: LoRA on a small RoBERTa with a small set of reviews, both part of the
/// repository, into out/sst2.
#[derive(Parser)]
#[command(name = "sst2")]
struct Sst2 {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    let Sst2 { arguments } = Sst2::parse();
    run(|| fine_tune::<SequenceClassification>(&SST2, &arguments))
}
