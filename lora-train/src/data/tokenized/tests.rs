use super::*;
use crate::data::EncodeProgress;
use crate::testing::{example, tiny_config, tokenizer};
use burn::data::dataset::InMemDataset;
use lora_models::bert::BertConfig;
use std::cell::Cell;
use std::path::Path;

fn encode(
    examples: &[Example],
    config: &BertConfig,
    max_len: usize,
) -> Result<TokenizedDataset, TrainError> {
    TokenizedDataset::encode(examples, &tokenizer(), config, max_len)
}

#[test]
fn texts_become_ids_with_special_tokens() {
    let config = tiny_config();
    let examples = [example("good film", 1), example("a bad film", 0)];
    let data = encode(&examples, &config, 16).unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!(data.examples()[0].label, Label::Class(1));
    let expected = tokenizer().encode("good film", None, 16).unwrap();
    let ids: Vec<u32> = data
        .get(0)
        .unwrap()
        .tokens
        .ids
        .iter()
        .map(|id| *id as u32)
        .collect();
    assert_eq!(ids, expected.ids);
}

#[test]
fn long_texts_are_cut() {
    let long = "good ".repeat(50);
    let data = encode(&[example(&long, 1)], &tiny_config(), 8).unwrap();
    assert_eq!(data.examples()[0].tokens.ids.len(), 8);
}

#[test]
fn pairs_and_single_texts_mix() {
    let pair = Example {
        pair: Some("bad".into()),
        ..example("good", 1)
    };
    let data = encode(&[pair.clone(), example("good", 0)], &tiny_config(), 16).unwrap();
    let expected = tokenizer().encode("good", Some("bad"), 16).unwrap();
    assert_eq!(data.examples()[0].tokens.ids.len(), expected.ids.len());
    assert!(data.examples()[1].tokens.ids.len() < expected.ids.len());
    assert_eq!(
        encode(&[pair], &tiny_config(), 16).unwrap().examples()[0],
        data.examples()[0]
    );
}

#[test]
fn what_the_model_cannot_take_is_an_error() {
    let config = tiny_config();
    let good = [example("good", 1)];
    let message = encode(&good, &config, 99).unwrap_err().to_string();
    assert!(
        message.contains("99 tokens") && message.contains("model's 32 positions"),
        "{message}"
    );
    let small = BertConfig {
        vocab_size: 10,
        ..config.clone()
    };
    let message = encode(&good, &small, 16).unwrap_err().to_string();
    assert!(
        message.contains("does not fit") && message.contains("0 to 9"),
        "{message}"
    );
    let message = encode(&[example("odd", 2)], &config, 16)
        .unwrap_err()
        .to_string();
    assert_eq!(message, "example 0 (\"odd\") has label 2, expected 0 to 1");
    assert!(matches!(
        encode(&[], &config, 16),
        Err(TrainError::Empty { .. })
    ));
    let value = Example {
        label: Label::Value(0.5),
        ..example("warm", 0)
    };
    let message = encode(&[value], &config, 16).unwrap_err().to_string();
    let expected = "example 0 (\"warm\") has the value 0.5, and the model has 2 label(s): use \
                    class indices";
    assert!(message.starts_with(expected), "{message}");
    let message = encode(&good, &config, 1).unwrap_err().to_string();
    assert!(message.contains("raise it to at least"), "{message}");
}

#[test]
fn a_text_without_tokens_is_an_error() {
    // Nothing goes around a text of GPT-2.
    let tokenizer = lora_models::tokenizer::train_gpt2_bpe(["a film"].into_iter(), 260, 1);
    let config = lora_models::gpt2::Gpt2Config {
        vocab_size: 260,
        n_positions: 16,
        ..lora_models::gpt2::Gpt2Config::small()
    };
    let examples = [example("a", 0), example("", 1)];
    let error = TokenizedDataset::encode(&examples, &tokenizer.unwrap(), &config, 8);
    let message = error.unwrap_err().to_string();
    assert_eq!(
        message,
        "text 1 (\"\") has no tokens: expected at least one"
    );
}

#[test]
fn one_label_is_for_numbers() {
    let config = tiny_config().with_num_labels(1);
    let value = |value| Example {
        label: Label::Value(value),
        ..example("warm", 0)
    };
    let data = encode(&[value(2.5)], &config, 16).unwrap();
    assert_eq!(data.examples()[0].label, Label::Value(2.5));
    for (wrong, expected) in [
        (
            example("warm", 0),
            "has class 0, and the model has 1 label(s): use numbers",
        ),
        (
            value(f32::NAN),
            "has the value NaN, and the model has 1 label(s): leave",
        ),
    ] {
        let message = encode(&[wrong], &config, 16).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

/// The last one fails.
struct Half;

impl Dataset<Example> for Half {
    fn get(&self, index: usize) -> Result<Example, DatasetError> {
        match index {
            0 => Ok(example("good", 1)),
            _ => Err(DatasetError::new(std::io::Error::other(
                "the network is gone",
            ))),
        }
    }

    fn len(&self) -> usize {
        2
    }
}

#[test]
fn data_sets_of_ones_own() {
    let (tokenizer, config) = (tokenizer(), tiny_config());
    let examples = vec![example("good film", 1), example("a bad film", 0)];
    let data = InMemDataset::new(examples.clone());
    let data = TokenizedDataset::from_dataset(&data, &tokenizer, &config, 16).unwrap();
    let expected = encode(&examples, &config, 16).unwrap();
    assert_eq!(data.examples(), expected.examples());
    let error = TokenizedDataset::from_dataset(&Half, &tokenizer, &config, 16).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("example 1 of the data set cannot be had: "),
        "{message}"
    );
    assert!(message.contains("the network is gone"), "{message}");
}

/// Encodes with a cache in `folder`, and says how many texts were encoded for it.
fn cached(folder: &Path, examples: &[Example]) -> Result<(TokenizedDataset, usize), TrainError> {
    let encoded = Cell::new(0);
    let callback = |done, _| encoded.set(done);
    let options = EncodeOptions::new(16)
        .with_cache(folder)
        .with_progress(EncodeProgress::Callback(&callback));
    let (tokenizer, config) = (tokenizer(), tiny_config());
    let data = TokenizedDataset::encode_with(examples, &tokenizer, &config, &options)?;
    Ok((data, encoded.get()))
}

#[test]
fn the_cache_spares_the_work_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made/if/needed");
    let pair = Example {
        pair: Some("good ".repeat(30)),
        ..example("bad", 1)
    };
    let examples = [example("a good film", 1), pair];
    let expected = encode(&examples, &tiny_config(), 16).unwrap();
    assert!(expected.examples()[1].cut);
    for work in [2, 0, 0] {
        let (data, encoded) = cached(&folder, &examples).unwrap();
        assert_eq!(data.examples(), expected.examples());
        assert_eq!(encoded, work);
    }
    // Labels are not made from texts.
    let relabelled = examples.clone().map(|e| Example {
        label: Label::Class(0),
        ..e
    });
    let (data, encoded) = cached(&folder, &relabelled).unwrap();
    assert_eq!((data.examples()[0].label, encoded), (Label::Class(0), 0));
    assert_eq!(cached(&folder, &examples[..1]).unwrap().1, 1);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn a_damaged_cache_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let examples = [example("a good film", 1), example("bad", 0)];
    let expected = cached(folder.path(), &examples).unwrap().0;
    let entry = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
    let path = entry.unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bytes in [&[][..], b"foreign", &whole[..whole.len() - 1], &changed] {
        std::fs::write(&path, bytes).unwrap();
        let (data, encoded) = cached(folder.path(), &examples).unwrap();
        assert_eq!((data.examples(), encoded), (expected.examples(), 2));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = cached(&file, &[example("good", 1)]).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("cannot keep token ids in "),
        "{message}"
    );
    assert!(
        message.contains("file") && message.ends_with("none at all"),
        "{message}"
    );
}
