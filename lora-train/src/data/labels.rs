//! Labels, as files have them and as models do.

use super::raw::RawLabel;
use super::{Label, LabelNames};

/// What the labels of a data set are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// Class indices: whole numbers from 0, below this number of classes.
    Indices(usize),
    /// The names of the classes, or their indices.
    Names(LabelNames),
    /// Numbers, for regression.
    Values,
}

impl From<usize> for Labels {
    /// The labels of a model with so many: one label is regression.
    fn from(num_labels: usize) -> Self {
        match num_labels {
            1 => Self::Values,
            _ => Self::Indices(num_labels),
        }
    }
}

impl From<LabelNames> for Labels {
    fn from(names: LabelNames) -> Self {
        Self::Names(names)
    }
}

impl Labels {
    /// How many labels a model needs for these.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Indices(count) => *count,
            Self::Names(names) => names.len(),
            Self::Values => 1,
        }
    }

    /// What a label of a file means.
    pub(super) fn label(&self, found: &RawLabel) -> Result<Label, String> {
        match self {
            Self::Indices(count) => {
                let index = found.integer().ok_or_else(|| {
                    format!("label {found} is not a whole number (are these label names?)")
                })?;
                class(index, *count)
            }
            Self::Names(names) => names.label(found),
            Self::Values => found
                .number()
                .map(Label::Value)
                .ok_or_else(|| format!("label {found} is not a number")),
        }
    }
}

/// The class of an index, checked against the number of classes.
fn class(index: i64, num_labels: usize) -> Result<Label, String> {
    match usize::try_from(index) {
        Ok(class) if class < num_labels => Ok(Label::Class(class)),
        _ => {
            let last = num_labels.saturating_sub(1);
            Err(format!(
                "label {index} is out of range, expected 0 to {last}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(label: &str) -> RawLabel {
        RawLabel::Text(label.to_string())
    }

    #[test]
    fn values_are_finite_numbers() {
        for (found, expected) in [
            (text("0.25"), Some(0.25)),
            (text(" -3 "), Some(-3.0)),
            (RawLabel::Integer(4), Some(4.0)),
            (RawLabel::Number(2.5), Some(2.5)),
            (text("NaN"), None),
            (text("inf"), None),
            (text("1e99"), None),
            (RawLabel::Number(1e99), None),
        ] {
            assert_eq!(
                Labels::Values.label(&found).ok(),
                expected.map(Label::Value)
            );
        }
    }

    #[test]
    fn the_number_of_labels_says_what_they_are() {
        assert_eq!(Labels::from(1), Labels::Values);
        assert_eq!(Labels::from(3), Labels::Indices(3));
        for count in [1, 2, 7] {
            assert_eq!(Labels::from(count).count(), count);
        }
    }
}
