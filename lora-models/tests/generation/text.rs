//! From texts to texts, and text as it comes.

use std::path::Path;

use lora_models::generation::{GenerationConfig, TextStream};
use lora_models::{ModelError, Tokenizer};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::{beams, run, short, tiny_model};

fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers/roberta");
    Tokenizer::from_folder(&folder).unwrap()
}

#[test]
fn texts_are_continued() {
    let (model, tokenizer) = (tiny_model(341), tokenizer());
    let prompts = ["the cat", "a"];
    let ids = prompts.map(|prompt| tokenizer.encode(prompt, None, 24).unwrap().ids);
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let config = GenerationConfig {
        pad_token_id: Some(1),
        num_return_sequences: 2,
        ..beams(6, 3)
    };
    let texts = model.generate_text(&tokenizer, &prompts, &config).unwrap();
    let expected: Vec<String> = run(&model, &ids, &config)
        .iter()
        .map(|tokens| tokenizer.decode(tokens, true).unwrap())
        .collect();
    assert_eq!(texts.len(), 4);
    assert_eq!(texts, expected);
}

#[test]
fn special_tokens_are_left_out() {
    // A model that knows special tokens only, and a prompt of such.
    let (model, tokenizer) = (tiny_model(4), tokenizer());
    let texts = model.generate_text(&tokenizer, &[""], &short(6)).unwrap();
    assert_eq!(texts, [""]);
    let prompt = tokenizer.encode("", None, 24).unwrap().ids;
    let ids = run(&model, &[&prompt], &short(6));
    assert_ne!(tokenizer.decode(&ids[0], false).unwrap(), "");
}

#[test]
fn a_prompt_is_not_cut() {
    let (model, tokenizer) = (tiny_model(341), tokenizer());
    let long = "the cat ".repeat(30);
    let error = model
        .generate_text(&tokenizer, &[long], &short(2))
        .unwrap_err();
    assert!(matches!(error, ModelError::Generation(_)), "{error}");
    assert!(error.to_string().contains("`n_positions` of 24"), "{error}");
}

/// Streams `ids`: the pieces, with what was held back at the end.
fn pieces(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Vec<String> {
    let mut stream = TextStream::new(tokenizer, skip_special);
    let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    pieces
}

#[test]
fn characters_come_whole() {
    let tokenizer = tokenizer();
    let text = "the 🐈 sat: é, 漢字!";
    let ids = tokenizer.encode(text, None, 100).unwrap().ids;
    let pieces = pieces(&tokenizer, &ids, true);
    assert_eq!(pieces.concat(), text);
    assert!(
        pieces
            .iter()
            .all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER))
    );
    assert!(pieces.iter().any(|piece| piece.contains('🐈')));
}

#[test]
fn an_unfinished_character_is_shown_at_the_end_only() {
    let tokenizer = tokenizer();
    let mut ids = tokenizer.encode("a🐈", None, 100).unwrap().ids;
    // Without `</s>` and the last byte.
    ids.truncate(ids.len() - 2);
    let pieces = pieces(&tokenizer, &ids, true);
    let (last, before) = pieces.split_last().unwrap();
    assert_eq!((before.concat().as_str(), last.as_str()), ("a", "\u{FFFD}"));
}

proptest! {
    #[test]
    fn a_stream_gives_the_text(text in "[ a-e🐈é漢\n]{0,30}") {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode(&text, None, 500).unwrap().ids;
        let pieces = pieces(&tokenizer, &ids, true);
        prop_assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)));
        prop_assert_eq!(pieces.concat(), text);
    }

    #[test]
    fn a_stream_gives_what_decoding_at_once_gives(ids in vec(0u32..341, 0..40), skip: bool) {
        let tokenizer = tokenizer();
        let whole = tokenizer.decode(&ids, skip).unwrap();
        prop_assert_eq!(pieces(&tokenizer, &ids, skip).concat(), whole);
    }
}
