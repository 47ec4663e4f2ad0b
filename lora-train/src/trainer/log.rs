//! `metrics.jsonl`: a line for each log step and each measurement.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use lora_core::file::write_atomically;
use serde_json::{Value, json};

use crate::{EvaluationRecord, TrainError};

/// The name of the log in a run's folder.
///
/// A line with the key `loss` is about the training steps since the one before; a line with
/// `eval_loss` is a measurement of the development examples. Rates are per second, memory is in MB
/// (2²⁰ bytes).
pub const LOG_NAME: &str = "metrics.jsonl";

/// The log of a run.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: PathBuf,
}

/// What a line says of training.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrainingLine {
    pub(super) step: usize,
    pub(super) epoch: f64,
    pub(super) loss: f64,
    pub(super) learning_rate: f64,
    pub(super) grad_norm: f64,
    pub(super) examples_per_second: f64,
    pub(super) tokens_per_second: f64,
}

impl Log {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(LOG_NAME),
        }
    }

    /// Keeps the lines up to `step` only: what comes after it is done again. A line that a killed
    /// process left half written is one of those.
    pub(super) fn keep(&self, step: usize) -> Result<(), TrainError> {
        let text = match fs::read_to_string(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(|e| TrainError::io("read", &self.path, e))?,
        };
        let is_kept = |line: &&str| {
            let value: Option<Value> = serde_json::from_str(line).ok();
            let at = value.and_then(|value| value["step"].as_u64());
            at.is_some_and(|at| at <= step as u64)
        };
        let kept: String = text
            .lines()
            .filter(is_kept)
            .map(|line| format!("{line}\n"))
            .collect();
        Ok(write_atomically(&self.path, kept.as_bytes())?)
    }

    pub(super) fn training(&self, line: TrainingLine) -> Result<(), TrainError> {
        self.append(json!({
            "step": line.step,
            "epoch": line.epoch,
            "loss": line.loss,
            "learning_rate": line.learning_rate,
            "grad_norm": line.grad_norm,
            "examples_per_second": line.examples_per_second,
            "tokens_per_second": line.tokens_per_second,
            "peak_rss_mb": crate::peak_rss_mb(),
        }))
    }

    pub(super) fn evaluation(&self, record: &EvaluationRecord) -> Result<(), TrainError> {
        let mut line = json!({"step": record.step, "epoch": record.epoch});
        for (name, value) in &record.dev.0 {
            line[format!("eval_{name}")] = json!(value);
        }
        self.append(line)
    }

    fn append(&self, line: Value) -> Result<(), TrainError> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .map_err(|e| TrainError::io("write", &self.path, e))?;
        file.write_all(format!("{line}\n").as_bytes())
            .map_err(|e| TrainError::io("write", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_checkpoint_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(folder.path());
        log.keep(0).unwrap();
        for step in 1..=3 {
            log.training(TrainingLine {
                step,
                epoch: 0.5,
                loss: 0.25,
                learning_rate: 1e-3,
                grad_norm: f64::NAN,
                examples_per_second: 8.0,
                tokens_per_second: 80.0,
            })
            .unwrap();
        }
        let path = folder.path().join(LOG_NAME);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"step\": 2, \"lo");
        fs::write(&path, text).unwrap();
        log.keep(2).unwrap();
        let record = EvaluationRecord {
            step: 2,
            epoch: 1.0,
            train_loss: 0.3,
            dev: [("loss", 0.4), ("accuracy", 0.75)].into(),
            seconds: 1.0,
            examples_per_second: 8.0,
        };
        log.evaluation(&record).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let steps: Vec<_> = lines.iter().map(|line| line["step"].as_u64()).collect();
        assert_eq!(steps, [Some(1), Some(2), Some(2)]);
        assert_eq!(
            (&lines[1]["loss"], &lines[1]["grad_norm"]),
            (&json!(0.25), &Value::Null)
        );
        assert_eq!(lines[2]["eval_accuracy"], 0.75);
    }
}
