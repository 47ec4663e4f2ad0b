use super::*;
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

#[test]
fn the_measures_of_the_development_examples_are_kept() {
    let (mut recorder, dev) = Recorder::new(None, 0);
    register(&mut recorder, LossMetric::new());
    register(&mut recorder, AccuracyMetric::new());
    register(&mut recorder, LearningRateMetric::new());
    recorder.start(2, 1, None, None);
    recorder.update_train(state("Loss", NumericEntry::Final(0.75)));
    recorder.update_valid(state("Loss", NumericEntry::Value(0.5)));
    assert_eq!(*dev.lock().unwrap(), Measures::default());
    recorder.update_valid(state("Loss", NumericEntry::Final(0.625)));
    recorder.update_valid(state("Accuracy", NumericEntry::Final(50.0)));
    let expected = [("loss", 0.625), ("accuracy", 0.5)].into();
    assert_eq!(*dev.lock().unwrap(), expected);
}
