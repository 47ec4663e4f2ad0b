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
    assert_eq!(history.epochs[1].train.get("accuracy"), 0.5);
    assert!(history.epochs[1].train.get("perplexity").is_nan());
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
