//! What a model loses when its weights become products of thin matrices, as a table and a picture.

use std::path::Path;

use lora_core::analysis::ReconstructionError;
use lora_core::file::write_atomically;
use lora_core::grouped;
use serde::Serialize;

use crate::TrainError;
use crate::chart::{Ink, LineChart, Mark, Series, XAxis, write};

const SIZE: (u32, u32) = (900, 420);

/// The errors of a model's weights, and its size, rank by rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reconstruction {
    /// How many parameters the whole model has as it is.
    pub parameters: usize,
    /// The ranks that were tried, in order.
    pub ranks: Vec<ReconstructionAtRank>,
}

/// A model at one rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReconstructionAtRank {
    /// How many parameters the whole model has.
    pub parameters: usize,
    /// The errors over all weights: means of the means, and the largest of the largest.
    pub error: ReconstructionError,
}

impl ReconstructionAtRank {
    /// The errors of several weights of one rank together, a mean over the weights and the largest of
    /// all; `None` if there is no weight.
    pub fn of(parameters: usize, errors: &[ReconstructionError]) -> Option<Self> {
        let mean = |of: fn(&ReconstructionError) -> f64| {
            errors.iter().map(of).sum::<f64>() / errors.len() as f64
        };
        let max = |of: fn(&ReconstructionError) -> f64| errors.iter().map(of).fold(0.0, f64::max);
        Some(Self {
            parameters,
            error: ReconstructionError {
                rank: errors.first()?.rank,
                mean: mean(|e| e.mean),
                max: max(|e| e.max),
                output_mean: mean(|e| e.output_mean),
                output_max: max(|e| e.output_max),
            },
        })
    }
}

impl Reconstruction {
    /// A table in Markdown, a row for each rank.
    pub fn table(&self) -> String {
        let mut text =
            "| rank | parameters | of the model | weight, mean | weight, max | output, mean | \
                        output, max |\n|---:|---:|---:|---:|---:|---:|---:|\n"
                .to_string();
        for ReconstructionAtRank { parameters, error } in &self.ranks {
            text += &format!(
                "| {} | {} | {:.1} % | {:.1e} | {:.1e} | {:.1e} | {:.1e} |\n",
                error.rank,
                grouped(*parameters),
                100.0 * *parameters as f64 / self.parameters.max(1) as f64,
                error.mean,
                error.max,
                error.output_mean,
                error.output_max
            );
        }
        text
    }

    /// Writes all numbers as JSON.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if the file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<(), TrainError> {
        let text = format!("{:#}\n", serde_json::json!(self));
        Ok(write_atomically(path, text.as_bytes())?)
    }

    /// Draws the logarithms of the errors over those of the ranks.
    ///
    /// # Errors
    ///
    /// [`TrainError::Plot`]; [`TrainError::Lora`] if the file cannot be written.
    pub fn write_svg(&self, path: &Path) -> Result<(), TrainError> {
        type Of = fn(&ReconstructionError) -> f64;
        let lines: [(&str, Of); 4] = [
            ("weight, mean", |e| e.mean),
            ("weight, max", |e| e.max),
            ("output, mean", |e| e.output_mean),
            ("output, max", |e| e.output_max),
        ];
        let series = lines.iter().enumerate().map(|(index, (name, of))| {
            let point = |at: &ReconstructionAtRank| {
                // At full rank nothing but rounding is left, of which a logarithm says nothing.
                let value = Some(of(&at.error)).filter(|value| *value > 1e-9);
                (
                    (at.error.rank as f64).log2(),
                    value.map_or(f64::NAN, f64::log10),
                )
            };
            Series {
                name: (*name).to_string(),
                points: self.ranks.iter().map(point).collect(),
                ink: Ink::Series(index),
                width: 2,
                mark: Some(Mark::of(index)),
            }
        });
        let chart = LineChart {
            title: "Error of the reconstruction".to_string(),
            x_axis: XAxis::Rank,
            y_label: "log₁₀ of the difference".to_string(),
            from_zero: false,
            highest: None,
            series: series.collect(),
        };
        write(&chart, SIZE, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_well_formed;

    #[test]
    fn ranks_become_a_table_and_a_picture() {
        let error = |rank, mean| ReconstructionError {
            rank,
            mean,
            max: 2.0 * mean,
            output_mean: 4.0 * mean,
            output_max: 8.0 * mean,
        };
        assert_eq!(ReconstructionAtRank::of(1, &[]), None);
        let at = |rank| {
            let errors = [error(rank, 0.01), error(rank, 0.03)];
            ReconstructionAtRank::of(1_000 * rank, &errors).unwrap()
        };
        let mut found = Reconstruction {
            parameters: 8_000,
            ranks: vec![at(1), at(4)],
        };
        let table = found.table();
        let last = table.lines().last().unwrap();
        assert_eq!(
            last,
            "| 4 | 4,000 | 50.0 % | 2.0e-2 | 6.0e-2 | 8.0e-2 | 2.4e-1 |"
        );
        found
            .ranks
            .push(ReconstructionAtRank::of(8_000, &[error(8, 1e-16)]).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("factorize.svg");
        found.write_svg(&path).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert_well_formed(&svg);
        // Two ranks, and a mark in the legend.
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("weight, mean") && svg.contains("log₁₀"));
    }
}
