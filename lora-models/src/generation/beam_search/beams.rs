//! The beams of one prompt.

use rand::rngs::StdRng;

use crate::generation::config::GenerationConfig;
use crate::generation::early_stopping::EarlyStopping;
use crate::generation::log_softmax::log_softmax;
use crate::generation::output::FinishReason;
use crate::generation::processors::LogitsProcessors;
use crate::generation::sampling::gumbel;
use crate::generation::settings::Settings;
use crate::generation::top_scores::{Scored, TopScores};

/// The sequences that continue one prompt.
pub(super) struct Beams {
    /// The prompt's tokens.
    prompt: usize,
    /// The new tokens of each sequence that goes on.
    new: usize,
    /// Those that go on, best first.
    running: Vec<Beam>,
    /// The best of those that ended, best first; at most `num_beams`.
    pub(super) finished: Vec<Finished>,
    /// For beam sampling.
    pub(super) random: Option<StdRng>,
}

struct Beam {
    /// The prompt and what follows it.
    tokens: Vec<u32>,
    /// The sum of the new tokens' log-probabilities.
    score: f32,
}

/// A sequence that ended.
pub(super) struct Finished {
    /// The new tokens.
    pub(super) tokens: Vec<u32>,
    /// With the length penalty.
    pub(super) score: f32,
    pub(super) reason: FinishReason,
}

/// A beam with a token after it.
struct Candidate {
    beam: usize,
    token: u32,
    score: f32,
}

impl Beams {
    pub(super) fn new(prompt: &[u32]) -> Self {
        let start = Beam {
            tokens: prompt.to_vec(),
            score: 0.0,
        };
        Self {
            prompt: prompt.len(),
            new: 0,
            running: vec![start],
            finished: Vec::new(),
            random: None,
        }
    }

    /// Adds a token to the beams; the result has the beam that each new one continues. `logits`
    /// gives those of a beam's next token.
    pub(super) fn advance<'a>(
        &mut self,
        logits: impl Fn(usize) -> &'a [f32],
        processors: &LogitsProcessors<'_>,
        settings: &Settings<'_>,
    ) -> Vec<usize> {
        let config = settings.config;
        let candidates = self.candidates(logits, processors, settings);
        self.new += 1;
        let length = (self.new as f64).powf(config.length_penalty) as f32;
        let mut going_on = Vec::with_capacity(candidates.len());
        for (rank, candidate) in candidates.into_iter().enumerate() {
            match settings.finish(candidate.token, self.new) {
                None => going_on.push(candidate),
                // Of those that end, only ones among the best `num_beams` count; the others are in
                // the list so that enough remain to go on.
                Some(reason) if rank < config.num_beams => self.finished.push(Finished {
                    tokens: self.continued(&candidate)[self.prompt..].to_vec(),
                    score: candidate.score / length,
                    reason,
                }),
                Some(_) => {}
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(config.num_beams);
        // Candidates that were drawn come in the order of the draws.
        going_on.sort_by(|a, b| b.score.total_cmp(&a.score));
        going_on.truncate(config.num_beams);
        let parents = going_on.iter().map(|candidate| candidate.beam).collect();
        let beam = |candidate: &Candidate| Beam {
            tokens: self.continued(candidate),
            score: candidate.score,
        };
        self.running = going_on.iter().map(beam).collect();
        parents
    }

    /// The best continuations, or as many drawn without replacement: enough that `num_beams` are
    /// left when each beam ends in each of the end tokens.
    fn candidates<'a>(
        &mut self,
        logits: impl Fn(usize) -> &'a [f32],
        processors: &LogitsProcessors<'_>,
        settings: &Settings<'_>,
    ) -> Vec<Candidate> {
        let count = (1 + settings.ends.len()).max(2) * settings.config.num_beams;
        let mut top = TopScores::new(count);
        let mut vocabulary = 0;
        // A draw is ranked by its noisy score, and the plain one is needed afterwards.
        let mut plain = Vec::new();
        let mut scores = Vec::new();
        for (beam, Beam { tokens, score }) in self.running.iter().enumerate() {
            let logits = logits(beam);
            vocabulary = logits.len();
            scores.clear();
            scores.extend_from_slice(logits);
            log_softmax(&mut scores);
            processors.apply(&mut scores, tokens, self.new);
            for (token, own) in scores.iter_mut().enumerate() {
                *own += score;
                let rank = match &mut self.random {
                    Some(random) if *own > f32::NEG_INFINITY => *own + gumbel(random),
                    _ => *own,
                };
                top.push(rank, beam * vocabulary + token);
            }
            if self.random.is_some() {
                plain.extend_from_slice(&scores);
            }
        }
        let candidate = |scored: Scored| Candidate {
            beam: scored.index / vocabulary,
            token: (scored.index % vocabulary) as u32,
            score: plain.get(scored.index).copied().unwrap_or(scored.score),
        };
        top.into_sorted().into_iter().map(candidate).collect()
    }

    /// The tokens of a beam with the candidate's after them.
    fn continued(&self, candidate: &Candidate) -> Vec<u32> {
        let beam = &self.running[candidate.beam].tokens;
        beam.iter().copied().chain([candidate.token]).collect()
    }

    /// Whether the finished sequences are final.
    pub(super) fn is_done(&self, config: &GenerationConfig) -> bool {
        let Some(best) = self.running.first() else {
            return true;
        };
        let worst = match self.finished.last() {
            Some(worst) if self.finished.len() == config.num_beams => worst.score,
            _ => return false,
        };
        let length = match config.early_stopping {
            EarlyStopping::True => return true,
            EarlyStopping::Never if config.length_penalty > 0.0 => config.max_new_tokens,
            EarlyStopping::Never | EarlyStopping::False => self.new,
        };
        best.score / (length as f64).powf(config.length_penalty) as f32 <= worst
    }

    /// The token that each running beam ends in.
    pub(super) fn last_tokens(&self) -> impl Iterator<Item = u32> {
        self.running
            .iter()
            .filter_map(|beam| beam.tokens.last().copied())
    }
}
