//! How many parameters train, and of what kind.

use std::collections::BTreeSet;
use std::fmt;

use burn::module::Module;

use crate::state::{ParameterInfo, Role, parameters};

/// A module's parameters, counted by what LoRA does with them.
///
/// Its `Display` is a short table that ends with the line PEFT's `print_trainable_parameters`
/// prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ParameterReport {
    /// The factors of the adapters that are trained.
    pub lora: usize,
    /// Copies of modules trained in full (`modules_to_save`, the head); without adapters, whatever
    /// is trained but biases.
    pub saved: usize,
    /// The base's own biases, where they are trained.
    pub bias: usize,
    /// Everything that does not change: the base, but for what copies replace, and adapters that
    /// are not trained.
    pub frozen: usize,
    /// Frozen originals of the modules trained in full.
    pub replaced: usize,
}

impl ParameterReport {
    /// Counts the parameters of `module`.
    ///
    /// A parameter counts as trained if it is configured to be, whether the module is in training
    /// or in validation mode. The configuration is that of the moment: a method that freezes some
    /// of what `inject` made trainable, as LoRA-FA does with every `A`, has to come first.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut report = Self::default();
        let all = parameters(module);
        let copied = all.iter().filter(|p| p.role == Role::Saved);
        let copied: BTreeSet<&str> = copied.map(ParameterInfo::base_path).collect();
        for parameter in &all {
            let is_bias = parameter.name.rsplit('.').next() == Some("bias");
            *match (parameter.role, parameter.trainable) {
                // Whatever it is configured to do, a copy is used in its place.
                (Role::Base, _) if copied.contains(parameter.path.as_str()) => &mut report.replaced,
                (Role::Base, true) if is_bias => &mut report.bias,
                (Role::Base | Role::Saved, true) => &mut report.saved,
                (Role::LoraA | Role::LoraB | Role::Magnitude, true) => &mut report.lora,
                (_, false) => &mut report.frozen,
            } += parameter.count();
        }
        report
    }

    /// Parameters that get a gradient.
    pub fn trainable(&self) -> usize {
        self.lora + self.saved + self.bias
    }

    /// All parameters that are used: a module trained in full counts once.
    pub fn total(&self) -> usize {
        self.trainable() + self.frozen
    }

    /// PEFT's "all params": it keeps the frozen original of each module that is trained in full
    /// beside the copy, and counts both.
    pub fn peft_all(&self) -> usize {
        self.total() + self.replaced
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
            ("biases of the base", self.bias),
            ("frozen", self.frozen),
            ("all", self.total()),
        ];
        for (what, count) in rows {
            writeln!(f, "{what:<24}{:>14}", grouped(count))?;
        }
        write!(f, "{}", self.peft_line())
    }
}

/// A number with commas between its thousands, as people read it.
pub fn grouped(number: usize) -> String {
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
            saved: 592_130,
            bias: 0,
            frozen: 124_055_040,
            replaced: 592_130,
        };
        assert_eq!(
            report.peft_line(),
            "trainable params: 887,042 || all params: 125,534,212 || trainable%: 0.7066"
        );
    }
}
