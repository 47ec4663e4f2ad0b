//! Runs side by side.

mod columns;
mod page;
mod picture;
mod table;

use std::path::{Path, PathBuf};

use lora_core::file::write_atomically;
use serde::Serialize;

use crate::plot::telling_measure;
use crate::{RunMetrics, TrainError};

/// Several finished runs side by side.
///
/// Its `Display` is an aligned table with a line for each run, the best of each column marked with
/// `*`.
///
/// ```no_run
/// use lora_train::Comparison;
///
/// let comparison = Comparison::read(&["out/lora", "out/full"], Some("accuracy"))?;
/// println!("{comparison}");
/// comparison.write_svg("compare.svg".as_ref())?;
/// # Ok::<(), lora_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The measure of the development examples that the runs are compared by.
    pub metric: String,
    /// Whether more of it is better.
    pub greater_is_better: bool,
    /// The runs, in the order they were given.
    pub runs: Vec<ComparedRun>,
    #[serde(skip)]
    points: Vec<Vec<(usize, f64)>>,
}

/// What a run is compared by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedRun {
    /// The name of its folder, or the whole path if several have the same.
    pub name: String,
    /// The name of the method.
    pub method: String,
    /// How many parameters trained.
    pub trainable: usize,
    /// How much that is of all, in percent.
    pub trainable_percent: f64,
    /// The best measurement.
    pub best: f64,
    /// The last measurement.
    pub last: f64,
    /// The final model's loss on the development examples; the last measured if it has none.
    pub loss: f64,
    /// The time the run took, in seconds.
    pub seconds: f64,
    /// Training examples per second of training.
    pub examples_per_second: f64,
    /// The most memory the process ever had, in MB (2²⁰ bytes), where the system tells.
    pub peak_rss_mb: Option<f64>,
    /// The number of steps.
    pub steps: usize,
}

impl Comparison {
    /// Reads the runs in these folders and compares them.
    ///
    /// # Errors
    ///
    /// [`TrainError::Metrics`] and [`TrainError::Io`] as from [`RunMetrics::read`]; those of
    /// [`of`](Self::of).
    pub fn read<P: AsRef<Path>>(folders: &[P], metric: Option<&str>) -> Result<Self, TrainError> {
        let paths: Vec<&Path> = folders.iter().map(AsRef::as_ref).collect();
        let runs = paths.iter().zip(names(&paths)).map(|(path, name)| {
            let metrics = RunMetrics::read(path)?;
            Ok((name, metrics))
        });
        Self::of(&runs.collect::<Result<Vec<_>, TrainError>>()?, metric)
    }

    /// Compares runs with their names by a measure of the development examples. Without one, that is
    /// the perplexity, the accuracy, or else the first but the loss that all of them have; the loss if
    /// there is no other.
    ///
    /// # Errors
    ///
    /// [`TrainError::Comparison`] without a run, for a run without a measurement and for one without
    /// that measure.
    pub fn of(runs: &[(String, RunMetrics)], metric: Option<&str>) -> Result<Self, TrainError> {
        let wrong = |message: String| Err(TrainError::Comparison { message });
        let Some((_, first)) = runs.first() else {
            return wrong("there is no run, expected at least one".to_string());
        };
        if let Some((name, _)) = runs.iter().find(|(_, run)| run.evaluations.is_empty()) {
            return wrong(format!("the run {name} has no measurement"));
        }
        let of_all = first.measured().filter(|measure| {
            let has = |(_, run): &(String, RunMetrics)| run.measured().any(|name| name == *measure);
            runs.iter().all(has)
        });
        let of_all: Vec<&String> = of_all.collect();
        let metric = match metric {
            Some(metric) => metric.to_string(),
            None => telling_measure(of_all.iter().copied()),
        };
        for (name, run) in runs {
            if !run.measured().any(|known| *known == metric) {
                let known: Vec<&str> = run.measured().map(String::as_str).collect();
                return wrong(format!(
                    "the run {name} has no measure {metric:?}, only {}",
                    known.join(", ")
                ));
            }
        }
        let mut like = first.training.clone();
        if like.metric_for_best_model != metric {
            like.metric_for_best_model.clone_from(&metric);
            like.greater_is_better = None;
        }
        let greater_is_better = like.greater_is_better();
        let run = |(name, metrics): &(String, RunMetrics)| {
            ComparedRun::of(name, metrics, &metric, greater_is_better)
        };
        Ok(Self {
            runs: runs.iter().map(run).collect(),
            points: runs.iter().map(|(_, run)| points(run, &metric)).collect(),
            greater_is_better,
            metric,
        })
    }

    /// The table, with the best of each column in bold if `bold` (an ANSI terminal's), and always with
    /// a `*`.
    pub fn table(&self, bold: bool) -> String {
        table::table(self, bold)
    }

    /// Draws the measure over the steps of each run as an SVG file, which is replaced in one step.
    /// Colours and shapes tell the runs apart, also without colour vision.
    ///
    /// # Errors
    ///
    /// [`TrainError::Plot`]; [`TrainError::Lora`] if the file cannot be written.
    pub fn write_svg(&self, path: &Path) -> Result<(), TrainError> {
        let svg = picture::file(self).map_err(|e| plot_error(path, e.as_ref()))?;
        Ok(write_atomically(path, svg.as_bytes())?)
    }

    /// Writes table and picture as a page of its own, which is replaced in one step; see
    /// [`Report`](crate::Report).
    ///
    /// # Errors
    ///
    /// As [`write_svg`](Self::write_svg).
    pub fn write_html(&self, path: &Path) -> Result<(), TrainError> {
        let html = page::page(self).map_err(|e| plot_error(path, e.as_ref()))?;
        Ok(write_atomically(path, html.as_bytes())?)
    }

    /// Writes the numbers as a JSON file, which is replaced in one step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if the file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<(), TrainError> {
        let text = format!("{:#}\n", serde_json::json!(self));
        Ok(write_atomically(path, text.as_bytes())?)
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.table(false))
    }
}

impl ComparedRun {
    fn of(name: &str, run: &RunMetrics, metric: &str, greater_is_better: bool) -> Self {
        let values = || points(run, metric).into_iter().map(|point| point.1);
        let better = |a: f64, b: f64| match greater_is_better {
            true => a.max(b),
            false => a.min(b),
        };
        let last_loss = || run.evaluations.last().map(|record| record.dev.loss());
        let loss = run.evaluation.as_ref().map(|e| e.measures.loss());
        let parameters = &run.parameters;
        Self {
            name: name.to_string(),
            method: run.method.clone(),
            trainable: parameters.trainable(),
            trainable_percent: 100.0 * parameters.trainable() as f64
                / parameters.total().max(1) as f64,
            // NaN only if nothing else was measured.
            best: values().fold(f64::NAN, better),
            last: values().next_back().unwrap_or(f64::NAN),
            loss: loss.or_else(last_loss).unwrap_or(f64::NAN),
            seconds: run.seconds,
            examples_per_second: run.examples_per_second,
            peak_rss_mb: run.peak_rss_mb,
            steps: run.steps(),
        }
    }
}

impl RunMetrics {
    /// The names of its measures of the development examples.
    fn measured(&self) -> impl Iterator<Item = &String> {
        let last = self.evaluations.last().into_iter();
        last.flat_map(|record| record.dev.0.keys())
    }
}

/// The measure by the steps it was made after.
fn points(run: &RunMetrics, metric: &str) -> Vec<(usize, f64)> {
    let records = run.evaluations.iter();
    records
        .map(|record| (record.step, record.dev.get(metric)))
        .collect()
}

/// The last part of each path, or all of it if another has the same.
fn names(paths: &[&Path]) -> Vec<String> {
    let last = |path: &Path| -> Option<String> {
        // `.` and `..` have a name, too.
        let full: PathBuf = path.canonicalize().ok()?;
        Some(full.file_name()?.to_string_lossy().into_owned())
    };
    let short: Vec<Option<String>> = paths.iter().map(|path| last(path)).collect();
    let is_taken = |name: &String| {
        short
            .iter()
            .flatten()
            .filter(|other| *other == name)
            .count()
    };
    let name = |(path, short): (&&Path, &Option<String>)| match short {
        Some(name) if is_taken(name) == 1 => name.clone(),
        _ => path.display().to_string(),
    };
    paths.iter().zip(&short).map(name).collect()
}

fn plot_error(path: &Path, error: &dyn std::error::Error) -> TrainError {
    TrainError::Plot {
        path: path.to_path_buf(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
