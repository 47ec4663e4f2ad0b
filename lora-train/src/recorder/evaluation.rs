//! Burn's renderer is one type for training and evaluation: what it does in the latter.

use burn::train::logger::EvaluationProgressLogger;
use burn::train::renderer::{EvaluationName, MetricState, MetricsRendererEvaluation};

use super::Recorder;

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
