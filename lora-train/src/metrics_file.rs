//! `metrics.json`: a training run in numbers.

use std::path::Path;

use lora_core::file::write_atomically;
use lora_core::{FactorizeConfig, LoraConfig, ParameterReport};
use serde::{Deserialize, Serialize};

use crate::{
    Evaluation, EvaluationRecord, RunSettings, Stopped, TrainError, Trained, TrainingConfig, null,
};

/// The name of the file in a run's folder.
pub const METRICS_NAME: &str = "metrics.json";

/// Everything that is written about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// The name of the method.
    pub method: String,
    /// The adapters' configuration, if there are some.
    pub lora: Option<LoraConfig>,
    /// Which weights are products of thin matrices, if some are.
    #[serde(default)]
    pub factorization: Option<FactorizeConfig>,
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
    /// When the run ended, in UTC as RFC 3339 has it.
    pub ended: String,
    /// The time the run took, evaluation included, in seconds.
    pub seconds: f64,
    /// Training examples per second of training.
    #[serde(deserialize_with = "null::as_nan")]
    pub examples_per_second: f64,
    /// The most memory the process ever had, in MB (2²⁰ bytes), where the system tells.
    pub peak_rss_mb: Option<f64>,
    /// Why the run ended before its last step, if it did.
    pub stopped: Option<Stopped>,
}

impl RunMetrics {
    /// The numbers of a run that ends now.
    pub fn of<T>(
        settings: RunSettings<'_>,
        train_examples: usize,
        parameters: ParameterReport,
        trained: &Trained<T>,
    ) -> Self {
        let evaluations = trained.history.evaluations.clone();
        let of_each = |of: fn(&EvaluationRecord) -> f64| evaluations.iter().map(of).sum::<f64>();
        let seconds = of_each(|record| record.seconds);
        let examples = of_each(|record| record.seconds * record.examples_per_second);
        Self {
            method: settings.method.name().to_string(),
            lora: settings.lora().cloned(),
            factorization: settings.factorization().cloned(),
            model: settings.names.model.to_string(),
            data: settings.names.data.to_string(),
            device: settings.names.device.to_string(),
            training: settings.training.clone(),
            train_examples,
            parameters,
            step_losses: trained.history.steps.iter().map(|step| step.loss).collect(),
            evaluation: trained.evaluation.clone(),
            ended: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
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

    /// Reads [`METRICS_NAME`] in `folder`. What is not finite is `null` there and NaN here.
    ///
    /// # Errors
    ///
    /// [`TrainError::Metrics`], with the file and the field, if there is no such file or it is of
    /// something else.
    pub fn read(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(METRICS_NAME);
        let wrong = |message: String| TrainError::Metrics {
            path: path.clone(),
            message,
        };
        let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => wrong(
                "there is no such file: expected the folder of a run that has ended (one that was \
                 interrupted has none before it is resumed)"
                    .to_string(),
            ),
            _ => TrainError::io("read", &path, e),
        })?;
        let reader = &mut serde_json::Deserializer::from_str(&text);
        serde_path_to_error::deserialize(reader).map_err(|e| match e.path().to_string() {
            at if at == "." => wrong(e.inner().to_string()),
            at => wrong(format!("`{at}`: {}", e.inner())),
        })
    }

    /// The number of steps.
    pub fn steps(&self) -> usize {
        self.step_losses.len()
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
    use crate::testing::{run_metrics, tiny_config};
    use crate::{History, Method, RunNames, StepRecord};
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
            evaluation: Some(Evaluation::new([("loss", 0.25)].into(), 3, "examples")),
            best_step: Some(1),
            seconds: 3.0,
            sent_per_step: None,
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
        let settings = RunSettings {
            names,
            method: &method,
            training: &config,
        };
        let metrics = RunMetrics::of(settings, 8, report, &trained);
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
        let ended = json["ended"].as_str().unwrap();
        assert!(ended.ends_with('Z') && ended.len() == 20, "{ended}");
        assert_eq!(RunMetrics::read(folder.path()).unwrap(), metrics);
    }

    #[test]
    fn a_measure_without_a_value_is_read_back() {
        let mut metrics = run_metrics("a", 0.5);
        metrics.evaluations[0].dev = [("loss", 0.5), ("f1", f64::NAN)].into();
        let folder = tempfile::tempdir().unwrap();
        metrics.write(folder.path()).unwrap();
        let read = RunMetrics::read(folder.path()).unwrap();
        assert!(read.evaluations[0].dev.get("f1").is_nan());
        assert_eq!(read.evaluations[0].dev.loss(), 0.5);
    }

    #[test]
    fn an_error_names_the_file_and_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let error = || RunMetrics::read(folder.path()).unwrap_err().to_string();
        let path = folder.path().join(METRICS_NAME);
        let missing = error();
        assert!(missing.contains(path.to_str().unwrap()), "{missing}");
        assert!(missing.contains("a run that has ended"), "{missing}");
        run_metrics("a", 0.5).write(folder.path()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, expected) in [
            (
                "\"epochs\": 3",
                "\"epochs\": \"many\"",
                "`training.epochs`: invalid type",
            ),
            (
                "\"seconds\": 12.5",
                "\"second\": 12.5",
                "missing field `seconds`",
            ),
            (
                "\"accuracy\": 0.5",
                "\"accuracy\": []",
                "`evaluations[0].dev.accuracy`",
            ),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            std::fs::write(&path, changed).unwrap();
            let error = error();
            assert!(
                error.contains(expected) && error.contains(METRICS_NAME),
                "{error}"
            );
        }
    }
}
