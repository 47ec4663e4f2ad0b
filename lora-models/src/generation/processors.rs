//! What a configuration does to the scores of the next token.

use super::config::GenerationConfig;
use super::min_new_tokens::min_new_tokens;
use super::no_repeat_ngram::no_repeat_ngram;
use super::repetition_penalty::repetition_penalty;
use super::temperature::temperature;
use super::top_k::top_k;
use super::top_p::top_p;

/// The logits processors of a configuration in Hugging Face's order: repetition penalty, repeated
/// n-grams, least length, and for sampling temperature, top-k and top-p.
#[derive(Debug, Clone)]
pub struct LogitsProcessors<'a> {
    config: &'a GenerationConfig,
    ends: &'a [u32],
}

impl<'a> LogitsProcessors<'a> {
    /// The processors of `config`; `ends` are the end tokens.
    pub fn new(config: &'a GenerationConfig, ends: &'a [u32]) -> Self {
        Self { config, ends }
    }

    /// Changes the scores of the next token; those of excluded tokens become minus infinity.
    ///
    /// - `scores`: one for each token of the vocabulary: logits, in beam search log-probabilities
    /// - `tokens`: the prompt and what was generated, without padding
    /// - `new_tokens`: how many of these were generated
    pub fn apply(&self, scores: &mut [f32], tokens: &[u32], new_tokens: usize) {
        let config = self.config;
        if config.repetition_penalty != 1.0 {
            repetition_penalty(scores, tokens, config.repetition_penalty as f32);
        }
        let counted = match config.no_repeat_ngram_in_prompt {
            true => tokens,
            false => &tokens[tokens.len().saturating_sub(new_tokens)..],
        };
        no_repeat_ngram(scores, counted, config.no_repeat_ngram_size);
        min_new_tokens(scores, new_tokens, config.min_new_tokens, self.ends);
        if !config.do_sample {
            return;
        }
        if config.temperature != 1.0 {
            temperature(scores, config.temperature as f32);
        }
        if let Some(count) = config.top_k {
            top_k(scores, count.max(self.at_least()));
        }
        if config.top_p < 1.0 {
            top_p(scores, config.top_p, self.at_least());
        }
    }

    /// How many tokens top-k and top-p leave: in beam search one beyond the end tokens, so that a
    /// beam can go on.
    fn at_least(&self) -> usize {
        match self.config.num_beams {
            1 => 1,
            _ => (self.ends.len() + 1).max(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n_grams_of_the_prompt_count_as_the_configuration_says() {
        let excluded = |in_prompt| {
            let config = GenerationConfig {
                no_repeat_ngram_size: 2,
                no_repeat_ngram_in_prompt: in_prompt,
                ..GenerationConfig::default()
            };
            let mut scores = [0.0; 5];
            // The prompt has 1 2; the new text, 3 4 3 1.
            LogitsProcessors::new(&config, &[]).apply(&mut scores, &[1, 2, 3, 4, 3, 1], 4);
            scores.map(|score| score == f32::NEG_INFINITY)
        };
        assert_eq!(excluded(true), [false, false, true, false, false]);
        assert_eq!(excluded(false), [false; 5]);
    }
}
