//! The measures of SQuAD, the Stanford Question Answering Dataset.

mod text;

use serde::Serialize;

pub use self::text::{exact_match, normalize_answer, token_f1};

/// What was answered to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct SquadAnswer {
    /// The right answers, any of which will do; none if the text does not answer the question.
    pub gold: Vec<String>,
    /// What the model answers; empty if it says that there is no answer.
    pub predicted: String,
    /// How probable the model finds it that there is no answer, 0 to 1; 0 for a model that does not
    /// say.
    pub no_answer: f64,
}

/// The scores of some questions, fractions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SquadPart {
    /// How many are answered by just the words of a right answer, see [`exact_match`].
    pub exact_match: f64,
    /// The mean of each question's best [`token_f1`].
    pub f1: f64,
    /// The number of questions.
    pub total: usize,
}

/// The best score that any threshold gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct BestThreshold {
    /// The score, a fraction.
    pub score: f64,
    /// Questions with a higher [`no_answer`](SquadAnswer::no_answer) count as without an answer.
    pub threshold: f64,
}

/// Exact match and F1 as in the official evaluation of SQuAD 1.1 (Rajpurkar et al., 2016, section 6.1)
/// and 2.0 (Rajpurkar et al., 2018), where some questions have no answer.
///
/// All are fractions; the official programs print percent. Without questions they are 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SquadScores {
    /// All questions.
    pub all: SquadPart,
    /// Those with an answer (`HasAns`), if there are any.
    pub has_answer: Option<SquadPart>,
    /// Those without (`NoAns`), if there are any.
    pub no_answer: Option<SquadPart>,
    /// The best exact match and its threshold: `best_exact` and `best_exact_thresh`.
    pub best_exact: BestThreshold,
    /// The best F1 and its threshold: `best_f1` and `best_f1_thresh`.
    pub best_f1: BestThreshold,
}

impl SquadScores {
    /// The scores if questions with a [`no_answer`](SquadAnswer::no_answer) above `threshold` count as
    /// without an answer; 1 takes every answer as it is.
    ///
    /// The best thresholds are found as the official program finds them: from 0 upwards, one question
    /// after the other, those of the same probability in the order that they have here.
    pub fn of(answers: &[SquadAnswer], threshold: f64) -> Self {
        let scored: Vec<Scored> = answers.iter().map(Scored::of).collect();
        let decided: Vec<Scored> = scored.iter().map(|s| s.decided(threshold)).collect();
        let part = |with: bool| {
            let chosen = decided.iter().filter(|scored| scored.has_answer() == with);
            Some(means(chosen)).filter(|part| part.total > 0)
        };
        Self {
            all: means(decided.iter()),
            has_answer: part(true),
            no_answer: part(false),
            best_exact: best(&scored, |scored| scored.exact_match),
            best_f1: best(&scored, |scored| scored.f1),
        }
    }
}

impl std::fmt::Display for SquadScores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let write = |f: &mut std::fmt::Formatter<'_>, part: &SquadPart, of: &str| {
            let (exact_match, f1) = (100.0 * part.exact_match, 100.0 * part.f1);
            let total = part.total;
            write!(
                f,
                "exact match {exact_match:.2} %, F1 {f1:.2} % on {total} {of}"
            )
        };
        write(f, &self.all, "questions")?;
        let (Some(has_answer), Some(no_answer)) = (&self.has_answer, &self.no_answer) else {
            return Ok(());
        };
        f.write_str(" (")?;
        write(f, has_answer, "with an answer")?;
        f.write_str("; ")?;
        write(f, no_answer, "without")?;
        f.write_str(")")
    }
}

/// A question's scores.
#[derive(Clone, Copy)]
struct Scored<'a> {
    answer: &'a SquadAnswer,
    exact_match: f64,
    f1: f64,
}

impl<'a> Scored<'a> {
    fn of(answer: &'a SquadAnswer) -> Self {
        let mut gold: Vec<&str> = answer.gold.iter().map(String::as_str).collect();
        gold.retain(|gold| !normalize_answer(gold).is_empty());
        if gold.is_empty() {
            gold.push("");
        }
        let predicted = &answer.predicted;
        let exact = gold.iter().any(|gold| exact_match(predicted, gold));
        let f1 = gold.iter().map(|gold| token_f1(predicted, gold));
        Self {
            answer,
            exact_match: f64::from(u8::from(exact)),
            f1: f1.fold(0.0, f64::max),
        }
    }

    fn has_answer(&self) -> bool {
        !self.answer.gold.is_empty()
    }

    /// The scores if `threshold` decides what has no answer.
    fn decided(self, threshold: f64) -> Self {
        let score = f64::from(u8::from(!self.has_answer()));
        match self.answer.no_answer > threshold {
            true => Self {
                exact_match: score,
                f1: score,
                ..self
            },
            false => self,
        }
    }
}

fn means<'a>(scored: impl Iterator<Item = &'a Scored<'a>>) -> SquadPart {
    let mut part = SquadPart::default();
    for scored in scored {
        part.exact_match += scored.exact_match;
        part.f1 += scored.f1;
        part.total += 1;
    }
    part.exact_match /= part.total.max(1) as f64;
    part.f1 /= part.total.max(1) as f64;
    part
}

/// Starts with no answer for any question, and takes one answer after the other as it is.
fn best(scored: &[Scored], score: fn(&Scored) -> f64) -> BestThreshold {
    let mut order: Vec<&Scored> = scored.iter().collect();
    order.sort_by(|a, b| a.answer.no_answer.total_cmp(&b.answer.no_answer));
    let without = scored.iter().filter(|scored| !scored.has_answer()).count();
    let mut current = without as f64;
    let (mut best, mut threshold) = (current, 0.0);
    for scored in order {
        current += match (scored.has_answer(), scored.answer.predicted.is_empty()) {
            (true, _) => score(scored),
            (false, true) => 0.0,
            (false, false) => -1.0,
        };
        if current > best {
            (best, threshold) = (current, scored.answer.no_answer);
        }
    }
    BestThreshold {
        score: best / scored.len().max(1) as f64,
        threshold,
    }
}
