//! BLEU: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation".

use super::tokenize::mteval;
use super::{check, ngrams};
use crate::TrainError;

const MAX_N: usize = 4;

/// Whose BLEU. All three split words by the rules of mteval-v13a and take the reference that is
/// closest in length (of two as close, the shorter) for the brevity penalty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BleuDefinition {
    /// mteval-v13a.pl, which the E2E challenge's `measure_scores.py` calls: ASCII letters in lower
    /// case. The k-th precision without a match counts as half of one match to the power of k,
    /// a precision of sequences longer than every hypothesis as 1.
    #[default]
    Mteval,
    /// pymteval.py, which `measure_scores.py --python` calls: all letters in lower case; a
    /// precision without a match counts as 1e-15 matches. An empty text is one empty word, and a
    /// hypothesis of fewer than three words takes away from the number of sequences, as there;
    /// where that gives more than 1, as it can for a few short texts, this is 1.
    Pymteval,
    /// sacrebleu's defaults (`tok:13a|case:mixed|smooth:exp|eff:no`): upper and lower case differ;
    /// smoothed as mteval-v13a, but 0 if nothing matches or no hypothesis has four words.
    Sacrebleu,
}

/// The corpus-level BLEU-4 of one hypothesis for each set of references, 0 to 1.
///
/// # Errors
///
/// [`TrainError::SegmentCount`], [`TrainError::Empty`], [`TrainError::References`].
pub fn bleu(
    hypotheses: &[String],
    references: &[Vec<String>],
    definition: BleuDefinition,
) -> Result<f64, TrainError> {
    check(hypotheses, references)?;
    let mut statistics = Statistics::default();
    for (hypothesis, references) in hypotheses.iter().zip(references) {
        statistics.add(hypothesis, references, definition);
    }
    Ok(statistics.score(definition))
}

impl BleuDefinition {
    fn tokens(self, line: &str) -> Vec<String> {
        match self {
            Self::Mteval => mteval(&line.to_ascii_lowercase()),
            Self::Pymteval => pymteval_tokens(line),
            Self::Sacrebleu => mteval(line),
        }
    }
}

/// pymteval.py's tokens: never none, as Python splits an empty text into one empty word.
pub(super) fn pymteval_tokens(line: &str) -> Vec<String> {
    let tokens = mteval(&line.to_lowercase());
    match tokens.is_empty() {
        true => vec![String::new()],
        false => tokens,
    }
}

/// Sums over the corpus; the arrays have an entry for each length of sequence.
#[derive(Default)]
struct Statistics {
    matches: [usize; MAX_N],
    totals: [i64; MAX_N],
    hypothesis_length: usize,
    reference_length: usize,
}

impl Statistics {
    fn add(&mut self, hypothesis: &str, references: &[String], definition: BleuDefinition) {
        let hypothesis = definition.tokens(hypothesis);
        let references: Vec<_> = references.iter().map(|r| definition.tokens(r)).collect();
        for n in 1..=MAX_N {
            let matches = ngrams::matches(&hypothesis, &references, n);
            self.matches[n - 1] += matches.iter().map(|(_, count)| count).sum::<usize>();
            let total = hypothesis.len() as i64 - n as i64 + 1;
            self.totals[n - 1] += match definition {
                BleuDefinition::Pymteval => total,
                _ => total.max(0),
            };
        }
        let lengths = references.iter().map(Vec::len);
        let closest = lengths.min_by_key(|length| (length.abs_diff(hypothesis.len()), *length));
        self.hypothesis_length += hypothesis.len();
        self.reference_length += closest.unwrap_or(0);
    }

    fn score(&self, definition: BleuDefinition) -> f64 {
        if self.hypothesis_length == 0 {
            return 0.0;
        }
        let ratio = self.reference_length as f64 / self.hypothesis_length as f64;
        let brevity_penalty = (1.0 - ratio).min(0.0).exp();
        if definition == BleuDefinition::Sacrebleu
            && (self.matches[0] == 0 || self.totals[MAX_N - 1] == 0)
        {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let logarithms = self
            .matches
            .iter()
            .zip(self.totals)
            .map(|(matches, total)| {
                let (matches, total) = (*matches as f64, total as f64);
                match definition {
                    BleuDefinition::Pymteval => (matches.max(1e-15) / total.max(1e-9)).ln(),
                    _ if total == 0.0 => 0.0,
                    _ if matches == 0.0 => {
                        smoothing *= 2.0;
                        -(smoothing * total).ln()
                    }
                    _ => (matches / total).ln(),
                }
            });
        (brevity_penalty * (logarithms.sum::<f64>() / MAX_N as f64).exp()).min(1.0)
    }
}
