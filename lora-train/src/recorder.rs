//! Following a training run: what Burn's metrics make of the development examples.

mod evaluation;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::train::LearnerSummary;
use burn::train::logger::TrainingProgressLogger;
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};

use crate::history::Measures;
use crate::metric::key_and_value;

/// What Burn's metrics make of the development examples.
pub(crate) type DevMeasures = Arc<Mutex<Measures>>;

/// A renderer that keeps the measures of the development examples and passes everything on to
/// another one.
pub(crate) struct Recorder {
    renderer: Option<Box<dyn MetricsRenderer>>,
    /// How many measurements were made before the run was resumed.
    done: usize,
    dev: DevMeasures,
    names: HashMap<MetricId, String>,
}

impl Recorder {
    pub(crate) fn new(
        renderer: Option<Box<dyn MetricsRenderer>>,
        done: usize,
    ) -> (Self, DevMeasures) {
        let dev = DevMeasures::default();
        let recorder = Self {
            renderer,
            done,
            dev: dev.clone(),
            names: HashMap::new(),
        };
        (recorder, dev)
    }

    fn record(&mut self, state: &MetricState) {
        let MetricState::Numeric(entry, Some(value)) = state else {
            return;
        };
        let (Some(name), NumericEntry::Final(_)) = (self.names.get(&entry.metric_id), value) else {
            return;
        };
        let (key, value) = key_and_value(name, value.current());
        // A thread that panicked while it held the lock left whole measures.
        let mut dev = self.dev.lock().unwrap_or_else(PoisonError::into_inner);
        dev.0.insert(key, value);
    }

    fn renderer(&mut self) -> Option<&mut dyn MetricsRenderer> {
        match &mut self.renderer {
            Some(renderer) => Some(renderer.as_mut()),
            None => None,
        }
    }
}

impl MetricsRendererTraining for Recorder {
    fn update_train(&mut self, state: MetricState) {
        if let Some(renderer) = self.renderer() {
            renderer.update_train(state);
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        self.record(&state);
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
        _starting_epoch: usize,
        total_items: Option<usize>,
        label: Option<&str>,
    ) {
        let starting_epoch = self.done + 1;
        if let Some(renderer) = self.renderer() {
            renderer.start(total_epochs, starting_epoch, total_items, label);
        }
    }

    fn start_split(&mut self, split: &str, total_items: usize) {
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
        if let Some(renderer) = self.renderer() {
            renderer.end_split();
        }
    }

    fn update_epoch(&mut self, epoch: usize) {
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
