//! Which weights to adapt, and at which rank: the grid of tables 5 and 6 of the LoRA paper.

mod grid;

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use burn_lora_examples::classification::{self, SST2, fine_tune};
use burn_lora_examples::run;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use lora_core::LoraError;
use lora_core::file::write_atomically;
use lora_models::bert::SequenceClassification;
use lora_train::{Sweep, SweepCell};

use grid::{BUDGET, Cell, RANKS, VARIED, cells};

/// The common options of the runs in a folder.
const OPTIONS_NAME: &str = "options.json";

/// Which weights to adapt, and at which rank (Hu et al. 2021, tables 5 and 6): trains a BERT or RoBERTa
/// to classify sentences with adapters on q, k, v, o and combinations of them, with as many parameters
/// each, and at ranks from 1 to 64.
///
/// A sweep that was stopped goes on where it was, run by run.
#[derive(Parser)]
#[command(name = "sweep", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Folder of the runs, and of sweep.json, sweep.md and sweep.svg
    #[arg(long, value_name = "DIR", default_value = "out/sweep")]
    out: PathBuf,
    /// Seeds, with commas between them
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// How many runs go on at a time, sharing the processor's threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    processes: u16,
    /// The scaling of every adapter, α / r
    #[arg(long, default_value_t = 2.0)]
    scaling: f64,
    /// Say which runs there are, and run none
    #[arg(long)]
    dry_run: bool,
    /// Options of each run, those of the example sst2: -- --model DIR --data DIR --epochs 1
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
    #[command(subcommand)]
    cell: Option<OneRun>,
}

#[derive(Subcommand)]
enum OneRun {
    /// One run of the grid
    #[command(hide = true)]
    Cell(classification::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| match &arguments.cell {
        Some(OneRun::Cell(options)) => fine_tune::<SequenceClassification>(&SST2, options),
        None => sweep(&arguments),
    })
}

fn sweep(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let cells = cells(&arguments.seeds);
    let out = &arguments.out;
    let folder = |cell: &Cell| out.join(cell.folder());
    let read = |cell: &Cell| SweepCell::read(&folder(cell), cell.targets.name, "accuracy");
    let mut open: Vec<&Cell> = cells.iter().filter(|cell| read(cell).is_err()).collect();
    if arguments.dry_run {
        for cell in &open {
            println!("{}", folder(cell).display());
        }
        println!("{} of {} runs to do", open.len(), cells.len());
        return Ok(());
    }
    std::fs::create_dir_all(out).map_err(|e| LoraError::io("create", out, e))?;
    require_same_options(arguments)?;

    let bar = ProgressBar::new(cells.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{pos}/{len} runs [{bar:30}] {elapsed}, {eta} left",
    )?);
    bar.set_position((cells.len() - open.len()) as u64);
    open.reverse();
    let mut running: Vec<Run> = Vec::new();
    while !(open.is_empty() && running.is_empty()) {
        while running.len() < usize::from(arguments.processes)
            && let Some(cell) = open.pop()
        {
            running.push(Run::start(arguments, cell, &folder(cell))?);
        }
        std::thread::sleep(Duration::from_millis(100));
        let mut still = Vec::new();
        for mut run in running {
            match run.process.try_wait()? {
                None => still.push(run),
                Some(status) if status.success() => {
                    let found = read(&run.cell)?;
                    let line = format!("{}: {:.1} %", run.cell.folder(), 100.0 * found.value);
                    bar.suspend(|| println!("{line}"));
                    bar.inc(1);
                }
                Some(status) => return Err(run.failure(&status.to_string()).into()),
            }
        }
        running = still;
    }
    bar.finish_and_clear();
    show(cells.iter().map(read).collect::<Result<_, _>>()?, out)
}

/// A run that goes on in a process of its own.
struct Run {
    cell: Cell,
    process: Child,
    log: PathBuf,
}

impl Run {
    fn start(arguments: &Arguments, cell: &Cell, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let log = folder.with_extension("log");
        let file = File::create(&log).map_err(|e| LoraError::io("create", &log, e))?;
        let threads =
            std::thread::available_parallelism()?.get() / usize::from(arguments.processes);
        let process = Command::new(std::env::current_exe()?)
            .arg("cell")
            .args(["--targets", cell.targets.modules])
            .args(["--rank", &cell.rank.to_string()])
            .args([
                "--alpha",
                &(arguments.scaling * cell.rank as f64).to_string(),
            ])
            .args(["--seed", &cell.seed.to_string()])
            .arg("--out")
            .arg(folder)
            .arg("--overwrite")
            .args(&arguments.options)
            .env("RAYON_NUM_THREADS", threads.max(1).to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self {
            cell: *cell,
            process,
            log,
        })
    }

    fn failure(&self, status: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "the run {} ended with {status}; the last lines of {}:\n{}",
            self.cell.folder(),
            self.log.display(),
            lines[lines.len().saturating_sub(5)..].join("\n")
        )
    }
}

/// If the sweep ends early, so do its runs.
impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait()
            && self.process.kill().is_ok()
        {
            self.process.wait().ok();
        }
    }
}

/// Runs with different options are not to be compared.
fn require_same_options(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let path = arguments.out.join(OPTIONS_NAME);
    let options = serde_json::json!({
        "scaling": arguments.scaling,
        "options": arguments.options,
    });
    let text = format!("{options:#}\n");
    match std::fs::read_to_string(&path) {
        Ok(found) if found == text => Ok(()),
        Ok(_) => Err(format!(
            "{} has other options than these: give the same again, or another --out",
            path.display()
        )
        .into()),
        Err(_) => Ok(write_atomically(&path, text.as_bytes())?),
    }
}

fn show(cells: Vec<SweepCell>, out: &Path) -> Result<(), Box<dyn Error>> {
    let sweep = Sweep {
        metric: "accuracy".to_string(),
        cells,
    };
    let varied = VARIED.map(|targets| targets.name);
    let budget = BUDGET.map(|(targets, rank)| (targets.name, rank));
    let tables = format!(
        "{}\n{}",
        sweep.budget_table(&budget),
        sweep.table(&varied, &RANKS)
    );
    print!("{tables}");
    write_atomically(&out.join("sweep.md"), tables.as_bytes())?;
    sweep.write_json(&out.join("sweep.json"))?;
    sweep.write_svg(&out.join("sweep.svg"), &varied)?;
    println!(
        "\nwritten to {}: sweep.md, sweep.json, sweep.svg",
        out.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn the_grid_has_each_run_once_and_in_a_folder_of_its_own() {
        Arguments::command().debug_assert();
        let cells = cells(&[0, 1]);
        // Seven of table 5 and twenty of table 6, of which q at 8, q, v at 4 and all four at 2 are both.
        assert_eq!(cells.len(), 2 * (7 + 20 - 3));
        let folders: BTreeSet<String> = cells.iter().map(Cell::folder).collect();
        assert_eq!(folders.len(), cells.len());
        assert!(folders.contains("qkvo-r2-seed1"), "{folders:?}");
    }

    #[test]
    fn options_of_the_runs_come_last() {
        let line = ["sweep", "--seeds", "1,2", "--", "--epochs", "1"];
        let parsed = Arguments::try_parse_from(line).unwrap();
        assert_eq!(parsed.seeds, [1, 2]);
        assert_eq!(parsed.options, ["--epochs", "1"]);
        let line = ["sweep", "cell", "--targets", "key", "--rank", "2"];
        let parsed = Arguments::try_parse_from(line).unwrap();
        assert!(matches!(parsed.cell, Some(OneRun::Cell(_))));
        assert!(Arguments::try_parse_from(["sweep", "--processes", "0"]).is_err());
    }
}
