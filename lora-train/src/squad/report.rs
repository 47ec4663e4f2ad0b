//! Answers measured, and written down.

use std::path::Path;

use lora_core::file::write_atomically;
use lora_models::bert::QuestionAnswering;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::spans::span_logits;
use super::{AnswerOptions, Question, SquadFeature, SquadPrediction, predictions};
use crate::data::TokenizedDataset;
use crate::metric::{SquadAnswer, SquadPart, SquadScores};
use crate::{Evaluation, Measures, TrainError};

/// The file with the answer to each question, by its id: what the official programs read.
pub const PREDICTIONS_NAME: &str = "predictions.json";
/// The file with the best answers to each question.
pub const NBEST_NAME: &str = "nbest_predictions.json";
/// The file with the odds of no answer, in version 2.0.
pub const NULL_ODDS_NAME: &str = "null_odds.json";

/// What a model answers to questions, and how good that is.
#[derive(Debug, Clone, PartialEq)]
pub struct SquadReport {
    /// What is answered to each question, by its id, in the order of the questions.
    pub answers: Vec<(String, SquadPrediction)>,
    /// The official measures. In version 2.0 their best thresholds are those of
    /// [`null_odds`](SquadPrediction::null_odds): what
    /// [`null_score_diff_threshold`](AnswerOptions::null_score_diff_threshold) would have been best.
    pub scores: SquadScores,
    /// The mean loss of the features.
    pub loss: f64,
}

impl SquadReport {
    /// Answers `questions`, whose features `data` has, computing `batch_size` features at once.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`], [`TrainError::Spans`], [`TrainError::MaxLen`],
    /// [`TrainError::Device`].
    pub fn of(
        model: &QuestionAnswering,
        questions: &[Question],
        data: &TokenizedDataset<SquadFeature>,
        options: &AnswerOptions,
        batch_size: usize,
    ) -> Result<Self, TrainError> {
        options.validate()?;
        let features = data.examples();
        let logits = span_logits(model, features, batch_size)?;
        let answers = predictions(questions, features, &logits, options)?;
        let losses = features.iter().zip(&logits);
        let sum: f64 = losses.map(|(feature, logits)| logits.loss(feature)).sum();
        Ok(Self {
            scores: score(questions, &answers, options),
            answers: questions
                .iter()
                .map(|question| question.id.clone())
                .zip(answers)
                .collect(),
            loss: sum / features.len() as f64,
        })
    }

    /// The measures as fractions: `loss`, `exact_match` and `f1`, and where some questions have no
    /// answer, those of the questions with and without one (`has_answer_f1`, …) and the best that any
    /// threshold gives (`best_f1`, `best_f1_threshold`, …).
    pub fn evaluation(&self) -> Evaluation {
        let scores = &self.scores;
        let mut measures: Measures = [("loss", self.loss)].into();
        let mut add = |name: String, value| measures.0.insert(name, value);
        let mut add_part = |prefix: &str, part: &SquadPart| {
            add(format!("{prefix}exact_match"), part.exact_match);
            add(format!("{prefix}f1"), part.f1);
        };
        add_part("", &scores.all);
        if let Some(part) = &scores.has_answer
            && scores.no_answer.is_some()
        {
            add_part("has_answer_", part);
        }
        if let Some(part) = &scores.no_answer {
            add_part("no_answer_", part);
        }
        if self.is_version_2() {
            for (name, best) in [
                ("best_exact_match", scores.best_exact),
                ("best_f1", scores.best_f1),
            ] {
                add(name.to_string(), best.score);
                add(format!("{name}_threshold"), best.threshold);
            }
        }
        Evaluation::new(measures, scores.all.total, "questions")
    }

    /// Writes [`PREDICTIONS_NAME`], [`NBEST_NAME`] and, in version 2.0, [`NULL_ODDS_NAME`] into
    /// `folder`, which exists, as `run_qa.py` does, each in one step. A file of odds that an earlier run
    /// left is removed if there are none.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if a file cannot be written, [`TrainError::Io`] if one cannot be removed.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let by_id = |of: fn(&SquadPrediction) -> Value| -> Map<String, Value> {
            let answers = self.answers.iter();
            answers
                .map(|(id, answer)| (id.clone(), of(answer)))
                .collect()
        };
        let write = |name: &str, of: fn(&SquadPrediction) -> Value| {
            write_atomically(&folder.join(name), &pretty(&by_id(of)))
        };
        write(PREDICTIONS_NAME, |answer| json!(answer.text))?;
        write(NBEST_NAME, |answer| json!(answer.n_best))?;
        if self.is_version_2() {
            return Ok(write(NULL_ODDS_NAME, |answer| json!(answer.null_odds))?);
        }
        // It would not belong to the answers beside it.
        let odds = folder.join(NULL_ODDS_NAME);
        match std::fs::remove_file(&odds) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(TrainError::io("remove", &odds, e))
            }
            _ => Ok(()),
        }
    }

    fn is_version_2(&self) -> bool {
        let mut odds = self.answers.iter().filter_map(|(_, a)| a.null_odds);
        odds.next().is_some()
    }
}

impl std::fmt::Display for SquadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "loss {:.4}, {}", self.loss, self.scores)?;
        if self.is_version_2() {
            let best = self.scores.best_f1;
            write!(
                f,
                "; best F1 {:.2} % with a threshold of {:.3}",
                100.0 * best.score,
                best.threshold
            )?;
        }
        Ok(())
    }
}

/// The odds decide in the place of probabilities: only their order matters.
fn score(
    questions: &[Question],
    answers: &[SquadPrediction],
    options: &AnswerOptions,
) -> SquadScores {
    let answer = |(question, answer): (&Question, &SquadPrediction)| SquadAnswer {
        gold: question
            .answers
            .iter()
            .map(|gold| gold.text.clone())
            .collect(),
        predicted: answer.best.clone(),
        no_answer: answer.null_odds.unwrap_or_default(),
    };
    let answers: Vec<SquadAnswer> = questions.iter().zip(answers).map(answer).collect();
    let threshold = match options.version_2 {
        true => options.null_score_diff_threshold,
        false => 1.0,
    };
    SquadScores::of(&answers, threshold)
}

/// As Python writes it with an indentation of four.
fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Maps with texts as keys always become JSON, and memory takes all of it.
    value.serialize(&mut serializer).ok();
    bytes.push(b'\n');
    bytes
}
