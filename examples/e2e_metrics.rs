//! Scores generated text with the metrics of the E2E NLG challenge.
//!
//! ```text
//! cargo run --release --example e2e_metrics -- REFERENCES HYPOTHESES
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use burn_lora_examples::run;
use clap::Parser;
use lora_train::text_metrics::score_files;

/// Prints BLEU, NIST, METEOR, ROUGE-L and CIDEr as the E2E challenge defines them; METEOR without
/// synonyms and paraphrases, so lower than the challenge's.
#[derive(Parser)]
struct Arguments {
    /// References, one a line, with an empty line between those of one hypothesis and the next.
    references: PathBuf,
    /// Hypotheses, one a line, in the order of the references.
    hypotheses: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| {
        let metrics = score_files(&arguments.references, &arguments.hypotheses)?;
        println!("{metrics}");
        Ok(())
    })
}
