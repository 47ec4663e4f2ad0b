//! Parity with PyTorch and PEFT: runs the cases that `scripts/make_golden.py` writes and compares
//! every result.
//!
//! | part | what is compared with PEFT's | largest difference |
//! |---|---|---|
//! | `base`, `init`, `lora` | logits and loss of the base, just injected, with the adapter | 2e-5 |
//! | `file` | the adapter file, written after it was loaded | none, bit for bit |
//! | `grad` | the gradient of every trained parameter; frozen ones have none | 1e-4 |
//! | `losses`, `trained` | the losses of five AdamW steps, logits and loss after them | 1e-4 |
//! | `trained.param` | every trained parameter after the steps | 1e-4, see below |
//! | `merged`, `merged.param` | logits, loss and weights after merging that | 1e-4, see below |
//! | `merging` | our logits after merging against those before | 1e-5 |
//!
//! The counts of parameters have to be PEFT's, and the trained adapter has to survive saving and
//! loading bit for bit.
//!
//! Two things are compared otherwise, and the report says so where it happens:
//!
//! - AdamW divides each gradient by its own size. Where a gradient is zero but for rounding (say
//!   1e-8, beside others of 1e-2), the step it takes is rounding too, and two runs of the same
//!   mathematics end up further apart than 1e-4. A value of a parameter that differs by more is
//!   therefore held against our own run, started from weights changed in their last bits (±2⁻²¹,
//!   eight times): it may be off by 1e-4 and what the same value moves there. Logits and losses
//!   get no such allowance.
//! - The bias of a question-answering head shifts all logits of a kind and not the loss: its whole
//!   gradient is rounding. It is not compared after training, and the logits up to one constant.
//!   The bias of attention keys shifts all scores of a query, which softmax undoes: it is not
//!   compared after training either.

pub mod case;
pub mod files;
pub mod model;
pub mod report;
pub mod runner;
pub mod snapshot;
pub mod training;

use std::path::{Path, PathBuf};

use burn::tensor::Device;

pub use case::Case;
pub use report::Report;
pub use runner::run;

/// The outcomes of a run over several cases.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Cases in which nothing differs.
    pub passed: usize,
    /// Cases in which something differs, or that could not be run.
    pub failed: usize,
    /// Cases that use something that is not supported.
    pub skipped: usize,
}

/// Runs every case in `paths`, each a case's folder or a folder of cases, and hands each report to
/// `show` as soon as it is there.
///
/// A case that is named itself and cannot be run is a failure, not a skip.
pub fn run_all(paths: &[PathBuf], device: &Device, mut show: impl FnMut(&Report)) -> Summary {
    let mut summary = Summary::default();
    let mut count = |report: &Report| {
        *match report {
            Report {
                skipped: Some(_), ..
            } => &mut summary.skipped,
            report if report.passed() => &mut summary.passed,
            _ => &mut summary.failed,
        } += 1;
        show(report);
    };
    for path in paths {
        let named = path.join("case.json").is_file();
        match cases(path) {
            Err(problem) => count(&Report::failure(&path.display().to_string(), problem)),
            Ok(folders) => {
                for folder in folders {
                    count(&run_folder(&folder, named, device));
                }
            }
        }
    }
    summary
}

fn run_folder(folder: &Path, named: bool, device: &Device) -> Report {
    let case = match Case::open(folder) {
        Ok(case) => case,
        Err(error) => return Report::failure(&folder.display().to_string(), error.to_string()),
    };
    match run(&case, device) {
        Report {
            skipped: Some(reason),
            ..
        } if named => Report::failure(&case.name, format!("cannot be run: {reason}")),
        report => report,
    }
}

/// The folder itself if it is a case, otherwise the cases in it.
fn cases(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.join("case.json").is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).map_err(|e| format!("cannot be read: {e}"))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut cases: Vec<_> = folders.filter(|f| f.join("case.json").is_file()).collect();
    cases.sort();
    match cases.is_empty() {
        true => Err("neither a case (a folder with case.json) nor a folder of cases".to_string()),
        false => Ok(cases),
    }
}
