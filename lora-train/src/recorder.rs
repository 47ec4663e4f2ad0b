//! Following a training run: the history, and what is shown of it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{Interrupter, LearnerSummary};

use crate::history::{EpochRecord, History, StepRecord};

/// What is shown while training.
pub(crate) enum View {
    /// Burn's dashboard, or another renderer of Burn's.
    Renderer(Box<dyn MetricsRenderer>),
    /// One line for each epoch, without colours.
    Lines(Box<dyn Write + Send + Sync>),
}

/// A renderer that writes the [`History`] and passes everything on to a [`View`].
///
/// It also stops the training as soon as the loss is not finite any more.
pub(crate) struct Recorder {
    history: Arc<Mutex<History>>,
    view: View,
    interrupter: Interrupter,
    names: HashMap<MetricId, String>,
    epochs: usize,
    split: Split,
    /// The epoch so far.
    current: EpochRecord,
}

/// The split that is running.
#[derive(Clone, Copy)]
struct Split {
    train: bool,
    items: usize,
    start: Instant,
}

impl Recorder {
    pub(crate) fn new(view: View, interrupter: Interrupter) -> (Self, Arc<Mutex<History>>) {
        let history = Arc::new(Mutex::new(History::default()));
        let recorder = Self {
            history: history.clone(),
            view,
            interrupter,
            names: HashMap::new(),
            epochs: 0,
            split: Split {
                train: true,
                items: 0,
                start: Instant::now(),
            },
            current: blank(),
        };
        (recorder, history)
    }

    /// The history: a thread that panicked while it held the lock left whole records.
    pub(crate) fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
        history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&mut self, train: bool, state: &MetricState) {
        let MetricState::Numeric(entry, Some(value)) = state else {
            return;
        };
        let name = self.names.get(&entry.metric_id).map_or("", String::as_str);
        let finished = matches!(value, NumericEntry::Final(_));
        let value = value.current();
        match (name, train, finished) {
            ("Loss", true, false) => {
                Self::lock(&self.history).steps.push(StepRecord {
                    loss: value,
                    learning_rate: 0.0,
                });
                if !value.is_finite() {
                    self.interrupter.stop(Some("the loss is not finite"));
                }
            }
            ("Learning Rate", true, false) => {
                if let Some(step) = Self::lock(&self.history).steps.last_mut() {
                    step.learning_rate = value;
                }
            }
            ("Loss", true, true) => self.current.train_loss = value,
            ("Accuracy", true, true) => self.current.train_accuracy = value / 100.0,
            ("Loss", false, true) => self.current.dev_loss = value,
            ("Accuracy", false, true) => self.current.dev_accuracy = value / 100.0,
            _ => {}
        }
    }

    fn write_line(&mut self, line: std::fmt::Arguments<'_>) {
        if let View::Lines(output) = &mut self.view {
            // A reader that went away is no reason to lose the training.
            let _ = writeln!(output, "{line}").and_then(|()| output.flush());
        }
    }

    fn renderer(&mut self) -> Option<&mut dyn MetricsRenderer> {
        match &mut self.view {
            View::Renderer(renderer) => Some(renderer.as_mut()),
            View::Lines(_) => None,
        }
    }
}

fn blank() -> EpochRecord {
    EpochRecord {
        epoch: 0,
        train_loss: f64::NAN,
        train_accuracy: f64::NAN,
        dev_loss: f64::NAN,
        dev_accuracy: f64::NAN,
        seconds: 0.0,
        examples_per_second: 0.0,
    }
}

impl MetricsRendererTraining for Recorder {
    fn update_train(&mut self, state: MetricState) {
        self.record(true, &state);
        if let Some(renderer) = self.renderer() {
            renderer.update_train(state);
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        self.record(false, &state);
        if let Some(renderer) = self.renderer() {
            renderer.update_valid(state);
        }
    }

    fn on_train_end(
        &mut self,
        summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        self.renderer()
            .map_or(Ok(()), |renderer| renderer.on_train_end(summary))
    }
}

impl TrainingProgressLogger for Recorder {
    fn start(
        &mut self,
        total_epochs: usize,
        starting_epoch: usize,
        total_items: Option<usize>,
        label: Option<&str>,
    ) {
        self.epochs = total_epochs;
        if let Some(renderer) = self.renderer() {
            renderer.start(total_epochs, starting_epoch, total_items, label);
        }
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
        let train = split == "train";
        self.split = Split {
            train,
            items: total_items,
            start: Instant::now(),
        };
        if let Some(renderer) = self.renderer() {
            renderer.start_split(split, total_items);
        }
    }

    fn update_split(&mut self, items_processed: usize) {
        if let Some(renderer) = self.renderer() {
            renderer.update_split(items_processed);
        }
    }

    fn end_split(&mut self) {
        if self.split.train {
            let seconds = self.split.start.elapsed().as_secs_f64();
            self.current.seconds = seconds;
            self.current.examples_per_second = self.split.items as f64 / seconds.max(1e-9);
        }
        if let Some(renderer) = self.renderer() {
            renderer.end_split();
        }
    }

    fn update_epoch(&mut self, epoch: usize) {
        let record = EpochRecord {
            epoch,
            ..std::mem::replace(&mut self.current, blank())
        };
        self.write_line(format_args!("epoch {epoch}/{}: {record}", self.epochs));
        Self::lock(&self.history).epochs.push(record);
        if let Some(renderer) = self.renderer() {
            renderer.update_epoch(epoch);
        }
    }

    fn end(&mut self) {
        if let Some(renderer) = self.renderer() {
            renderer.end();
        }
    }

    fn log_event_training(&mut self, event: String) {
        if let Some(renderer) = self.renderer() {
            renderer.log_event_training(event);
        }
    }
}

// Burn's renderer is one type for training and evaluation; the dashboard gets both.
impl MetricsRendererEvaluation for Recorder {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        if let Some(renderer) = self.renderer() {
            renderer.update_test(name, state);
        }
    }
}

impl EvaluationProgressLogger for Recorder {
    fn start_global_progress(&mut self, total_tests: usize) {
        if let Some(renderer) = self.renderer() {
            renderer.start_global_progress(total_tests);
        }
    }

    fn start_test(&mut self, name: &str, total_items: usize) {
        if let Some(renderer) = self.renderer() {
            renderer.start_test(name, total_items);
        }
    }

    fn update_test_progress(&mut self, items_processed: usize) {
        if let Some(renderer) = self.renderer() {
            renderer.update_test_progress(items_processed);
        }
    }

    fn end_test(&mut self) {
        if let Some(renderer) = self.renderer() {
            renderer.end_test();
        }
    }

    fn end_global_progress(&mut self) {
        if let Some(renderer) = self.renderer() {
            renderer.end_global_progress();
        }
    }

    fn log_event_evaluation(&mut self, event: String) {
        if let Some(renderer) = self.renderer() {
            renderer.log_event_evaluation(event);
        }
    }
}

impl MetricsRenderer for Recorder {
    fn manual_close(&mut self) {
        if let Some(renderer) = self.renderer() {
            renderer.manual_close();
        }
    }

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names
            .insert(definition.metric_id.clone(), definition.name.to_string());
        if let Some(renderer) = self.renderer() {
            renderer.register_metric(definition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SharedOutput;
    use burn::train::metric::{
        AccuracyMetric, LearningRateMetric, LossMetric, Metric, MetricEntry, SerializedEntry,
    };

    fn state(name: &str, value: NumericEntry) -> MetricState {
        let id = MetricId::new(Arc::new(name.to_string()));
        let text = SerializedEntry::new(value.serialize(), value.serialize());
        MetricState::Numeric(MetricEntry::new(id, text), Some(value))
    }

    fn register<M: Metric>(recorder: &mut Recorder, metric: M) {
        let id = MetricId::new(metric.name());
        recorder.register_metric(MetricDefinition::new(id, &metric));
    }

    fn recorder() -> (Recorder, Arc<Mutex<History>>, SharedOutput, Interrupter) {
        let (output, interrupter) = (SharedOutput::default(), Interrupter::new());
        let view = View::Lines(Box::new(output.clone()));
        let (mut recorder, history) = Recorder::new(view, interrupter.clone());
        register(&mut recorder, LossMetric::new());
        register(&mut recorder, AccuracyMetric::new());
        register(&mut recorder, LearningRateMetric::new());
        (recorder, history, output, interrupter)
    }

    fn one_batch(value: f64) -> NumericEntry {
        NumericEntry::Aggregated {
            aggregated_value: value,
            count: 4,
        }
    }

    #[test]
    fn one_line_for_each_epoch() {
        let (mut recorder, history, output, interrupter) = recorder();
        recorder.start(2, 1, None, None);
        for epoch in 1..=2 {
            recorder.start_split("train", 8);
            for loss in [1.0, 0.5] {
                recorder.update_train(state("Loss", one_batch(loss)));
                recorder.update_train(state("Learning Rate", one_batch(loss / 10.0)));
            }
            recorder.update_train(state("Loss", NumericEntry::Final(0.75)));
            recorder.update_train(state("Accuracy", NumericEntry::Final(50.0)));
            recorder.end_split();
            recorder.start_split("valid", 3);
            recorder.update_valid(state("Loss", NumericEntry::Final(0.625)));
            recorder.update_valid(state("Accuracy", NumericEntry::Final(66.666)));
            recorder.end_split();
            recorder.update_epoch(epoch);
        }
        recorder.end();
        let text = output.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let expected = "epoch 2/2: train loss 0.7500, dev loss 0.6250, dev accuracy 66.67 %, ";
        assert!(
            lines[1].starts_with(expected) && lines[1].ends_with(" examples/s"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");

        let history = Recorder::lock(&history);
        assert_eq!((history.steps.len(), history.epochs.len()), (4, 2));
        assert_eq!(
            history.steps[1],
            StepRecord {
                loss: 0.5,
                learning_rate: 0.05
            }
        );
        assert_eq!(history.epochs[1].train_accuracy, 0.5);
        assert!(history.epochs[0].examples_per_second > 0.0);
        assert!(!interrupter.should_stop());
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_training() {
        let (mut recorder, history, _, interrupter) = recorder();
        recorder.update_train(state("Loss", one_batch(1.0)));
        recorder.update_train(state("Loss", one_batch(f64::INFINITY)));
        assert!(interrupter.should_stop());
        let (step, loss) = Recorder::lock(&history).first_divergence().unwrap();
        assert_eq!((step, loss), (2, f64::INFINITY));
    }
}
