//! Step after step.

use std::time::Instant;

use burn::data::dataloader::{DataLoader, Progress};
use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::GradientsAccumulator;
use burn::train::{
    EventProcessorTraining, Interrupter, LearnerEvent, SupervisedTrainingEventProcessor,
    TrainOutput, TrainStep, TrainingComponents, TrainingError, TrainingItem, ValidLoader,
};

use super::{Run, Steps};
use crate::data::{MicroBatch, mix};
use crate::trainer::gradients::clip;
use crate::trainer::replicas::Replicas;
use crate::{StepRecord, Task, TrainError, Trainee};

/// A run from where it begins, or goes on, to where it ends.
pub(super) struct Session<'a, T: Task> {
    pub(super) steps: &'a Steps,
    pub(super) run: &'a mut Run,
    pub(super) model: Trainee<T>,
    replicas: Replicas<T>,
    pub(super) valid: ValidLoader<Trainee<T>>,
    pub(super) components: TrainingComponents<Trainee<T>>,
    /// The training between two measurements, once it has begun.
    pub(super) round: Option<Round>,
    /// What was seen since the last line of the log.
    pub(super) logged: Seen,
}

/// The training between two measurements, which Burn counts as an epoch.
pub(super) struct Round {
    pub(super) seen: usize,
    pub(super) total: usize,
    pub(super) since: Instant,
}

/// What was seen since a moment.
pub(super) struct Seen {
    pub(super) examples: usize,
    pub(super) tokens: usize,
    pub(super) since: Instant,
}

impl Seen {
    pub(super) fn nothing() -> Self {
        Self {
            examples: 0,
            tokens: 0,
            since: Instant::now(),
        }
    }
}

/// The step that is being made.
struct Current<M> {
    gradients: GradientsAccumulator<M>,
    rate: ModuleLearningRate,
    loss: f64,
    examples: Vec<usize>,
}

impl<'a, T: Task> Session<'a, T> {
    pub(super) fn new(
        steps: &'a Steps,
        run: &'a mut Run,
        model: Trainee<T>,
        valid: ValidLoader<Trainee<T>>,
        components: TrainingComponents<Trainee<T>>,
    ) -> Self {
        Self {
            steps,
            run,
            replicas: Replicas::new(&model, &steps.devices),
            model,
            valid: valid.to_device(&steps.devices[0].clone().inner()),
            components,
            round: None,
            logged: Seen::nothing(),
        }
    }

    pub(super) fn end(self) -> (Trainee<T>, SupervisedTrainingEventProcessor<Trainee<T>>) {
        (self.model, self.components.event_processor)
    }

    /// Makes every step that is left.
    pub(super) fn go(
        &mut self,
        train: &dyn DataLoader<MicroBatch<T::Batch>>,
    ) -> Result<(), TrainError> {
        self.refuse_what_is_not_burns()?;
        let step = self.run.state.step;
        if step > 0 {
            self.run.lines.resumed(step, self.steps.total);
            // Where the run was interrupted, a measurement may be due.
            if self.is_over_after_step(true)? {
                return Ok(());
            }
        }
        let mut current = None;
        let mut parts = Vec::new();
        for part in train.iter() {
            let part = part.map_err(|e| TrainError::Training(TrainingError::from(e).into()))?;
            let (step, ends_step, losses) = (part.step, part.ends_step, part.losses);
            parts.push(part);
            if !ends_step && parts.len() < self.replicas.count() {
                continue;
            }
            let mut now = match current.take() {
                Some(current) => current,
                None => self.begin_step(),
            };
            self.add(&mut now, std::mem::take(&mut parts))?;
            if !ends_step {
                current = Some(now);
                continue;
            }
            self.finish(now, step, losses)?;
            if self.is_over_after_step(false)? {
                break;
            }
        }
        Ok(())
    }

    /// Burn's own loop has these settings; they would do nothing here.
    fn refuse_what_is_not_burns(&self) -> Result<(), TrainError> {
        let refused = |field, expected| {
            Err(TrainError::Setting {
                field,
                value: "set on Burn's training".into(),
                expected,
            })
        };
        match (
            &self.components.grad_accumulation,
            &self.components.checkpoint,
        ) {
            (Some(_), _) => refused(
                "grads_accumulation",
                "`gradient_accumulation_steps` of the training configuration",
            ),
            (_, Some(_)) => refused("checkpoint", "`Trainer::resume`"),
            _ => Ok(()),
        }
    }

    /// The number of the measurement that the current round ends with.
    pub(super) fn round_number(&self) -> usize {
        self.run.state.history.evaluations.len() + 1
    }

    pub(super) fn interrupter(&self) -> &Interrupter {
        &self.components.interrupter
    }

    pub(super) fn train_event(&mut self, event: LearnerEvent<T::Output>) {
        let result = self.components.event_processor.process_train(event);
        self.components.interrupter.fail_on_error(result);
    }

    /// Begins the training before the next measurement, unless it has begun.
    pub(super) fn open_round(&mut self) {
        if self.round.is_none() {
            let total = self.steps.examples_to_measurement(self.run.state.step);
            self.train_event(LearnerEvent::StartSplit {
                epoch_number: self.round_number(),
                total_items: total,
            });
            self.logged = Seen::nothing();
            self.round = Some(Round {
                seen: 0,
                total,
                since: Instant::now(),
            });
        }
    }

    fn begin_step(&mut self) -> Current<Trainee<T>> {
        self.open_round();
        Current {
            gradients: GradientsAccumulator::new(),
            rate: self.run.scheduler.step(),
            loss: 0.0,
            examples: Vec::new(),
        }
    }

    /// Adds parts to the step, at most one for each device.
    fn add(
        &mut self,
        current: &mut Current<Trainee<T>>,
        parts: Vec<MicroBatch<T::Batch>>,
    ) -> Result<(), TrainError> {
        let mut seen = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            // The dropout of a step is a function of its place, so that a run can go on anywhere.
            let place = [self.steps.config.seed, part.step as u64, part.part as u64];
            self.replicas.device(index).seed(mix(&place));
            current.examples.extend(&part.examples);
            seen.push((part.step, part.losses, part.tokens, part.examples.len()));
        }
        let outputs = self.replicas.steps(&self.model, parts)?;
        for (seen, output) in seen.into_iter().zip(outputs) {
            self.add_output(current, seen, output)?;
        }
        Ok(())
    }

    fn add_output(
        &mut self,
        current: &mut Current<Trainee<T>>,
        (step, losses, tokens, count): (usize, usize, usize, usize),
        output: TrainOutput<T::Output>,
    ) -> Result<(), TrainError> {
        let sum: f32 = T::losses(&output.item)
            .sum()
            .try_into_scalar()
            .map_err(|e| TrainError::Device(e.to_string()))?;
        current.loss += f64::from(sum) / losses as f64;
        self.check_finite("loss", current.loss, step, &current.examples)?;
        current.gradients.accumulate(&self.model, output.grads);

        self.logged.examples += count;
        self.logged.tokens += tokens;
        let (seen, total) = match &mut self.round {
            Some(round) => {
                round.seen += count;
                (round.seen, round.total)
            }
            None => (count, count),
        };
        let progress = Progress::new(seen, total, Some("items".into()));
        let rate = Some(current.rate.clone());
        let item = TrainingItem::new(output.item, progress, Some(step), rate);
        self.train_event(LearnerEvent::ProcessedItem(item));
        Ok(())
    }

    /// Stops before a number that is none reaches the weights.
    fn check_finite(
        &self,
        what: &'static str,
        value: f64,
        step: usize,
        examples: &[usize],
    ) -> Result<(), TrainError> {
        match value.is_finite() {
            true => Ok(()),
            false => Err(TrainError::Diverged {
                what,
                value,
                step,
                examples: examples.to_vec(),
            }),
        }
    }

    /// Changes the weights.
    fn finish(
        &mut self,
        mut current: Current<Trainee<T>>,
        step: usize,
        losses: usize,
    ) -> Result<(), TrainError> {
        let config = &self.steps.config;
        let mut gradients = current.gradients.grads();
        let grad_norm = clip(&self.model, &mut gradients, config.max_grad_norm)?;
        self.check_finite("norm of the gradient", grad_norm, step, &current.examples)?;
        let learning_rate = current.rate.base();
        let model = self.model.clone();
        self.model = model.optimize(&mut self.run.optimizer, current.rate, gradients);
        self.replicas.follow(&self.model);
        if self.replicas.count() > 1 {
            let sent = self.replicas.take_sent();
            match &mut self.run.sent_per_step {
                Some(most) => *most = sent.max(*most),
                None => {
                    self.run.lines.sends(self.replicas.count(), sent);
                    self.run.sent_per_step = Some(sent);
                }
            }
        }
        self.run.state.step = step;
        self.run.state.history.steps.push(StepRecord {
            loss: current.loss,
            learning_rate,
            grad_norm,
            losses,
        });
        self.log_step()
    }
}
