//! Measuring the development examples.

use std::sync::PoisonError;

use burn::module::Module;
use burn::train::{
    EventProcessorTraining, InferenceStep, Learner, LearnerEvent, TrainingError, TrainingItem,
};

use super::session::Session;
use crate::checkpoint::Best;
use crate::trainer::Stopped;
use crate::{EvaluationRecord, Measures, Task, TrainError};

impl<T: Task> Session<'_, T> {
    /// Measures the development examples, and says whether that is the best so far; `None` if it was
    /// interrupted.
    pub(super) fn measure(&mut self) -> Result<Option<bool>, TrainError> {
        let round = self.round_number();
        self.open_round();
        let (seen, seconds) = match self.round.take() {
            Some(round) => (round.seen, round.since.elapsed().as_secs_f64()),
            None => (0, 0.0),
        };
        self.train_event(LearnerEvent::EndSplit(round));
        self.valid_event(LearnerEvent::StartSplit {
            epoch_number: round,
            total_items: self.steps.dev_examples,
        });
        let finished = self.measure_every_batch()?;
        self.valid_event(LearnerEvent::EndSplit(round));
        let flushed = self.components.event_processor.flush();
        self.components.interrupter.fail_on_error(flushed);
        let dev = std::mem::take(
            &mut *self
                .steps
                .dev_measures
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if !finished {
            return Ok(None);
        }
        let step = self.run.state.step;
        let is_best = self.compare(&dev)?;
        let record = EvaluationRecord {
            step,
            epoch: self.steps.epochs(step),
            train_loss: self.mean_loss(|step| self.steps.measures_after(step)),
            dev,
            seconds,
            examples_per_second: seen as f64 / seconds.max(1e-9),
        };
        self.run.lines.evaluation(&record);
        if let Some(folder) = &self.run.folder {
            folder.log.evaluation(&record)?;
        }
        self.run.state.history.evaluations.push(record);
        self.train_event(LearnerEvent::EndEpoch(round));
        self.ask_burns_strategies(round);
        Ok(Some(is_best))
    }

    /// Says whether every batch was measured.
    fn measure_every_batch(&mut self) -> Result<bool, TrainError> {
        let model = self.model.valid();
        let valid = self.valid.clone();
        let mut batches = valid.iter();
        let mut iteration = 0;
        while let Some(batch) = batches.next() {
            let batch = batch.map_err(|e| TrainError::Training(TrainingError::from(e).into()))?;
            iteration += 1;
            let output = InferenceStep::step(&model, batch);
            let item = TrainingItem::new(output, batches.progress(), Some(iteration), None);
            self.valid_event(LearnerEvent::ProcessedItem(item));
            if self.interrupter().should_stop() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn valid_event(&mut self, event: LearnerEvent<T::Output>) {
        let result = self.components.event_processor.process_valid(event);
        self.components.interrupter.fail_on_error(result);
    }

    /// Whether what was measured is better than all before.
    fn compare(&mut self, dev: &Measures) -> Result<bool, TrainError> {
        let config = &self.steps.config;
        let name = config.metric_for_best_model.as_str();
        let Some(&value) = dev.0.get(name) else {
            let known: Vec<&str> = dev.0.keys().map(String::as_str).collect();
            return Err(TrainError::UnknownMeasure {
                name: name.to_string(),
                known: known.join(", "),
            });
        };
        let gain = |best: f64| match config.greater_is_better() {
            true => value - best,
            false => best - value,
        };
        let state = &mut self.run.state;
        let gain = state.best.map_or(f64::INFINITY, |best| gain(best.value));
        // A measure that is no number is never better; the first one has to do until there is one.
        let is_best = gain > 0.0
            || state
                .best
                .is_some_and(|best| best.value.is_nan() && !value.is_nan());
        match is_best && (gain > config.early_stopping_threshold || gain.is_nan()) {
            true => state.without_improvement = 0,
            false => state.without_improvement += 1,
        }
        if is_best {
            let step = state.step;
            state.best = Some(Best { step, value });
        }
        Ok(is_best)
    }

    /// Asks the checkpointers and the early stopping that were configured on Burn's training.
    fn ask_burns_strategies(&mut self, round: usize) {
        if let Some(checkpointer) = &mut self.components.checkpointer {
            let (optimizer, scheduler) = (&self.run.optimizer, &self.run.scheduler);
            let learner = Learner::new(self.model.clone(), optimizer.clone(), scheduler.clone());
            checkpointer.checkpoint(&learner, round, &self.components.event_store);
        }
        if let Some(strategy) = &mut self.components.early_stopping
            && strategy.should_stop(round, &self.components.event_store)
        {
            self.run.stopped = Some(Stopped::Early);
        }
    }
}
