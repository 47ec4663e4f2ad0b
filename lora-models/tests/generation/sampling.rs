//! Draws.

use burn::tensor::{Int, Tensor};
use lora_core::default_device;
use lora_models::generation::{GenerationConfig, LogitsProcessors};
use lora_models::gpt2::Gpt2Input;

use crate::common::{beams, golden_model, run, sampling, short, tiny_model};

const PROMPTS: [&[u32]; 3] = [&[3, 1, 4], &[9, 2, 7], &[2, 6, 5]];

#[test]
fn a_choice_of_one_is_greedy_search() {
    let model = tiny_model(40);
    let greedy = run(&model, &PROMPTS, &short(12));
    let one = GenerationConfig {
        top_k: Some(1),
        ..sampling(12, 7)
    };
    assert_eq!(run(&model, &PROMPTS, &one), greedy);
    let narrow = GenerationConfig {
        top_p: 1e-6,
        ..sampling(12, 7)
    };
    assert_eq!(run(&model, &PROMPTS, &narrow), greedy);
    assert_ne!(run(&model, &PROMPTS, &sampling(12, 7)), greedy);
}

#[test]
fn a_seed_makes_the_text() {
    let model = tiny_model(40);
    let texts = |seed: Option<u64>, num_beams| {
        let config = GenerationConfig {
            seed,
            num_beams,
            ..sampling(12, 0)
        };
        run(&model, &PROMPTS, &config)
    };
    for num_beams in [1, 3] {
        assert_eq!(texts(Some(5), num_beams), texts(Some(5), num_beams));
        assert_ne!(texts(Some(5), num_beams), texts(Some(6), num_beams));
        assert_ne!(texts(None, num_beams), texts(None, num_beams));
    }
    // The same prompt twice has two texts.
    let config = GenerationConfig {
        num_return_sequences: 2,
        ..sampling(12, 5)
    };
    let twice = run(&model, &PROMPTS[..1], &config);
    assert_eq!(twice.len(), 2);
    assert_ne!(twice[0], twice[1]);
    assert_eq!(
        twice,
        run(&model, &[PROMPTS[0], PROMPTS[0]], &sampling(12, 5))
    );
}

#[test]
fn tokens_are_as_frequent_as_they_are_likely() {
    let model = tiny_model(12);
    let count = 4000;
    let config = GenerationConfig {
        num_return_sequences: count,
        temperature: 0.7,
        top_k: Some(8),
        top_p: 0.95,
        ..sampling(1, 11)
    };
    let mut found = [0; 12];
    for text in run(&model, &PROMPTS[..1], &config) {
        found[text[0] as usize] += 1;
    }

    let ids = Tensor::<2, Int>::from_data([[3, 1, 4]], &default_device());
    let logits = model.forward(Gpt2Input::new(ids), None).narrow(1, 2, 1);
    let mut scores = logits.try_into_vec_as::<f32>().unwrap();
    LogitsProcessors::new(&config, &[]).apply(&mut scores, PROMPTS[0], 0);
    let total: f32 = scores.iter().map(|score| score.exp()).sum();
    assert!(scores.iter().filter(|s| s.is_finite()).count() > 2);
    for (found, score) in found.into_iter().zip(scores) {
        let probability = score.exp() / total;
        let expected = count as f32 * probability;
        // Four standard deviations.
        let bound = 4.0 * (expected * (1.0 - probability)).sqrt();
        assert!(
            (found as f32 - expected).abs() <= bound,
            "{found}, {expected}"
        );
    }
}

#[test]
fn cold_beam_sampling_is_beam_search() {
    let model = golden_model(&default_device());
    let search = GenerationConfig {
        eos_token_id: Some(vec![44, 49, 59]),
        num_return_sequences: 2,
        ..beams(10, 4)
    };
    let cold = GenerationConfig {
        do_sample: true,
        temperature: 1e-4,
        top_k: None,
        seed: Some(1),
        ..search.clone()
    };
    assert_eq!(run(&model, &PROMPTS, &cold), run(&model, &PROMPTS, &search));
    // Warm, it finds other texts, still best first.
    let warm = GenerationConfig {
        temperature: 1.5,
        ..cold
    };
    assert_ne!(run(&model, &PROMPTS, &warm), run(&model, &PROMPTS, &search));
    for texts in model.generate(&PROMPTS, &warm).unwrap().chunks(2) {
        assert!(texts[0].score >= texts[1].score);
    }
}
