//! Beam search, and with `do_sample` beam sampling.

mod beams;

use beams::Beams;

use super::decoder::Decoder;
use super::error::GenerationError;
use super::output::Generated;
use super::processors::LogitsProcessors;
use super::sampling::streams;
use super::settings::Settings;
use crate::ModelError;
use crate::gpt2::CausalLm;

/// The best `num_return_sequences` texts of each prompt, best first.
///
/// A prompt is read once, and its row multiplied afterwards. A prompt that is done leaves the batch.
pub(super) fn beam_search(
    model: &CausalLm,
    settings: &Settings<'_>,
) -> Result<Vec<Generated>, ModelError> {
    let config = settings.config;
    let processors = LogitsProcessors::new(config, &settings.ends);
    let prompts = settings.prompts.iter();
    let mut searches: Vec<Beams> = prompts.map(|tokens| Beams::new(tokens)).collect();
    if config.do_sample {
        let streams = streams(config.seed, searches.len());
        for (search, stream) in searches.iter_mut().zip(streams) {
            search.random = Some(stream);
        }
    }

    let (mut decoder, mut logits) = Decoder::read(model, settings)?;
    // The prompts that go on, each with the row of its first beam.
    let mut running: Vec<(usize, usize)> = (0..searches.len()).map(|i| (i, i)).collect();
    for _ in 0..config.max_new_tokens {
        let (mut rows, mut next) = (Vec::new(), Vec::new());
        let mut going_on = Vec::new();
        for (prompt, first) in running {
            let search = &mut searches[prompt];
            let parents = search.advance(|beam| logits.row(first + beam), &processors, settings);
            if search.is_done(config) {
                continue;
            }
            going_on.push((prompt, rows.len()));
            rows.extend(parents.iter().map(|parent| first + parent));
            next.extend(search.last_tokens());
        }
        running = going_on;
        if running.is_empty() {
            break;
        }
        decoder.select(&rows)?;
        logits = decoder.step(&next)?;
    }

    let mut all = Vec::with_capacity(searches.len() * config.num_return_sequences);
    for (prompt, search) in searches.into_iter().enumerate() {
        let finished = search.finished;
        let (found, asked) = (finished.len(), config.num_return_sequences);
        if found < asked {
            return Err(GenerationError::TooFewSequences {
                prompt,
                found,
                asked,
            }
            .into());
        }
        all.extend(finished.into_iter().take(asked).map(|text| Generated {
            prompt,
            tokens: text.tokens,
            finish: text.reason,
            score: Some(text.score),
        }));
    }
    Ok(all)
}
