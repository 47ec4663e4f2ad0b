//! Fine-tunes a BERT or RoBERTa to find the answers to questions in texts, as in SQuAD 1.1 and 2.0,
//! and measures what it then answers.

use std::process::ExitCode;

use burn_lora_examples::run;
use burn_lora_examples::squad::{Arguments, fine_tune};
use clap::Parser;

/// Fine-tune a BERT or RoBERTa to find the answers to questions in texts.
///
/// Without options: LoRA on a small RoBERTa with a few questions about invented places, both part of
/// the repository, into out/squad.
#[derive(Parser)]
#[command(name = "squad")]
struct Squad {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    let Squad { arguments } = Squad::parse();
    run(|| fine_tune(&arguments))
}
