//! Compares this workspace with PyTorch and PEFT, case by case.
//!
//! ```text
//! cargo run --release --example golden -- lora-models/tests/golden
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use burn_lora_examples::golden::run_all;
use burn_lora_examples::run;
use clap::Parser;

/// Runs parity cases: forward passes, gradients, five AdamW steps, merging and adapter files,
/// against the results of Hugging Face transformers and PEFT.
#[derive(Parser)]
struct Arguments {
    /// Case folders, or folders of them (see lora-models/tests/golden/README.md).
    #[arg(required = true, value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// The device to run on; the tolerances are meant for the CPU.
    #[arg(long, default_value = "flex")]
    device: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| {
        let device = lora_core::device(&arguments.device)?.autodiff();
        println!("each part: the largest difference / the largest accepted");
        let summary = run_all(&arguments.paths, &device, |report| println!("{report}"));
        let (passed, failed, skipped) = (summary.passed, summary.failed, summary.skipped);
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        match failed {
            0 => Ok(()),
            _ => Err(format!("{failed} of {} cases failed", passed + failed).into()),
        }
    })
}
