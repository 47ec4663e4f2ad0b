//! `report.html`: a training run to look at.

mod confusion;
mod curves;
mod header;
mod lengths;
mod measurements;
mod mistakes;
mod numbers;
mod parameters;
mod settings;

use std::path::Path;

use lora_core::file::write_atomically;

use crate::data::LengthSummary;
use crate::{History, RunMetrics, TrainError, html};

#[cfg(test)]
pub(crate) use confusion::DEEPEST;
pub(crate) use numbers::{duration, measure, number, value_or_dash};

/// The name of the page in a run's folder.
pub const REPORT_NAME: &str = "report.html";

/// A training run on one page that needs no network, no scripts and no other file.
///
/// It has the run's inputs and results, the curves, every measurement as a table, the parameters and
/// the settings; of classifiers also the confusion matrix and the most confident mistakes. What a task
/// does not have is left out. The page follows the reader's choice of light or dark.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The run in numbers.
    pub metrics: &'a RunMetrics,
    /// Its steps and measurements.
    pub history: &'a History,
    /// The lengths of its data sets, each with a name, such as `training`; none to leave them out.
    pub lengths: &'a [(&'a str, LengthSummary)],
    /// What a classifier is about; `None` for other tasks.
    pub classes: Option<Classes<'a>>,
}

/// What a classifier is about.
///
/// What it said is in [`Evaluation::outcomes`](crate::Evaluation::outcomes) of the run's numbers;
/// numbers that were read back from a file lack it, and a report on them lacks the confusion matrix and
/// the mistakes.
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a> {
    /// The names of the classes, in the order of their indices.
    pub names: &'a [String],
    /// The texts of the development examples, in their order.
    pub texts: &'a [String],
}

impl Classes<'_> {
    /// The name of a class, or its index.
    fn name(&self, class: usize) -> String {
        let name = self.names.get(class).cloned();
        name.unwrap_or_else(|| class.to_string())
    }
}

impl Report<'_> {
    /// Writes [`REPORT_NAME`] into `folder`, which exists, in one step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Plot`]; [`TrainError::Lora`] if the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(REPORT_NAME);
        let html = self.html().map_err(|e| TrainError::Plot {
            path: path.clone(),
            message: e.to_string(),
        })?;
        Ok(write_atomically(&path, html.as_bytes())?)
    }

    fn html(&self) -> Result<String, Box<dyn std::error::Error>> {
        let Self {
            metrics,
            history,
            lengths,
            classes,
        } = self;
        let mut body = header::section(metrics);
        body += &curves::section(history)?;
        body += &measurements::section(metrics);
        if let (Some(classes), Some(evaluation)) = (classes, &metrics.evaluation) {
            body += &confusion::section(classes, evaluation);
        }
        body += &parameters::section(&metrics.parameters);
        body += &lengths::section(lengths)?;
        if let (Some(classes), Some(evaluation)) = (classes, &metrics.evaluation) {
            body += &mistakes::section(classes, evaluation);
        }
        body += &settings::section(metrics);
        Ok(html::page(&header::title(metrics), &body))
    }
}

#[cfg(test)]
mod tests;
