//! From the logits of features to the answers of questions.

use serde::Serialize;

use super::{AnswerOptions, Question, SpanLogits, SquadFeature};
use crate::TrainError;

/// One of the answers that a model finds most probable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SquadCandidate {
    /// The logit of its first token.
    pub start_logit: f64,
    /// The logit of its last token.
    pub end_logit: f64,
    /// The answer; empty for that there is none.
    pub text: String,
    /// Its probability among these answers.
    pub probability: f64,
}

/// What a model answers to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct SquadPrediction {
    /// The answer; empty if there is none.
    pub text: String,
    /// The best answer that is not empty, whether the threshold takes it or not.
    pub best: String,
    /// By how much the score of no answer is higher than that of the best answer; `None` in version
    /// 1.1.
    pub null_odds: Option<f64>,
    /// The best answers, the best first.
    pub n_best: Vec<SquadCandidate>,
}

/// Answers questions by the logits of their features, as `run_qa.py` does: of each feature the
/// `n_best_size` best first and last tokens are combined; of all features' answers the best by the sum
/// of the two logits are kept. The score of no answer is the lowest sum of the first token's logits
/// that any feature has.
///
/// Of equal logits the last counts as the best. The answers to a question without any candidate have
/// the text "empty", as there.
///
/// # Errors
///
/// [`TrainError::Setting`] as [`AnswerOptions::validate`]; [`TrainError::Spans`] if the logits are not
/// those of the features, or the features not those of the questions.
pub fn predictions(
    questions: &[Question],
    features: &[SquadFeature],
    logits: &[SpanLogits],
    options: &AnswerOptions,
) -> Result<Vec<SquadPrediction>, TrainError> {
    options.validate()?;
    if features.len() != logits.len() {
        return Err(TrainError::Spans {
            message: format!(
                "{} features have logits for {}",
                features.len(),
                logits.len()
            ),
        });
    }
    let mut of_question = vec![Vec::new(); questions.len()];
    for (index, (feature, logits)) in features.iter().zip(logits).enumerate() {
        let tokens = feature.tokens().ids.len();
        if [logits.start.len(), logits.end.len()] != [tokens; 2] {
            return Err(TrainError::Spans {
                message: format!("feature {index} has {tokens} tokens and other logits"),
            });
        }
        let Some(own) = of_question.get_mut(feature.question()) else {
            return Err(TrainError::Spans {
                message: format!(
                    "feature {index} is of question {}, and there are {}",
                    feature.question(),
                    questions.len()
                ),
            });
        };
        own.push((feature, logits));
    }
    Ok(questions
        .iter()
        .zip(&of_question)
        .map(|(question, features)| answer(question, features, options))
        .collect())
}

/// An answer before it is text: where it is in the context, in characters.
#[derive(Debug, Clone, Copy)]
struct Span {
    place: (usize, usize),
    start_logit: f32,
    end_logit: f32,
}

impl Span {
    /// In the precision of the logits, so that what is equal there is equal here.
    fn score(&self) -> f32 {
        self.start_logit + self.end_logit
    }
}

fn answer(
    question: &Question,
    features: &[(&SquadFeature, &SpanLogits)],
    options: &AnswerOptions,
) -> SquadPrediction {
    let mut spans = Vec::new();
    for (feature, logits) in features {
        spans.extend(spans_of(feature, logits, options));
    }
    let null = null_of(features).filter(|_| options.version_2);
    spans.extend(null);
    // Stable: of equal scores, the first that was found comes first.
    spans.sort_by(|a, b| b.score().total_cmp(&a.score()));
    spans.truncate(options.n_best_size);
    if !spans.iter().any(|span| span.place == (0, 0)) {
        spans.extend(null);
    }
    let mut n_best = candidates(&spans, &question.context);
    if n_best.len() < 2 && n_best.iter().all(|candidate| candidate.text.is_empty()) {
        n_best.insert(0, nothing());
    }
    set_probabilities(&mut n_best);
    let found = n_best.iter().find(|candidate| !candidate.text.is_empty());
    let best = found.cloned().unwrap_or_else(nothing);
    let null_odds = null.map(|null| {
        let odds = null.score() - best.start_logit as f32 - best.end_logit as f32;
        f64::from(odds)
    });
    let text = match null_odds {
        Some(odds) if odds > options.null_score_diff_threshold => String::new(),
        Some(_) => best.text.clone(),
        None => n_best[0].text.clone(),
    };
    SquadPrediction {
        text,
        best: best.text,
        null_odds,
        n_best,
    }
}

/// The answers that the best first and last tokens of a feature make.
fn spans_of(feature: &SquadFeature, logits: &SpanLogits, options: &AnswerOptions) -> Vec<Span> {
    let ends = highest(&logits.end, options.n_best_size);
    let mut spans = Vec::new();
    for start in highest(&logits.start, options.n_best_size) {
        for &end in &ends {
            let long = end < start || end - start >= options.max_answer_length;
            let (Some(first), Some(last)) = (feature.offsets(start), feature.offsets(end)) else {
                continue;
            };
            if !long {
                spans.push(Span {
                    place: (first.0, last.1),
                    start_logit: logits.start[start],
                    end_logit: logits.end[end],
                });
            }
        }
    }
    spans
}

/// That there is no answer: of all features, what finds it least probable.
fn null_of(features: &[(&SquadFeature, &SpanLogits)]) -> Option<Span> {
    let null = |(_, logits): &(_, &SpanLogits)| {
        Some(Span {
            place: (0, 0),
            start_logit: *logits.start.first()?,
            end_logit: *logits.end.first()?,
        })
    };
    let lowest = |a: Span, b: Span| if b.score() < a.score() { b } else { a };
    features.iter().filter_map(null).reduce(lowest)
}

/// The places of the highest values, the highest first.
fn highest(values: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(b.cmp(&a)));
    places.truncate(count);
    places
}

fn candidates(spans: &[Span], context: &str) -> Vec<SquadCandidate> {
    // Where each character begins, and where the last one ends.
    let bytes: Vec<usize> = context
        .char_indices()
        .map(|(at, _)| at)
        .chain([context.len()])
        .collect();
    let byte = |character: usize| bytes.get(character).copied().unwrap_or(context.len());
    let candidate = |span: &Span| SquadCandidate {
        start_logit: f64::from(span.start_logit),
        end_logit: f64::from(span.end_logit),
        text: context
            .get(byte(span.place.0)..byte(span.place.1))
            .unwrap_or_default()
            .to_string(),
        probability: 0.0,
    };
    spans.iter().map(candidate).collect()
}

/// What stands for an answer where there is none to be had.
fn nothing() -> SquadCandidate {
    SquadCandidate {
        start_logit: 0.0,
        end_logit: 0.0,
        text: "empty".to_string(),
        probability: 0.0,
    }
}

/// The softmax of the scores.
fn set_probabilities(candidates: &mut [SquadCandidate]) {
    let score = |candidate: &SquadCandidate| {
        f64::from(candidate.start_logit as f32 + candidate.end_logit as f32)
    };
    let highest = candidates
        .iter()
        .map(score)
        .fold(f64::NEG_INFINITY, f64::max);
    for candidate in candidates.iter_mut() {
        candidate.probability = (score(candidate) - highest).exp();
    }
    let sum: f64 = candidates.iter().map(|c| c.probability).sum();
    for candidate in candidates {
        candidate.probability /= sum;
    }
}
