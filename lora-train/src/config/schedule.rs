//! The learning rate over time.

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::optim::LearningRate;
use serde::{Deserialize, Serialize};

/// Where a polynomial decay ends: Hugging Face's `lr_end`.
const POLYNOMIAL_END: f64 = 1e-7;

/// How the learning rate falls after the warm-up, as Hugging Face's `lr_scheduler_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// On a straight line to 0.
    Linear,
    /// On half a cosine wave to 0.
    Cosine,
    /// Not at all. Unlike Hugging Face's `constant`, after the warm-up that is configured.
    #[serde(alias = "constant_with_warmup")]
    Constant,
    /// On a power of the steps that are left, to 1e-7.
    Polynomial,
}

/// A learning rate that rises linearly from 0 and then falls, as the schedules of Hugging Face's
/// Trainer.
///
/// With `p = (i - warmup) / (steps - warmup)`, step `i` has
///
/// ```text
/// rate · i / warmup                       for i < warmup
/// rate · (1 - p)                          linear
/// rate · (1 + cos πp) / 2                 cosine
/// rate                                    constant
/// (rate - 1e-7) · (1 - p)^power + 1e-7    polynomial
/// ```
///
/// The first step, `i` = 0, therefore changes nothing if there is a warm-up.
#[derive(Debug, Clone, PartialEq)]
pub struct WarmupSchedule {
    pub(super) decay: LrSchedulerType,
    pub(super) power: f64,
    pub(super) learning_rate: f64,
    pub(super) warmup: usize,
    pub(super) steps: usize,
    pub(super) next: usize,
}

impl WarmupSchedule {
    fn at(&self, step: usize) -> LearningRate {
        let rate = self.learning_rate;
        if step < self.warmup {
            return rate * step as f64 / self.warmup as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let left = self.steps.saturating_sub(step) as f64 / span;
        match self.decay {
            LrSchedulerType::Linear => rate * left,
            LrSchedulerType::Cosine => {
                rate * 0.5 * (1.0 + (std::f64::consts::PI * (1.0 - left)).cos())
            }
            LrSchedulerType::Constant => rate,
            LrSchedulerType::Polynomial => {
                (rate - POLYNOMIAL_END) * left.powf(self.power) + POLYNOMIAL_END
            }
        }
    }

    /// The same schedule with so many of its steps done.
    pub(crate) fn after(mut self, steps: usize) -> Self {
        self.next = steps;
        self
    }
}

impl LrScheduler for WarmupSchedule {
    fn step(&mut self) -> LearningRate {
        let rate = self.at(self.next);
        self.next += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("next", self.next as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(next) = record.scalar::<u64>("next") {
            self.next = next as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrainingConfig;

    fn rates(config: &TrainingConfig, steps: usize) -> Vec<f64> {
        let mut schedule = config.schedule(steps);
        (0..steps + 1).map(|_| schedule.step()).collect()
    }

    /// From scripts/print_schedules.py: a rate of 0.1, 3 steps of warm-up and 10 in all.
    const HUGGING_FACES: [(LrSchedulerType, f64, [f64; 11]); 5] = include!("schedules.in");

    #[test]
    fn the_schedules_are_hugging_faces() {
        for (decay, power, expected) in HUGGING_FACES {
            let config = TrainingConfig::new()
                .with_learning_rate(0.1)
                .with_warmup_steps(Some(3))
                .with_lr_scheduler_type(decay)
                .with_polynomial_power(power);
            for (step, (found, expected)) in rates(&config, 10).iter().zip(expected).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-12,
                    "{decay:?} {power}, step {step}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn without_warm_up_it_starts_at_the_top() {
        let config = TrainingConfig::new()
            .with_learning_rate(0.4)
            .with_warmup_ratio(0.0);
        assert_eq!(rates(&config, 4), [0.4, 0.4 * 0.75, 0.2, 0.1, 0.0]);
        let all = config.with_warmup_ratio(1.0);
        assert_eq!(rates(&all, 4), [0.0, 0.1, 0.2, 0.4 * 3.0 / 4.0, 0.0]);
        assert_eq!(rates(&all, 0), [0.0]);
    }

    #[test]
    fn the_warm_up_is_rounded_up() {
        let config = TrainingConfig::new();
        assert_eq!(config.schedule(10).warmup, 1);
        assert_eq!(config.schedule(0).warmup, 0);
        assert_eq!(config.with_warmup_steps(Some(7)).schedule(10).warmup, 7);
    }

    #[test]
    fn a_record_continues_the_schedule() {
        let mut first = TrainingConfig::new().schedule(20);
        for _ in 0..7 {
            first.step();
        }
        let mut second = TrainingConfig::new().schedule(20);
        second.load_record(first.to_record());
        assert_eq!(second, first);
        assert_eq!(TrainingConfig::new().schedule(20).after(7), first);
    }
}
