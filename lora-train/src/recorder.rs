//! Following a training run: the history, and what is shown of it.

mod evaluation;

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::train::logger::TrainingProgressLogger;
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};
use burn::train::{Interrupter, LearnerSummary};

use crate::history::{EpochRecord, History, Measures, StepRecord};

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
            ("Learning Rate", ..) => {}
            (_, _, true) => {
                let (key, value) = key_and_value(name, value);
                let measures = match train {
                    true => &mut self.current.train,
                    false => &mut self.current.dev,
                };
                measures.0.insert(key, value);
            }
            _ => {}
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
        train: Measures::default(),
        dev: Measures::default(),
        seconds: 0.0,
        examples_per_second: 0.0,
    }
}

/// A metric as the history has it: in small letters, and a fraction instead of a percentage.
fn key_and_value(name: &str, value: f64) -> (String, f64) {
    match name {
        "F1 (weighted)" => ("f1_weighted".to_string(), value / 100.0),
        "Accuracy" => ("accuracy".to_string(), value / 100.0),
        _ => (name.to_lowercase().replace(' ', "_"), value),
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
        if let View::Lines(output) = &mut self.view {
            let line = writeln!(output, "epoch {epoch}/{}: {record}", self.epochs);
            // A reader that went away is no reason to lose the training.
            let _ = line.and_then(|()| output.flush());
        }
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
mod tests;
