//! Compares finished runs of the programs that fine-tune.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use burn_lora_examples::run;
use clap::Parser;
use lora_core::LoraError;
use lora_train::Comparison;

/// Compare finished runs: a table, with the best of each column marked, and a picture.
#[derive(Parser)]
#[command(name = "compare")]
struct Compare {
    /// Folders of finished runs, such as out/sst2
    #[arg(value_name = "RUN_FOLDER", required = true)]
    runs: Vec<PathBuf>,
    /// Measure of the development examples to compare by [default: perplexity or accuracy, if all
    /// have it]
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Folder for compare.svg, compare.html and compare.json, whose earlier versions are replaced
    /// [default: the current one]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Compare { runs, metric, out } = Compare::parse();
    run(|| {
        let comparison = Comparison::read(&runs, metric.as_deref())?;
        println!("{}", comparison.table(is_colourful()));
        let out = out.unwrap_or_else(|| PathBuf::from("."));
        std::fs::create_dir_all(&out).map_err(|e| LoraError::io("create", &out, e))?;
        comparison.write_svg(&out.join("compare.svg"))?;
        comparison.write_html(&out.join("compare.html"))?;
        comparison.write_json(&out.join("compare.json"))?;
        println!(
            "written to {}: compare.svg, compare.html, compare.json",
            out.display()
        );
        Ok(())
    })
}

/// Whether standard output is a terminal, and nothing says that it is to be plain
/// (<https://no-color.org>).
fn is_colourful() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !plain
}
