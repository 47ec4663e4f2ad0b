//! Errors of a call.

use std::ops::ControlFlow;

use burn::module::Param;
use lora_models::ModelError;
use lora_models::generation::{GenerationConfig, GenerationError};
use lora_models::gpt2::CausalLm;

use crate::common::{beams, run, short, tiny_model};

fn error(model: &CausalLm, prompts: &[&[u32]], config: &GenerationConfig) -> String {
    match model.generate(prompts, config).unwrap_err() {
        ModelError::Generation(error) => error.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn prompts_are_checked() {
    let model = tiny_model(40);
    let error = |prompts: &[&[u32]], max_new_tokens| error(&model, prompts, &short(max_new_tokens));
    assert_eq!(
        error(&[], 1),
        "there are no prompts: generation needs at least one"
    );
    assert_eq!(
        error(&[&[1], &[]], 1),
        "prompt 1 has no tokens: give it at least one, such as the model's `bos_token_id`"
    );
    assert_eq!(
        error(&[&[1, 40]], 1),
        "prompt 0 has the token id 40 at position 1, outside the model's vocabulary of 40: use the \
         tokenizer that belongs to the model"
    );
    assert_eq!(
        error(&[&[1; 24]], 1),
        "prompt 0 has 24 tokens, which leaves no room for a new one in the model's `n_positions` \
         of 24: shorten the prompt"
    );
    assert_eq!(
        error(&[&[1; 20]], 5),
        "prompt 0 has 20 tokens, and with `max_new_tokens` of 5 the sequence would be longer than \
         the model's `n_positions` of 24: set `max_new_tokens` to at most 4 or shorten the prompt"
    );
    assert_eq!(run(&model, &[&[1; 20]], &short(4))[0].len(), 4);
}

#[test]
fn a_batch_of_different_lengths_needs_a_pad_token() {
    let model = tiny_model(40);
    let prompts: [&[u32]; 3] = [&[1, 2], &[3], &[4, 5, 6]];
    assert_eq!(
        error(&model, &prompts, &short(2)),
        "a batch with prompts of 1 to 3 tokens needs `pad_token_id`, which neither the generation \
         configuration nor the model's sets: set it, to the end token if the vocabulary has none of \
         its own (padding is masked)"
    );
    let own = GenerationConfig {
        pad_token_id: Some(39),
        ..short(2)
    };
    let texts = run(&model, &prompts, &own);
    // Or the model's.
    let config = model.config().clone().with_pad_token_id(3);
    let device = lora_core::default_device();
    let mut padding = CausalLm::new(&config, &device);
    padding.transformer = model.transformer.clone();
    assert_eq!(run(&padding, &prompts, &short(2)), texts);
    // Equal lengths need none.
    assert_eq!(run(&model, &[&[1, 2], &[3, 4]], &short(2)).len(), 2);
}

#[test]
fn tokens_of_the_configuration_are_in_the_vocabulary() {
    let model = tiny_model(40);
    let end = GenerationConfig {
        eos_token_id: Some(vec![3, 40]),
        ..short(2)
    };
    assert_eq!(
        error(&model, &[&[1]], &end),
        "`eos_token_id` is 40, outside the model's vocabulary of 40"
    );
    let pad = GenerationConfig {
        pad_token_id: Some(41),
        ..short(2)
    };
    assert_eq!(
        error(&model, &[&[1]], &pad),
        "`pad_token_id` is 41, outside the model's vocabulary of 40"
    );
}

#[test]
fn the_configuration_is_checked() {
    let model = tiny_model(40);
    assert_eq!(
        error(&model, &[&[1]], &beams(2, 0)),
        "`num_beams` is 0, expected at least 1"
    );
    let streamed = model.generate_with(&[[1]], &beams(2, 3), |_| ControlFlow::Continue(()));
    assert_eq!(
        streamed.unwrap_err().to_string(),
        "`num_beams` is 3, expected 1: beam search has no tokens to give before it ends"
    );
}

#[test]
fn logits_have_to_be_finite() {
    let mut model = tiny_model(40);
    let broken = model.transformer.ln_f.gamma.val() * f32::NAN;
    model.transformer.ln_f.gamma = Param::from_tensor(broken);
    for config in [short(2), beams(2, 2)] {
        assert_eq!(
            error(&model, &[&[1]], &config),
            "the model's logits for new token 0 of prompt 0 are not finite: its weights are damaged \
             or too large for their precision"
        );
    }
    // Only the second token's, by a damaged position.
    let mut model = tiny_model(40);
    let positions = model.transformer.wpe.weight.val();
    let damaged = positions.clone().narrow(0, 2, 1) * f32::INFINITY;
    let damaged = positions.slice_assign([2..3, 0..16], damaged);
    model.transformer.wpe.weight = Param::from_tensor(damaged);
    assert_eq!(run(&model, &[&[1]], &short(2))[0].len(), 2);
    let found = error(&model, &[&[1, 4], &[5, 6]], &short(2));
    assert!(found.contains("new token 1 of prompt 0"), "{found}");
}

#[test]
fn something_has_to_be_left() {
    let model = tiny_model(4);
    let once = |config| GenerationConfig {
        no_repeat_ngram_size: 1,
        ..config
    };
    assert_eq!(run(&model, &[&[1]], &once(short(3)))[0].len(), 3);
    assert_eq!(
        error(&model, &[&[1]], &once(short(4))),
        "no token is left for new token 3 of prompt 0: `no_repeat_ngram_size`, `min_new_tokens` and \
         `repetition_penalty` exclude all; loosen them or lower `max_new_tokens`"
    );
    assert_eq!(
        error(&model, &[&[1]], &once(beams(4, 2))),
        "beam search found 0 of 1 sequences (`num_return_sequences`) for prompt 0: the vocabulary \
         and `no_repeat_ngram_size` allow no more; lower `num_return_sequences`"
    );
    let six = GenerationConfig {
        num_return_sequences: 7,
        ..once(beams(3, 7))
    };
    let found = model.generate(&[[1]], &six).unwrap_err();
    assert!(
        matches!(
            found,
            ModelError::Generation(GenerationError::TooFewSequences {
                prompt: 0,
                found: 6,
                asked: 7
            })
        ),
        "{found}"
    );
}
