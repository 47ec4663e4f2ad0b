//! How many parameters train, and of what kind.

use std::fmt;

use burn::module::Module;

use crate::state::parameters;

/// A module's parameters, counted by what LoRA does with them.
///
/// Its `Display` is a short table that ends with the line PEFT's `print_trainable_parameters`
/// prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ParameterReport {
    /// The adapters' factors.
    pub lora: usize,
    /// Weights of modules trained in full (`modules_to_save`, the head).
    pub saved: usize,
    /// Biases of modules trained in full.
    pub bias: usize,
    /// Everything that does not change.
    pub frozen: usize,
}

impl ParameterReport {
    /// Counts the parameters of `module`.
    ///
    /// A parameter counts as trained if it is configured to be, whether the module is in training
    /// or in validation mode.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut report = Self::default();
        for parameter in parameters(module) {
            let count = parameter.count();
            *match (parameter.adapter, parameter.trainable) {
                (true, _) => &mut report.lora,
                (false, false) => &mut report.frozen,
                (false, true) if parameter.name.ends_with("bias") => &mut report.bias,
                (false, true) => &mut report.saved,
            } += count;
        }
        report
    }

    /// Parameters that get a gradient.
    pub fn trainable(&self) -> usize {
        self.lora + self.saved + self.bias
    }

    /// All parameters, each counted once.
    pub fn total(&self) -> usize {
        self.trainable() + self.frozen
    }

    /// PEFT's "all params": it keeps the frozen original of each module that is trained in full
    /// beside the copy, and counts both.
    pub fn peft_all(&self) -> usize {
        match self.lora {
            0 => self.total(),
            _ => self.total() + self.saved + self.bias,
        }
    }

    /// The line that PEFT's `print_trainable_parameters` prints.
    pub fn peft_line(&self) -> String {
        let percent = 100.0 * self.trainable() as f64 / self.peft_all().max(1) as f64;
        format!(
            "trainable params: {} || all params: {} || trainable%: {percent:.4}",
            grouped(self.trainable()),
            grouped(self.peft_all()),
        )
    }
}

impl fmt::Display for ParameterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("LoRA factors", self.lora),
            ("head and saved modules", self.saved),
            ("their biases", self.bias),
            ("frozen", self.frozen),
            ("all", self.total()),
        ];
        for (what, count) in rows {
            writeln!(f, "{what:<24}{:>14}", grouped(count))?;
        }
        write!(f, "{}", self.peft_line())
    }
}

/// A number with its thousands separated.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_pefts() {
        let report = ParameterReport {
            lora: 294_912,
            saved: 591_360,
            bias: 770,
            frozen: 124_055_040,
        };
        assert_eq!(
            report.peft_line(),
            "trainable params: 887,042 || all params: 125,534,212 || trainable%: 0.7066"
        );
    }
}
