//! What is due after a step: the log, a measurement, a checkpoint, the end.

use super::session::{Seen, Session};
use crate::checkpoint::trained;
use crate::trainer::Stopped;
use crate::trainer::log::TrainingLine;
use crate::{Task, TrainError};

impl<T: Task> Session<'_, T> {
    /// Shows the step that was just made, and adds a line to the log if that is due.
    pub(super) fn log_step(&mut self) -> Result<(), TrainError> {
        let (config, total) = (&self.steps.config, self.steps.total);
        let Some(last) = self.run.state.history.steps.last().copied() else {
            return Ok(());
        };
        let step = self.run.state.step;
        let epoch = self.steps.epochs(step);
        self.run.lines.step(step, total, epoch, last.loss);
        let is_due = |step: usize| {
            let ends_epoch = self.steps.ends_epoch(step);
            config.log_every.is_due(step, ends_epoch, step == total)
        };
        let (true, Some(folder)) = (is_due(step), &self.run.folder) else {
            return Ok(());
        };
        let seconds = self.logged.since.elapsed().as_secs_f64().max(1e-9);
        folder.log.training(TrainingLine {
            step,
            epoch,
            loss: self.mean_loss(is_due),
            learning_rate: last.learning_rate,
            grad_norm: last.grad_norm,
            examples_per_second: self.logged.examples as f64 / seconds,
            tokens_per_second: self.logged.tokens as f64 / seconds,
        })?;
        self.logged = Seen::nothing();
        Ok(())
    }

    /// The mean loss of the last step and of those before it, back to one for which `ended` is true.
    pub(super) fn mean_loss(&self, ended: impl Fn(usize) -> bool) -> f64 {
        let steps = &self.run.state.history.steps;
        let mut first = steps.len().saturating_sub(1);
        while first > 0 && !ended(first) {
            first -= 1;
        }
        let count: usize = steps[first..].iter().map(|step| step.losses).sum();
        let sums = steps[first..]
            .iter()
            .map(|step| step.loss * step.losses as f64);
        sums.sum::<f64>() / count as f64
    }

    /// Does what is due after a step; says whether it was the last one.
    ///
    /// `resumed`: the step was made before, and its checkpoint is there.
    pub(super) fn is_over_after_step(&mut self, resumed: bool) -> Result<bool, TrainError> {
        let step = self.run.state.step;
        let last = self.run.state.history.evaluations.last();
        let due = self.steps.measures_after(step) && last.map(|e| e.step) != Some(step);
        let mut interrupted = self.interrupter().should_stop();
        let mut measured = None;
        if due && !interrupted {
            measured = match self.measure() {
                Err(error @ TrainError::UnknownMeasure { .. }) => {
                    // With another name the run can go on from here.
                    self.save(false)?;
                    return Err(error);
                }
                measured => measured?,
            };
            interrupted = measured.is_none();
        }
        interrupted |= self.interrupter().should_stop();
        let interruption = self.interrupter().interruption();
        if self.interrupter().error().is_some() {
            return Ok(true);
        }

        let ended = step == self.steps.total && !(due && measured.is_none());
        let patience = self.steps.config.early_stopping_patience;
        let state = &self.run.state;
        if !ended && patience.is_some_and(|patience| state.without_improvement >= patience) {
            self.run.stopped = Some(Stopped::Early);
        } else if !ended && interrupted && self.run.stopped.is_none() {
            let reason = interruption.and_then(|interruption| interruption.reason);
            self.run.stopped = Some(Stopped::Interrupted { reason });
        }
        let over = ended || self.run.stopped.is_some();
        let ends_epoch = self.steps.ends_epoch(step);
        let saves = self.steps.config.save_every.is_due(step, ends_epoch, over);
        let is_best = measured == Some(true);
        // A checkpoint that the run goes on from is only written again with a new measurement.
        if (saves || is_best) && (!resumed || measured.is_some()) {
            self.save(is_best)?;
        }
        Ok(over)
    }

    /// Writes a checkpoint; without a folder, keeps the best values if they will be wanted.
    fn save(&mut self, is_best: bool) -> Result<(), TrainError> {
        self.run.count_time();
        let config = &self.steps.config;
        let Some(folder) = &self.run.folder else {
            if is_best && config.load_best_at_end {
                self.run.best = Some(trained(&self.model));
            }
            return Ok(());
        };
        let (optimizer, state) = (&self.run.optimizer, &self.run.state);
        folder.checkpoints.save(&self.model, optimizer, state)?;
        let best = state.best.map(|best| best.step);
        folder.checkpoints.prune(config.save_total_limit, best)
    }
}
