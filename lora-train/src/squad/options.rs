//! How answers are chosen.

use crate::TrainError;

/// How answers are chosen among what a model says; the defaults are `run_qa.py`'s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnswerOptions {
    /// How many of the best first and last tokens of each feature are combined, and how many answers
    /// are kept; 20.
    pub n_best_size: usize,
    /// The longest answer in tokens, 30.
    pub max_answer_length: usize,
    /// Whether there may be no answer, as in version 2.0.
    pub version_2: bool,
    /// There is none if its score is higher than that of the best answer by more than this, 0.
    pub null_score_diff_threshold: f64,
}

impl AnswerOptions {
    /// For version 1.1, where every question has an answer.
    pub fn new() -> Self {
        Self {
            n_best_size: 20,
            max_answer_length: 30,
            version_2: false,
            null_score_diff_threshold: 0.0,
        }
    }

    /// Checks that answers can be chosen this way.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`].
    pub fn validate(&self) -> Result<(), TrainError> {
        let error = |field, value: String, expected| {
            Err(TrainError::Setting {
                field,
                value,
                expected,
            })
        };
        match self {
            Self { n_best_size: 0, .. } => error("n_best_size", "0".to_string(), "1 or more"),
            Self {
                max_answer_length: 0,
                ..
            } => error("max_answer_length", "0".to_string(), "1 or more"),
            Self {
                null_score_diff_threshold: threshold,
                ..
            } if threshold.is_nan() => error(
                "null_score_diff_threshold",
                threshold.to_string(),
                "a number",
            ),
            _ => Ok(()),
        }
    }
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self::new()
    }
}
