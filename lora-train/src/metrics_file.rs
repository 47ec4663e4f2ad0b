//! `metrics.json`: a training run in numbers.

use std::path::Path;

use lora_core::file::write_atomically;
use lora_core::{LoraConfig, ParameterReport};
use serde::Serialize;

use crate::{Evaluation, EvaluationRecord, Method, Stopped, TrainError, Trained, TrainingConfig};

/// The name of the file in a run's folder.
pub const METRICS_NAME: &str = "metrics.json";

/// Everything that is written about a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunMetrics {
    /// The name of the method.
    pub method: &'static str,
    /// The adapters' configuration, if there are some.
    pub lora: Option<LoraConfig>,
    /// The base model, as it was named.
    pub model: String,
    /// The data set, as it was named.
    pub data: String,
    /// The device.
    pub device: String,
    /// How it was trained.
    pub training: TrainingConfig,
    /// The number of training examples.
    pub train_examples: usize,
    /// How many parameters trained.
    pub parameters: ParameterReport,
    /// Each measurement.
    pub evaluations: Vec<EvaluationRecord>,
    /// The loss of each step.
    pub step_losses: Vec<f64>,
    /// The final model on the development examples; `None` if the run was interrupted.
    pub evaluation: Option<Evaluation>,
    /// After how many steps the best measurement was made.
    pub best_step: Option<usize>,
    /// The time the run took, evaluation included.
    pub seconds: f64,
    /// Training examples per second of training.
    pub examples_per_second: f64,
    /// The most memory the process ever had, in MB (2²⁰ bytes), where the system tells.
    pub peak_rss_mb: Option<f64>,
    /// Why the run ended before its last step, if it did.
    pub stopped: Option<Stopped>,
}

/// The inputs of a run, by the names they were given.
#[derive(Debug, Clone, Copy)]
pub struct RunNames<'a> {
    /// The base model's folder or hub id.
    pub model: &'a str,
    /// The data set's folder or hub id.
    pub data: &'a str,
    /// The device.
    pub device: &'a str,
}

impl RunMetrics {
    /// The numbers of a run that has ended.
    pub fn of<T>(
        names: RunNames<'_>,
        method: &Method,
        training: &TrainingConfig,
        train_examples: usize,
        parameters: ParameterReport,
        trained: &Trained<T>,
    ) -> Self {
        let evaluations = trained.history.evaluations.clone();
        let of_each = |of: fn(&EvaluationRecord) -> f64| evaluations.iter().map(of).sum::<f64>();
        let seconds = of_each(|record| record.seconds);
        let examples = of_each(|record| record.seconds * record.examples_per_second);
        Self {
            method: method.name(),
            lora: method.adapters().cloned(),
            model: names.model.to_string(),
            data: names.data.to_string(),
            device: names.device.to_string(),
            training: training.clone(),
            train_examples,
            parameters,
            step_losses: trained.history.steps.iter().map(|step| step.loss).collect(),
            evaluation: trained.evaluation.clone(),
            seconds: trained.seconds,
            best_step: trained.best_step,
            examples_per_second: examples / seconds.max(1e-9),
            peak_rss_mb: peak_rss_mb(),
            stopped: trained.stopped.clone(),
            evaluations,
        }
    }

    /// Writes [`METRICS_NAME`] into `folder`, which exists, in one step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let text = format!("{:#}\n", serde_json::json!(self));
        Ok(write_atomically(
            &folder.join(METRICS_NAME),
            text.as_bytes(),
        )?)
    }
}

/// The most memory this process ever had, in MB (2²⁰ bytes); `None` where the system does not say.
pub fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse_peak(&status)
}

fn parse_peak(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_config;
    use crate::{History, StepRecord};
    use lora_models::bert::SequenceClassification;

    #[test]
    fn the_peak_is_linuxs_high_water_mark() {
        let status = "Name:\tcargo\nVmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\n";
        assert_eq!(parse_peak(status), Some(2.0));
        assert_eq!(parse_peak("Name:\tcargo\n"), None);
        assert_eq!(parse_peak("VmHWM:\tmany kB\n"), None);
    }

    #[test]
    fn a_run_becomes_json() {
        let record = EvaluationRecord {
            step: 1,
            epoch: 1.0,
            train_loss: 0.5,
            dev: [("loss", 0.25), ("accuracy", 1.0)].into(),
            seconds: 2.0,
            examples_per_second: 4.0,
        };
        let history = History {
            steps: vec![StepRecord {
                loss: 0.5,
                learning_rate: 1e-3,
                grad_norm: 2.0,
                losses: 8,
            }],
            evaluations: vec![record],
        };
        let trained = Trained {
            model: SequenceClassification::new(&tiny_config(), &lora_core::default_device()),
            history,
            evaluation: Some(Evaluation {
                measures: [("loss", 0.25)].into(),
                count: 3,
                unit: "examples",
            }),
            best_step: Some(1),
            seconds: 3.0,
            stopped: Some(Stopped::Early),
        };
        let method = Method::lora(LoraConfig::new(), &tiny_config());
        let names = RunNames {
            model: "roberta-tiny",
            data: "reviews",
            device: "flex",
        };
        let report = ParameterReport {
            lora: 1,
            saved: 2,
            bias: 3,
            replaced: 0,
            frozen: 4,
        };
        let config = TrainingConfig::new().with_epochs(1);
        let metrics = RunMetrics::of(names, &method, &config, 8, report, &trained);
        let folder = tempfile::tempdir().unwrap();
        metrics.write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(METRICS_NAME)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["method"], "lora");
        assert_eq!(
            json["lora"]["target_modules"],
            serde_json::json!(["query", "value"])
        );
        assert_eq!(json["training"]["epochs"], 1);
        assert_eq!(json["parameters"]["frozen"], 4);
        assert_eq!(json["evaluations"][0]["dev"]["accuracy"], 1.0);
        assert_eq!(json["evaluation"]["count"], 3);
        assert_eq!(json["evaluation"]["measures"]["loss"], 0.25);
        assert_eq!(json["stopped"]["why"], "early");
        assert_eq!(json["examples_per_second"], 4.0);
        assert_eq!(json["step_losses"], serde_json::json!([0.5]));
    }
}
