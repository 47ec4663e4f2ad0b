//! Runs that differ in what they adapt, and at which rank, as tables and a picture (Hu et al. 2021,
//! sections 7.1 and 7.2, tables 5 and 6).

use std::collections::BTreeMap;
use std::path::Path;

use lora_core::file::write_atomically;
use serde::Serialize;

use crate::chart::{Ink, LineChart, Mark, PALETTE, Series, XAxis, write};
use crate::plot::words;
use crate::{RunMetrics, TrainError};

const SIZE: (u32, u32) = (900, 420);

/// Finished runs of a grid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// The measure of the development examples that is compared.
    pub metric: String,
    /// The runs.
    pub cells: Vec<SweepCell>,
}

/// A run of the grid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepCell {
    /// The modules that are adapted, as they are called in the tables.
    pub targets: String,
    /// The rank of the adapters.
    pub rank: usize,
    /// The seed.
    pub seed: u64,
    /// How many parameters of adapters trained.
    pub lora_parameters: usize,
    /// The measure of the final model; NaN, in JSON `null`, if it is not defined.
    pub value: f64,
    /// The time the run took, in seconds.
    pub seconds: f64,
}

impl SweepCell {
    /// Reads a finished run in `folder`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Metrics`] if the run has not ended, was stopped before its end, or does not have
    /// the measure.
    pub fn read(folder: &Path, targets: &str, metric: &str) -> Result<Self, TrainError> {
        let run = RunMetrics::read(folder)?;
        let wrong = |message: &str| TrainError::Metrics {
            path: folder.join(crate::METRICS_NAME),
            message: message.to_string(),
        };
        let evaluation = run.evaluation.as_ref().filter(|_| run.stopped.is_none());
        let evaluation = evaluation.ok_or_else(|| wrong("the run was stopped before its end"))?;
        if !evaluation.measures.0.contains_key(metric) {
            return Err(wrong(&format!("it has no measure {metric:?}")));
        }
        let config = run
            .lora
            .as_ref()
            .ok_or_else(|| wrong("it has no adapters"))?;
        Ok(Self {
            targets: targets.to_string(),
            rank: config.r,
            seed: run.training.seed,
            lora_parameters: run.parameters.lora,
            value: evaluation.measures.get(metric),
            seconds: run.seconds,
        })
    }
}

impl Sweep {
    /// A table in Markdown: a row for each of `rows`, a column for each of `ranks`, and in the cells the
    /// mean over the seeds with the standard deviation; empty where nothing was run.
    pub fn table(&self, rows: &[&str], ranks: &[usize]) -> String {
        let mut text = "| adapted |".to_string();
        text += &ranks
            .iter()
            .map(|r| format!(" r = {r} |"))
            .collect::<String>();
        text += "\n|---|";
        text += &"---:|".repeat(ranks.len());
        text.push('\n');
        for targets in rows {
            text += &format!("| {targets} |");
            for rank in ranks {
                text += &match self.summary(targets, *rank) {
                    None => " |".to_string(),
                    Some(summary) => format!(" {summary} |"),
                };
            }
            text.push('\n');
        }
        text
    }

    /// A table in Markdown with a row for each pair of targets and rank: how many parameters they have,
    /// and the measure.
    pub fn budget_table(&self, rows: &[(&str, usize)]) -> String {
        let mut text = format!(
            "| adapted | rank | parameters | {} |\n|---|---:|---:|---:|\n",
            words(&self.metric)
        );
        for (targets, rank) in rows {
            let parameters = self
                .of(targets, *rank)
                .next()
                .map(|cell| cell.lora_parameters);
            let parameters = parameters.map(lora_core::grouped).unwrap_or_default();
            let summary = self.summary(targets, *rank).unwrap_or_default();
            text += &format!("| {targets} | {rank} | {parameters} | {summary} |\n");
        }
        text
    }

    /// Writes all runs as JSON.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if the file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<(), TrainError> {
        let text = format!("{:#}\n", serde_json::json!(self));
        Ok(write_atomically(path, text.as_bytes())?)
    }

    /// Draws the mean of the measure over the ranks, a line for each of `rows`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Plot`]; [`TrainError::Lora`] if the file cannot be written.
    pub fn write_svg(&self, path: &Path, rows: &[&str]) -> Result<(), TrainError> {
        let fraction = crate::metric::is_fraction(&self.metric);
        let series = rows.iter().enumerate().map(|(index, targets)| Series {
            name: (*targets).to_string(),
            points: self.means(targets),
            ink: Ink::Series(index % PALETTE.len()),
            width: 2,
            mark: Some(Mark::of(index)),
        });
        let chart = LineChart {
            title: format!("Development {} by rank", words(&self.metric)),
            x_axis: XAxis::Rank,
            y_label: match fraction {
                true => format!("{} (%)", words(&self.metric)),
                false => words(&self.metric),
            },
            from_zero: false,
            highest: fraction.then_some(100.0),
            series: series.collect(),
        };
        write(&chart, SIZE, path)
    }

    fn of(&self, targets: &str, rank: usize) -> impl Iterator<Item = &SweepCell> {
        let cells = self.cells.iter();
        cells.filter(move |cell| cell.targets == targets && cell.rank == rank)
    }

    /// By the logarithm of the rank to base 2.
    fn means(&self, targets: &str) -> Vec<(f64, f64)> {
        let mut values: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for cell in self.cells.iter().filter(|cell| cell.targets == targets) {
            values
                .entry(cell.rank)
                .or_default()
                .push(self.scale() * cell.value);
        }
        let mean = |(rank, values): (usize, Vec<f64>)| {
            let sum: f64 = values.iter().sum();
            ((rank as f64).log2(), sum / values.len() as f64)
        };
        values.into_iter().map(mean).collect()
    }

    fn scale(&self) -> f64 {
        match crate::metric::is_fraction(&self.metric) {
            true => 100.0,
            false => 1.0,
        }
    }

    /// The mean, and with several seeds the standard deviation (n - 1).
    fn summary(&self, targets: &str, rank: usize) -> Option<String> {
        let values: Vec<f64> = self
            .of(targets, rank)
            .map(|cell| self.scale() * cell.value)
            .collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        match values.len() {
            0 => None,
            1 => Some(format!("{mean:.1}")),
            _ => {
                let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                Some(format!(
                    "{mean:.1} ± {:.1}",
                    (squares / (count - 1.0)).sqrt()
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_well_formed;

    fn sweep() -> Sweep {
        let cell = |targets: &str, rank, seed, value| SweepCell {
            targets: targets.to_string(),
            rank,
            seed,
            lora_parameters: 1000 * rank,
            value,
            seconds: 1.0,
        };
        Sweep {
            metric: "accuracy".to_string(),
            cells: vec![
                cell("q", 1, 0, 0.70),
                cell("q", 1, 1, 0.72),
                cell("q", 64, 0, 0.8),
                cell("q, v", 1, 0, 0.9),
            ],
        }
    }

    #[test]
    fn means_and_deviations_over_the_seeds() {
        let table = sweep().table(&["q", "q, v"], &[1, 64]);
        assert_eq!(
            table,
            "| adapted | r = 1 | r = 64 |\n|---|---:|---:|\n| q | 71.0 ± 1.4 | 80.0 |\n\
             | q, v | 90.0 | |\n"
        );
        let budget = sweep().budget_table(&[("q", 64), ("k", 8)]);
        assert_eq!(
            budget,
            "| adapted | rank | parameters | accuracy |\n|---|---:|---:|---:|\n\
             | q | 64 | 64,000 | 80.0 |\n| k | 8 |  |  |\n"
        );
    }

    #[test]
    fn the_picture_has_ranks_below() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep.svg");
        sweep().write_svg(&path, &["q", "q, v"]).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert_well_formed(&svg);
        for text in ["\n1\n", "\n64\n", "\n2\n", "rank", "accuracy (%)"] {
            assert!(svg.contains(text), "no {text:?} in {svg}");
        }
    }
}
