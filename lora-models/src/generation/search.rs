//! Greedy search and sampling: one token at a time, for good.

use std::ops::ControlFlow;

use rand::rngs::StdRng;

use super::decoder::Decoder;
use super::error::GenerationError;
use super::output::{FinishReason, Generated, Step};
use super::processors::LogitsProcessors;
use super::sampling::{best, draw, streams};
use super::settings::Settings;
use crate::ModelError;
use crate::gpt2::CausalLm;

/// A text in the making.
struct Sequence {
    prompt: usize,
    /// The prompt and what follows it.
    tokens: Vec<u32>,
    finish: FinishReason,
}

/// Continues each prompt `num_return_sequences` times. `on_token` is told of every token at once and
/// may end it all. Texts that are finished leave the batch.
pub(super) fn search(
    model: &CausalLm,
    settings: &Settings<'_>,
    mut on_token: impl FnMut(Step) -> ControlFlow<()>,
) -> Result<Vec<Generated>, ModelError> {
    let config = settings.config;
    let processors = LogitsProcessors::new(config, &settings.ends);
    let prompts = settings.prompts.iter().enumerate();
    let mut sequences: Vec<Sequence> = prompts
        .flat_map(|prompt| std::iter::repeat_n(prompt, config.num_return_sequences))
        .map(|(prompt, tokens)| Sequence {
            prompt,
            tokens: tokens.to_vec(),
            finish: FinishReason::Stopped,
        })
        .collect();
    let mut random: Vec<StdRng> = match config.do_sample {
        true => streams(config.seed, sequences.len()),
        false => Vec::new(),
    };

    let (mut decoder, mut logits) = Decoder::read(model, settings)?;
    // The texts that go on, each with the row that its next token is read from.
    let mut running: Vec<(usize, usize)> = sequences
        .iter()
        .enumerate()
        .map(|(index, sequence)| (index, sequence.prompt))
        .collect();
    let mut scores = Vec::new();
    'tokens: for index in 0..config.max_new_tokens {
        let (mut rows, mut next) = (Vec::new(), Vec::new());
        let mut going_on = Vec::new();
        for (number, row) in running {
            let sequence = &mut sequences[number];
            scores.clear();
            scores.extend_from_slice(logits.row(row));
            processors.apply(&mut scores, &sequence.tokens, index);
            let token = match random.get_mut(number) {
                Some(random) => draw(&scores, random),
                None => best(&scores),
            };
            let Some(token) = token else {
                let prompt = sequence.prompt;
                return Err(GenerationError::NoTokenLeft {
                    prompt,
                    token: index,
                }
                .into());
            };
            let token = token as u32;
            sequence.tokens.push(token);
            let finish = settings.finish(token, index + 1);
            if let Some(finish) = finish {
                sequence.finish = finish;
            }
            let step = Step {
                sequence: number,
                token,
                index,
                finish,
            };
            if on_token(step).is_break() {
                break 'tokens;
            }
            if finish.is_none() {
                going_on.push((number, rows.len()));
                rows.push(row);
                next.push(token);
            }
        }
        running = going_on;
        if running.is_empty() {
            break;
        }
        decoder.select(&rows)?;
        logits = decoder.step(&next)?;
    }
    let generated = |sequence: Sequence| Generated {
        prompt: sequence.prompt,
        tokens: sequence.tokens[settings.prompts[sequence.prompt].len()..].to_vec(),
        finish: sequence.finish,
        score: None,
    };
    Ok(sequences.into_iter().map(generated).collect())
}
