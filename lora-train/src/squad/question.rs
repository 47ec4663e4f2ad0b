//! A question, its text and its answers.

use std::sync::Arc;

/// A question about a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is known by in the files of predictions.
    pub id: String,
    /// What is asked.
    pub question: String,
    /// The text, shared with the other questions about it.
    pub context: Arc<str>,
    /// The right answers, any of which will do; none if the text does not answer the question.
    pub answers: Vec<GoldAnswer>,
    /// Whether the file says that the text does not answer it, which files of version 1.1 never do.
    pub is_impossible: bool,
}

/// A right answer, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldAnswer {
    /// The answer.
    pub text: String,
    /// Where it begins in the context, in characters (Unicode scalar values).
    pub start: usize,
}

/// Whether any of the questions has no answer, so that a model has to say so, as in version 2.0.
pub fn has_unanswerable(questions: &[Question]) -> bool {
    questions.iter().any(|question| question.is_impossible)
}
