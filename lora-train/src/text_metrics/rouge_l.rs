//! ROUGE-L: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1.

use super::check;
use super::tokenize::penn_treebank;
use crate::TrainError;

/// How much more recall weighs than precision.
const BETA: f64 = 1.2;

/// The mean ROUGE-L of one hypothesis for each set of references, 0 to 1, as in the COCO caption
/// scripts that the E2E challenge uses.
///
/// Precision and recall of the longest common subsequence of words are the largest over the
/// references, each by itself; their F measure is taken with β = 1.2.
///
/// # Errors
///
/// [`TrainError::SegmentCount`], [`TrainError::Empty`], [`TrainError::References`].
pub fn rouge_l(hypotheses: &[String], references: &[Vec<String>]) -> Result<f64, TrainError> {
    check(hypotheses, references)?;
    let scores = hypotheses
        .iter()
        .zip(references)
        .map(|(hypothesis, references)| {
            let references: Vec<_> = references.iter().map(|r| tokens(r)).collect();
            segment(&tokens(hypothesis), &references)
        });
    Ok(scores.sum::<f64>() / hypotheses.len() as f64)
}

/// Never none: the scripts split an empty text into one empty word.
fn tokens(line: &str) -> Vec<String> {
    let tokens = penn_treebank(line);
    match tokens.is_empty() {
        true => vec![String::new()],
        false => tokens,
    }
}

fn segment(hypothesis: &[String], references: &[Vec<String>]) -> f64 {
    let (mut precision, mut recall) = (0.0_f64, 0.0_f64);
    for reference in references {
        let common = longest_common_subsequence(hypothesis, reference) as f64;
        precision = precision.max(common / hypothesis.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    match precision == 0.0 {
        true => 0.0,
        false => (1.0 + BETA.powi(2)) * precision * recall / (recall + BETA.powi(2) * precision),
    }
}

/// The length of the longest sequence of words that both have in this order.
fn longest_common_subsequence(first: &[String], second: &[String]) -> usize {
    let mut above = vec![0; second.len() + 1];
    for word in first {
        let mut row = vec![0; second.len() + 1];
        for (column, other) in second.iter().enumerate() {
            row[column + 1] = match word == other {
                true => above[column] + 1,
                false => row[column].max(above[column + 1]),
            };
        }
        above = row;
    }
    above[second.len()]
}
