//! How far the tokenizer is.

use std::fmt::{Debug, Formatter};
use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Who is told how far the tokenizer is.
#[derive(Clone, Copy, Default)]
pub enum EncodeProgress<'a> {
    /// Nobody.
    #[default]
    Silent,
    /// Whoever sits before the terminal, in a bar on the standard error stream. Nothing is written
    /// where that is no terminal, or if `NO_COLOR` or `TERM=dumb` is set: a bar that moves needs
    /// control characters.
    Bar,
    /// A function, with how many texts are done and how many there are. A cached data set is done
    /// without it being called.
    Callback(&'a dyn Fn(usize, usize)),
}

impl Debug for EncodeProgress<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Silent => "Silent",
            Self::Bar => "Bar",
            Self::Callback(_) => "Callback",
        })
    }
}

/// What tells them.
pub(super) struct Reporter<'a> {
    progress: EncodeProgress<'a>,
    bar: ProgressBar,
    count: usize,
}

impl<'a> Reporter<'a> {
    pub fn new(progress: EncodeProgress<'a>, count: usize) -> Self {
        let target = match progress {
            EncodeProgress::Bar => {
                let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                target(stderr().is_terminal(), set("NO_COLOR") || dumb)
            }
            _ => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(count as u64), target);
        Self {
            progress,
            bar: match ProgressStyle::with_template("tokenizing {bar:40} {pos}/{len} {eta}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            },
            count,
        }
    }

    /// So many are done.
    pub fn done(&self, count: usize) {
        self.bar.set_position(count as u64);
        if let EncodeProgress::Callback(callback) = self.progress {
            callback(count, self.count);
        }
    }

    /// All are done.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Where a bar is drawn.
fn target(terminal: bool, plain: bool) -> ProgressDrawTarget {
    match terminal && !plain {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::process::Command;

    /// Set in the process that draws.
    const CHILD: &str = "LORA_TRAIN_ENCODE_PROGRESS";

    #[test]
    fn a_callback_hears_of_every_part() {
        let heard = RefCell::new(Vec::new());
        let callback = |done, all| heard.borrow_mut().push((done, all));
        let reporter = Reporter::new(EncodeProgress::Callback(&callback), 7);
        reporter.done(3);
        reporter.done(7);
        reporter.finish();
        assert_eq!(*heard.borrow(), [(3, 7), (7, 7)]);
    }

    #[test]
    fn without_a_terminal_or_colours_there_is_no_bar() {
        for (terminal, plain) in [(false, false), (false, true), (true, true)] {
            assert!(target(terminal, plain).is_hidden());
        }
    }

    #[test]
    fn nothing_is_written_to_a_file() {
        if std::env::var_os(CHILD).is_some() {
            let reporter = Reporter::new(EncodeProgress::Bar, 2);
            for done in 0..=2 {
                reporter.done(done);
                reporter.bar.tick();
            }
            reporter.finish();
            return;
        }
        // Standard error is the process's.
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["nothing_is_written_to_a_file", "--nocapture"])
            .env(CHILD, "1")
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !text.contains('\x1B') && !text.contains("tokenizing"),
            "{text}"
        );
    }
}
