//! How a training run shows where it stands.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use burn::train::renderer::{MetricsRenderer, default_renderer};

use crate::EvaluationRecord;
use crate::history::short;

/// The time between two lines of a run that measures seldom.
const PAUSE: Duration = Duration::from_secs(30);

/// How a training run shows where it stands.
#[derive(Default)]
pub enum Progress {
    /// Burn's dashboard if standard output is a terminal, else lines on it.
    #[default]
    Auto,
    /// A line for each measurement, and one every half minute between them, written there.
    Lines(Box<dyn Write + Send + Sync>),
    /// A renderer of Burn's, or one's own.
    Renderer(Box<dyn MetricsRenderer>),
    /// Not at all.
    Silent,
}

impl Progress {
    /// The renderer that Burn is given, if any, and where the lines go.
    pub(super) fn parts(
        self,
        interrupter: &Interrupter,
    ) -> (Option<Box<dyn MetricsRenderer>>, Lines) {
        match self {
            Self::Auto if std::io::stdout().is_terminal() => {
                let dashboard = default_renderer(interrupter.clone(), None);
                (Some(dashboard), Lines::to(Box::new(std::io::sink())))
            }
            Self::Auto => (None, Lines::to(Box::new(std::io::stdout()))),
            Self::Lines(output) => (None, Lines::to(output)),
            Self::Renderer(renderer) => (Some(renderer), Lines::to(Box::new(std::io::sink()))),
            Self::Silent => (None, Lines::to(Box::new(std::io::sink()))),
        }
    }
}

/// Lines without colours.
pub(super) struct Lines {
    output: Box<dyn Write + Send + Sync>,
    start: Instant,
    last: Instant,
    first_step: Option<usize>,
}

impl Lines {
    fn to(output: Box<dyn Write + Send + Sync>) -> Self {
        let now = Instant::now();
        Self {
            output,
            start: now,
            last: now,
            first_step: None,
        }
    }

    fn write(&mut self, line: &str) {
        // A reader that went away is no reason to lose the training.
        let written = writeln!(self.output, "{line}");
        let _ = written.and_then(|()| self.output.flush());
        self.last = Instant::now();
    }

    pub(super) fn resumed(&mut self, step: usize, total: usize) {
        self.write(&format!("going on after step {step} of {total}"));
    }

    pub(super) fn sends(&mut self, devices: usize, bytes: usize) {
        let megabytes = bytes as f64 / 1e6;
        self.write(&format!(
            "{devices} devices, {megabytes:.2} MB between them at each step"
        ));
    }

    pub(super) fn evaluation(&mut self, record: &EvaluationRecord) {
        self.write(&record.to_string());
    }

    /// A line if there has been none for a while.
    pub(super) fn step(&mut self, step: usize, total: usize, epoch: f64, loss: f64) {
        let first = *self.first_step.get_or_insert(step - 1);
        if self.last.elapsed() < PAUSE {
            return;
        }
        let a_step = self.start.elapsed().as_secs_f64() / (step - first) as f64;
        let left = duration(a_step * (total - step) as f64);
        let epoch = short(epoch);
        self.write(&format!(
            "step {step} of {total} (epoch {epoch}): loss {loss:.4}, about {left} left"
        ));
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SharedOutput;

    #[test]
    fn a_long_run_says_how_far_it_is() {
        let output = SharedOutput::default();
        let mut lines = Lines::to(Box::new(output.clone()));
        lines.step(3, 10, 0.3, 0.5);
        assert_eq!(output.text(), "");
        lines.last -= PAUSE;
        lines.start -= Duration::from_secs(40);
        lines.step(4, 10, 0.4, 0.25);
        // Two steps took 40 s.
        let expected = "step 4 of 10 (epoch 0.4): loss 0.2500, about 2 min left\n";
        assert_eq!(output.text(), expected);
        lines.step(5, 10, 0.5, 0.25);
        assert_eq!(output.text(), expected);
    }

    #[test]
    fn a_duration_has_a_fitting_unit() {
        assert_eq!(duration(12.3), "12 s");
        assert_eq!(duration(600.0), "10 min");
        assert_eq!(duration(9000.0), "2.5 h");
    }
}
