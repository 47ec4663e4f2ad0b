//! Against what transformers computes, and the errors.

use serde_json::{Value, json};
use tempfile::TempDir;

use std::path::PathBuf;

use super::*;

const TEXTS: [&str; 3] = [
    "the cat sat on the mat, the cat did",
    "and the mat was flat",
    "that's the cat's hat",
];

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tokenizers")
        .join(family)
}

/// A copy of a fixture's vocabulary, for tests that add or damage files.
fn copy(family: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["vocab.json", "merges.txt", "vocab.txt"] {
        let from = fixture(family).join(name);
        if from.exists() {
            fs::copy(from, folder.path().join(name)).unwrap();
        }
    }
    folder
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// Compares with what transformers gave, see scripts/make_tokenizer_cases.py.
fn compare(family: &str) {
    let text = fs::read_to_string(fixture(family).join("cases.json")).unwrap();
    let groups: Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for group in groups.as_array().unwrap() {
        let config = group["config"].to_string();
        let folder = copy(family);
        fs::write(folder.path().join("tokenizer_config.json"), &config).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        for case in group["cases"].as_array().unwrap() {
            let max_len = case["max_len"].as_u64().unwrap() as usize;
            let text = case["text"].as_str().unwrap();
            let encoding = tokenizer
                .encode(text, case["pair"].as_str(), max_len)
                .unwrap();
            assert_eq!(encoding.ids, ids(&case["ids"]), "{config}: {case}");
            assert_eq!(
                encoding.type_ids,
                ids(&case["type_ids"]),
                "{config}: {case}"
            );
            let decoded = tokenizer.decode(&encoding.ids, true).unwrap();
            assert_eq!(
                decoded,
                case["decoded"].as_str().unwrap(),
                "{config}: {case}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 38, "only {compared} cases");
}

#[test]
fn roberta_gives_the_ids_of_transformers() {
    compare("roberta");
}

#[test]
fn bert_gives_the_ids_of_transformers() {
    compare("bert");
}

#[test]
fn gpt2_gives_the_ids_of_transformers() {
    compare("gpt2");
}

#[test]
fn special_tokens_are_found_in_every_family() {
    let roberta = Tokenizer::from_folder(&fixture("roberta")).unwrap();
    assert_eq!((roberta.pad_id(), roberta.mask_id()), (Some(1), Some(340)));
    assert_eq!(
        (roberta.id_of("</s>"), roberta.id_of("no such")),
        (Some(2), None)
    );
    assert_eq!(roberta.vocab_size(), 341);
    let bert = Tokenizer::from_folder(&fixture("bert")).unwrap();
    assert_eq!((bert.pad_id(), bert.mask_id()), (Some(0), Some(4)));
    assert_eq!(bert.vocab_size(), 145);
    let gpt2 = Tokenizer::from_folder(&fixture("gpt2")).unwrap();
    assert_eq!((gpt2.pad_id(), gpt2.eos_id()), (None, Some(330)));
    assert_eq!((roberta.eos_id(), bert.eos_id()), (Some(2), None));
}

#[test]
fn batches_keep_their_order() {
    let tokenizer = Tokenizer::from_folder(&fixture("bert")).unwrap();
    let texts: Vec<String> = (0..50).map(|i| format!("the {i} fox")).collect();
    let batch = tokenizer.encode_batch(&texts, 6).unwrap();
    for (text, encoding) in texts.iter().zip(&batch) {
        assert_eq!(*encoding, tokenizer.encode(text, None, 6).unwrap());
    }
    let pairs = [("the fox", "jumps"), ("a dog", "and a fox")];
    let batch = tokenizer.encode_pairs(&pairs, 7).unwrap();
    for ((text, pair), encoding) in pairs.iter().zip(&batch) {
        assert_eq!(*encoding, tokenizer.encode(text, Some(pair), 7).unwrap());
    }
    assert!(tokenizer.encode_batch(&texts, 1).is_err());
}

#[test]
fn length_must_hold_the_special_tokens() {
    let roberta = Tokenizer::from_folder(&fixture("roberta")).unwrap();
    let error = roberta.encode("x", Some("y"), 3).unwrap_err();
    assert!(
        matches!(
            error,
            TokenizerError::MaxLenTooSmall {
                max_len: 3,
                special: 4
            }
        ),
        "{error}"
    );
    assert_eq!(roberta.encode("x", Some("y"), 4).unwrap().ids, [0, 2, 2, 2]);
    assert_eq!(roberta.encode("x", None, 2).unwrap().ids, [0, 2]);
}

#[test]
fn training_gives_roberta_layout_and_the_same_result_each_time() {
    let tokenizer = train_byte_level_bpe(TEXTS.iter(), 268, 2).unwrap();
    for (id, token) in (0u32..).zip(ROBERTA_SPECIAL) {
        assert_eq!(tokenizer.id_of(token), Some(id));
    }
    assert_eq!(tokenizer.vocab_size(), 268);
    assert!(
        tokenizer.id_of("Ġthe").is_some(),
        "frequent words are whole"
    );
    let text = " Ünseen the cat's 漢字\n";
    let encoding = tokenizer.encode(text, Some("mat"), 100).unwrap();
    assert_eq!(encoding.ids.iter().filter(|id| **id == 2).count(), 3);
    assert!(!encoding.ids.contains(&3), "no text is unknown");
    let decoded = tokenizer.decode(&encoding.ids, false).unwrap();
    assert_eq!(decoded, format!("<s>{text}</s></s>mat</s>"));
    let masked = tokenizer.encode("the <mask>", None, 100).unwrap();
    let the = tokenizer.encode("the", None, 100).unwrap();
    assert_eq!(
        masked.ids[..masked.ids.len() - 2],
        the.ids[..the.ids.len() - 1]
    );

    let again = train_byte_level_bpe(TEXTS.map(str::to_owned).into_iter(), 268, 2).unwrap();
    assert_eq!(again.0.get_vocab(true), tokenizer.0.get_vocab(true));
    let rare = train_byte_level_bpe(TEXTS.iter(), 10_000, 2).unwrap();
    assert!(
        rare.vocab_size() < 300,
        "the texts have few pairs that occur twice"
    );
}

#[test]
fn training_for_gpt2_puts_nothing_around_a_text() {
    let tokenizer = train_gpt2_bpe(TEXTS.iter(), 264, 2).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.eos_id()), (264, Some(0)));
    assert!(tokenizer.id_of("<s>").is_none() && tokenizer.id_of("Ġthe").is_some());
    let text = " Ünseen the cat's 漢字\n";
    let encoding = tokenizer.encode(text, None, 100).unwrap();
    assert!(!encoding.ids.contains(&0));
    assert_eq!(tokenizer.decode(&encoding.ids, false).unwrap(), text);
    let two = tokenizer.encode("a<|endoftext|>", None, 100).unwrap();
    assert_eq!(two.ids.last(), Some(&0));
    assert!(train_gpt2_bpe(TEXTS.iter(), 256, 2).is_err());
}

#[test]
fn vocabulary_must_hold_every_byte() {
    let error = train_byte_level_bpe(TEXTS.iter(), 260, 2).unwrap_err();
    assert!(matches!(
        error,
        TokenizerError::VocabTooSmall {
            asked: 260,
            least: 261
        }
    ));
    let smallest = train_byte_level_bpe(TEXTS.iter(), 261, 2).unwrap();
    assert_eq!(smallest.vocab_size(), 261);
}

#[test]
fn saved_tokenizer_is_the_same_and_forgets_foreign_padding_and_truncation() {
    let folder = TempDir::new().unwrap();
    let made = folder.path().join("new").join("folder");
    let tokenizer = train_byte_level_bpe(TEXTS.iter(), 300, 2).unwrap();
    tokenizer.save(&made).unwrap();
    let expected = tokenizer
        .encode("the cat <mask>", Some("flat"), 64)
        .unwrap();

    let path = made.join("tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["truncation"] = json!({
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
    });
    json["padding"] = json!({
        "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"
    });
    fs::write(&path, json.to_string()).unwrap();
    let loaded = Tokenizer::from_folder(&made).unwrap();
    assert_eq!(
        loaded.encode("the cat <mask>", Some("flat"), 64).unwrap(),
        expected
    );
    // Saving over it leaves one file, without the settings.
    loaded.save(&made).unwrap();
    assert_eq!(fs::read_dir(&made).unwrap().count(), 1);
    let json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(json["truncation"].is_null() && json["padding"].is_null());
}

#[test]
fn errors_name_the_file_and_the_way_out() {
    let empty = TempDir::new().unwrap();
    let error = Tokenizer::from_folder(empty.path())
        .unwrap_err()
        .to_string();
    for part in ["tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(
        error.contains(&empty.path().display().to_string()),
        "{error}"
    );

    let damaged = |family: &str, name: &str, bytes: &[u8], expected: &str| {
        let folder = copy(family);
        fs::write(folder.path().join(name), bytes).unwrap();
        let error = Tokenizer::from_folder(folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(name) && error.contains(expected),
            "{name}: {error}"
        );
    };
    damaged("bert", "tokenizer.json", b"{\"version\": ", "line 1");
    damaged("bert", "tokenizer.json", b"{}", "damaged");
    damaged("bert", "vocab.txt", b"[PAD]\n\xff\xfe\n", "not UTF-8");
    damaged("bert", "vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n", "\"[SEP]\"");
    damaged("bert", "tokenizer_config.json", b"nonsense", "damaged");
    damaged("roberta", "vocab.json", b"{\"<s>\": -1}", "line 1");
    damaged("roberta", "vocab.json", b"{\"<s>\": 0}", "\"</s>\"");
    damaged(
        "roberta",
        "merges.txt",
        b"#version: 0.2\nh e\nlonely\n",
        "line 3",
    );
    damaged(
        "roberta",
        "merges.txt",
        b"#version: 0.2\nh nosuchtoken\n",
        "nosuchtoken",
    );
    // Half of a pair of files is no tokenizer.
    let folder = copy("roberta");
    fs::remove_file(folder.path().join("merges.txt")).unwrap();
    assert!(matches!(
        Tokenizer::from_folder(folder.path()),
        Err(TokenizerError::Missing { .. })
    ));
}

#[test]
fn unwritable_folder_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let tokenizer = train_byte_level_bpe(TEXTS.iter(), 270, 2).unwrap();
    let error = tokenizer.save(&file).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot write") && error.contains("tokenizer.json"),
        "{error}"
    );
}
