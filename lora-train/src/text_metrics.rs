//! Metrics that compare generated text with references: those of the E2E NLG challenge.
//!
//! [`score`] gives what the challenge's `measure_scores.py` prints, but for a smaller METEOR:
//!
//! | metric | equals | tokens |
//! |---|---|---|
//! | [`bleu`], up to 4 words | mteval-v13a.pl; [`BleuDefinition`] has two more | mteval-v13a |
//! | [`nist`], up to 5 words | mteval-v13a.pl as the challenge changed it | mteval-v13a |
//! | [`Meteor`] | METEOR 1.5 with the stages "exact" and "stem" only | Penn Treebank, METEOR's |
//! | [`rouge_l`] | the COCO caption scripts | Penn Treebank |
//! | [`cider`] | the COCO caption scripts (the paper's CIDEr-D) | Penn Treebank |
//!
//! A file of references has one a line, and an empty line between the references of one hypothesis
//! and those of the next; a file of hypotheses has one a line.
//!
//! ```
//! use lora_train::text_metrics::score;
//!
//! let hypotheses = ["The Mill is a cheap pub.".into(), "Aromi serves coffee.".into()];
//! let references = [
//!     vec!["The Mill is a cheap pub.".into(), "There is a cheap pub called The Mill.".into()],
//!     vec!["Aromi is a coffee shop.".into()],
//! ];
//! let metrics = score(&hypotheses, &references)?;
//! assert!(metrics.bleu > 0.6 && metrics.rouge_l > 0.7);
//! # Ok::<(), lora_train::TrainError>(())
//! ```

mod bleu;
mod cider;
mod meteor;
mod ngrams;
mod nist;
mod references;
mod rouge_l;
mod tokenize;

use std::fmt;
use std::path::Path;

use serde::Serialize;

pub use self::bleu::{BleuDefinition, bleu};
pub use self::cider::cider;
pub use self::meteor::Meteor;
pub use self::nist::{NistDefinition, nist};
pub use self::references::{read_hypotheses, read_pairs, read_references};
pub use self::rouge_l::rouge_l;
use crate::TrainError;

/// The scores of a corpus of hypotheses. All are better when higher.
///
/// Its `Display` is the five lines of the E2E challenge's scripts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TextMetrics {
    /// BLEU-4, 0 to 1.
    pub bleu: f64,
    /// NIST with up to five words, 0 or more.
    pub nist: f64,
    /// METEOR with the stages "exact" and "stem", 0 to 1.
    pub meteor: f64,
    /// ROUGE-L, 0 to 1.
    pub rouge_l: f64,
    /// CIDEr, 0 to 10.
    pub cider: f64,
}

impl fmt::Display for TextMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "BLEU: {:.4}", self.bleu)?;
        writeln!(f, "NIST: {:.4}", self.nist)?;
        writeln!(f, "METEOR: {:.4}", self.meteor)?;
        writeln!(f, "ROUGE_L: {:.4}", self.rouge_l)?;
        write!(f, "CIDEr: {:.4}", self.cider)
    }
}

/// Scores each hypothesis against its references, by the E2E challenge's definitions.
///
/// # Errors
///
/// [`TrainError::Empty`] if there are none; [`TrainError::SegmentCount`] if there is not one set of
/// references for each hypothesis; [`TrainError::References`] if a set is empty or a reference blank.
pub fn score(hypotheses: &[String], references: &[Vec<String>]) -> Result<TextMetrics, TrainError> {
    Ok(TextMetrics {
        bleu: bleu(hypotheses, references, BleuDefinition::default())?,
        nist: nist(hypotheses, references, NistDefinition::default())?,
        meteor: Meteor::default().score(hypotheses, references)?,
        rouge_l: rouge_l(hypotheses, references)?,
        cider: cider(hypotheses, references)?,
    })
}

/// Scores a file of hypotheses against a file of references.
///
/// # Errors
///
/// As [`read_pairs`].
pub fn score_files(references: &Path, hypotheses: &Path) -> Result<TextMetrics, TrainError> {
    let (hypotheses, references) = read_pairs(references, hypotheses)?;
    score(&hypotheses, &references)
}

/// Every metric's conditions.
fn check(hypotheses: &[String], references: &[Vec<String>]) -> Result<(), TrainError> {
    if hypotheses.len() != references.len() {
        return Err(TrainError::SegmentCount {
            hypotheses: hypotheses.len(),
            references: references.len(),
        });
    }
    if hypotheses.is_empty() {
        return Err(TrainError::Empty {
            place: "the list of hypotheses".to_string(),
        });
    }
    for (index, references) in references.iter().enumerate() {
        let found = match references
            .iter()
            .any(|reference| reference.trim().is_empty())
        {
            true => "a blank reference",
            false if references.is_empty() => "no reference",
            false => continue,
        };
        return Err(TrainError::References { index, found });
    }
    Ok(())
}
