//! What has to hold of every model.

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor, TensorData};
use lora_core::default_device;
use lora_models::generation::{EarlyStopping, FinishReason, GenerationConfig, Step, log_softmax};
use lora_models::gpt2::{Cache, CausalLm, Gpt2Input};

use crate::common::{beams, run, sampling, short, tiny_model, tokens};

const PROMPTS: [&[u32]; 4] = [&[3, 1, 4, 1, 5], &[9], &[2, 6, 5, 3, 5, 8, 9], &[7, 9]];

fn padded(config: GenerationConfig) -> GenerationConfig {
    GenerationConfig {
        pad_token_id: Some(0),
        ..config
    }
}

#[test]
fn a_text_does_not_depend_on_the_others_of_the_batch() {
    let model = tiny_model(40);
    let configs = [
        short(10),
        GenerationConfig {
            eos_token_id: Some((0..12).collect()),
            ..short(12)
        },
        GenerationConfig {
            repetition_penalty: 1.5,
            no_repeat_ngram_size: 2,
            ..short(10)
        },
        GenerationConfig {
            eos_token_id: Some(vec![11, 25]),
            num_return_sequences: 3,
            ..beams(10, 5)
        },
        GenerationConfig {
            eos_token_id: Some((0..8).collect()),
            early_stopping: EarlyStopping::True,
            ..beams(12, 3)
        },
    ];
    for config in configs.map(padded) {
        let together = run(&model, &PROMPTS, &config);
        let alone = PROMPTS
            .map(|prompt| run(&model, &[prompt], &config))
            .concat();
        assert_eq!(together, alone);
    }
    // A draw depends on its place, so only the first prompt has the same neighbours before it.
    let config = padded(sampling(10, 3));
    let together = run(&model, &PROMPTS, &config);
    for count in 1..4 {
        assert_eq!(run(&model, &PROMPTS[..count], &config), together[..count]);
    }
}

#[test]
fn the_pad_token_makes_no_difference() {
    let model = tiny_model(40);
    let with = |pad| GenerationConfig {
        pad_token_id: Some(pad),
        no_repeat_ngram_size: 1,
        repetition_penalty: 3.0,
        ..short(10)
    };
    assert_eq!(
        run(&model, &PROMPTS, &with(0)),
        run(&model, &PROMPTS, &with(31))
    );
}

#[test]
fn the_cache_and_padding_change_no_logits() {
    let device = default_device();
    let model = tiny_model(40);
    let matrix = |rows: Vec<i64>, width: usize| {
        let data = TensorData::new(rows, [2, width]);
        Tensor::<2, Int>::from_data(data, &device)
    };
    let mut cache = Cache::new();
    let read = |ids, mask, positions, width, cache: &mut Cache| {
        let input = Gpt2Input {
            input_ids: matrix(ids, width),
            attention_mask: Some(mask),
            position_ids: Some(matrix(positions, width)),
        };
        model.forward(input, Some(cache)).narrow(1, width - 1, 1)
    };
    let mask = matrix(vec![0, 0, 1, 1, 1, 1], 3);
    read(
        vec![0, 0, 7, 3, 1, 4],
        mask,
        vec![0, 0, 0, 0, 1, 2],
        3,
        &mut cache,
    );
    let mut texts = [vec![7], vec![3, 1, 4]];
    for (new, position) in [(9, 1), (12, 2), (30, 3)] {
        texts.iter_mut().for_each(|text| text.push(new));
        let mut mask = vec![1; 2 * (3 + position)];
        mask[..2].fill(0);
        let mask = matrix(mask, 3 + position);
        let positions = vec![position as i64, position as i64 + 2];
        let logits = read(vec![new; 2], mask, positions, 1, &mut cache);
        for (row, text) in texts.iter().enumerate() {
            let data = TensorData::new(text.clone(), [1, text.len()]);
            let alone = Gpt2Input::new(Tensor::from_data(data, &device));
            let alone = model.forward(alone, None).narrow(1, text.len() - 1, 1);
            let difference = (alone - logits.clone().narrow(0, row, 1)).abs().max();
            assert!(difference.into_scalar::<f32>() < 1e-5);
        }
    }
}

/// The log-probability of `text` after `prompt`.
fn log_probability(model: &CausalLm, prompt: &[u32], text: &[u32]) -> f64 {
    let all: Vec<i64> = [prompt, text]
        .concat()
        .iter()
        .map(|t| i64::from(*t))
        .collect();
    let data = TensorData::new(all.clone(), [1, all.len()]);
    let ids = Tensor::<2, Int>::from_data(data, &default_device());
    let logits = model.forward(Gpt2Input::new(ids), None);
    let [_, _, vocabulary] = logits.dims();
    let mut logits = logits.try_into_vec_as::<f32>().unwrap();
    let mut sum = 0.0;
    for (i, token) in text.iter().enumerate() {
        let at = (prompt.len() + i - 1) * vocabulary;
        let row = &mut logits[at..at + vocabulary];
        log_softmax(row);
        sum += f64::from(row[*token as usize]);
    }
    sum
}

#[test]
fn beams_enough_for_all_texts_find_the_best() {
    let model = tiny_model(4);
    let prompt = [2, 1];
    // All 64 texts of three tokens, by their probability.
    let mut all: Vec<(Vec<u32>, f64)> = (0..64)
        .map(|i| {
            let text = vec![i / 16, i / 4 % 4, i % 4];
            let probability = log_probability(&model, &prompt, &text);
            (text, probability)
        })
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let config = GenerationConfig {
        num_return_sequences: 64,
        length_penalty: 2.0,
        ..beams(3, 64)
    };
    let texts = model.generate(&[prompt], &config).unwrap();
    assert_eq!(texts.len(), 64);
    for (text, (expected, probability)) in texts.iter().zip(&all) {
        assert_eq!(text.tokens, *expected);
        assert!((f64::from(text.score.unwrap()) - probability / 9.0).abs() < 1e-5);
    }
}

#[test]
fn one_beam_is_greedy_search() {
    let model = tiny_model(40);
    let config = padded(short(10));
    let streamed = model.generate_with(&PROMPTS, &config, |_| ControlFlow::Continue(()));
    assert_eq!(run(&model, &PROMPTS, &config), tokens(&streamed.unwrap()));
}

#[test]
fn every_token_is_told_of_in_its_turn() {
    let model = tiny_model(40);
    let config = GenerationConfig {
        eos_token_id: Some((0..10).collect()),
        num_return_sequences: 2,
        ..padded(sampling(9, 1))
    };
    let mut steps: Vec<Step> = Vec::new();
    let texts = model.generate_with(&PROMPTS, &config, |step| {
        steps.push(step);
        ControlFlow::Continue(())
    });
    let texts = texts.unwrap();
    assert_eq!(texts.len(), 8);
    assert!(
        texts
            .iter()
            .any(|text| text.finish == FinishReason::EndToken)
    );
    assert!(steps.is_sorted_by_key(|step| (step.index, step.sequence)));
    for (number, text) in texts.iter().enumerate() {
        let own: Vec<_> = steps.iter().filter(|s| s.sequence == number).collect();
        assert_eq!(own.iter().map(|s| s.token).collect::<Vec<_>>(), text.tokens);
        let (last, before) = own.split_last().unwrap();
        assert_eq!(last.finish, Some(text.finish));
        assert!(before.iter().all(|step| step.finish.is_none()));
    }
}

#[test]
fn a_caller_can_stop() {
    let model = tiny_model(40);
    let config = padded(short(9));
    let whole = run(&model, &PROMPTS, &config);
    let texts = model.generate_with(&PROMPTS, &config, |step| {
        match (step.index, step.sequence) == (2, 1) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    for (number, text) in texts.unwrap().into_iter().enumerate() {
        let length = if number < 2 { 3 } else { 2 };
        assert_eq!(text.tokens, whole[number][..length]);
        assert_eq!(text.finish, FinishReason::Stopped);
    }
}
