//! The E2E challenge's metrics against the programs that define them, and their properties.
//!
//! `tests/text_metrics` has hypotheses, references and, in `expected.json`, what
//! `scripts/make_text_metrics_cases.py` recorded for them as a whole, in parts and one by one.

use std::path::{Path, PathBuf};

use lora_train::text_metrics::{
    BleuDefinition, Meteor, NistDefinition, bleu, cider, nist, read_pairs, rouge_l, score,
    score_files,
};
use serde_json::Value;

type Corpus = (Vec<String>, Vec<Vec<String>>);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/text_metrics")
        .join(name)
}

/// The recorded corpora: name, texts and scores.
fn recorded() -> Vec<(String, Corpus, Value)> {
    let path = fixture("expected.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let all = read_pairs(&fixture("references.txt"), &fixture("hypotheses.txt")).unwrap();
    let corpora = expected["corpora"].as_object().unwrap();
    assert_eq!(corpora.len(), all.0.len() + 4);
    let corpus = |(name, scores): (&String, &Value)| {
        let segments = scores["segments"].as_array().unwrap().iter();
        let segments: Vec<usize> = segments.map(|i| i.as_u64().unwrap() as usize).collect();
        let hypotheses = segments.iter().map(|i| all.0[*i].clone()).collect();
        let references = segments.iter().map(|i| all.1[*i].clone()).collect();
        (name.clone(), (hypotheses, references), scores.clone())
    };
    corpora.iter().map(corpus).collect()
}

/// Compares a metric with the recorded score at `pointer` in each corpus that has one.
#[track_caller]
fn compare(pointer: &str, metric: impl Fn(&Corpus) -> f64) {
    let mut compared = 0;
    for (name, corpus, scores) in recorded() {
        let Some(expected) = scores.pointer(pointer) else {
            continue;
        };
        let (expected, found) = (expected.as_f64().unwrap(), metric(&corpus));
        // The programs add in another order.
        assert!(
            (found - expected).abs() < 1e-9,
            "{name}: {found}, expected {expected}"
        );
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn bleu_is_that_of_mteval_13a() {
    compare("/mteval/bleu", |(h, r)| {
        bleu(h, r, BleuDefinition::Mteval).unwrap()
    });
}

#[test]
fn bleu_is_that_of_pymteval() {
    compare("/pymteval/bleu", |(h, r)| {
        bleu(h, r, BleuDefinition::Pymteval).unwrap()
    });
}

#[test]
fn bleu_is_that_of_sacrebleu() {
    compare("/sacrebleu/bleu", |(h, r)| {
        bleu(h, r, BleuDefinition::Sacrebleu).unwrap()
    });
}

#[test]
fn nist_is_that_of_mteval_13a() {
    compare("/mteval/nist", |(h, r)| {
        nist(h, r, NistDefinition::Mteval).unwrap()
    });
}

#[test]
fn nist_is_that_of_pymteval() {
    compare("/pymteval/nist", |(h, r)| {
        nist(h, r, NistDefinition::Pymteval).unwrap()
    });
}

#[test]
fn nist_is_that_of_nltk_for_single_references() {
    compare("/nltk/nist", |(h, r)| {
        nist(h, r, NistDefinition::Mteval).unwrap()
    });
}

#[test]
fn rouge_l_and_cider_are_those_of_the_coco_caption_scripts() {
    compare("/coco/rouge_l", |(h, r)| rouge_l(h, r).unwrap());
    compare("/coco/cider", |(h, r)| cider(h, r).unwrap());
}

#[test]
fn meteor_is_meteor_1_5_with_two_stages() {
    compare("/meteor", |(h, r)| Meteor::default().score(h, r).unwrap());
    let other = Meteor {
        alpha: 0.5,
        beta: 1.5,
        gamma: 0.4,
        delta: 0.6,
        stem_weight: 0.25,
        ..Meteor::default()
    };
    compare("/meteor-other-parameters", |(h, r)| {
        other.score(h, r).unwrap()
    });
}

#[test]
fn synonyms_and_paraphrases_change_meteor_by_less_than_a_point_on_the_corpus() {
    let (_, (hypotheses, references), scores) = recorded().swap_remove(0);
    let all_stages = scores["meteor-4"].as_f64().unwrap();
    let found = Meteor::default().score(&hypotheses, &references).unwrap();
    assert!((found - all_stages).abs() < 0.01, "{found}, {all_stages}");
}

#[test]
fn score_takes_the_definitions_of_the_e2e_scripts() {
    let (references, hypotheses) = (fixture("references.txt"), fixture("hypotheses.txt"));
    let metrics = score_files(&references, &hypotheses).unwrap();
    let (_, (hypotheses, references), scores) = recorded().swap_remove(0);
    assert_eq!(metrics, score(&hypotheses, &references).unwrap());
    let expected: Vec<String> = [
        ("BLEU", &scores["mteval"]["bleu"]),
        ("NIST", &scores["mteval"]["nist"]),
        ("METEOR", &scores["meteor"]),
        ("ROUGE_L", &scores["coco"]["rouge_l"]),
        ("CIDEr", &scores["coco"]["cider"]),
    ]
    .into_iter()
    .map(|(name, score)| format!("{name}: {:.4}", score.as_f64().unwrap()))
    .collect();
    assert_eq!(metrics.to_string(), expected.join("\n"));
    let json = serde_json::to_value(metrics).unwrap();
    assert_eq!(json["rouge_l"], metrics.rouge_l);
}

#[test]
fn texts_without_words_score_nothing() {
    for (hypothesis, reference) in [("", "a pub"), ("<skipped>", "<skipped>")] {
        let metrics = score(&strings(&[hypothesis]), &[strings(&[reference])]).unwrap();
        assert_eq!((metrics.bleu, metrics.nist), (0.0, 0.0), "{hypothesis:?}");
    }
    // mteval-v13a's smoothing counts half a match where there is none.
    let metrics = score(&strings(&["a pub"]), &[strings(&["<skipped>"])]).unwrap();
    assert_eq!((metrics.bleu, metrics.nist), (0.5, 0.0));
    let metrics = score(&strings(&["..."]), &[strings(&["!"])]).unwrap();
    assert_eq!((metrics.meteor, metrics.cider), (0.0, 0.0));
}

#[test]
fn pymtevals_negative_numbers_of_sequences_do_not_leave_the_range() {
    // pymteval.py itself gives 109.8.
    let hypotheses = strings(&["£20-25 a", ""]);
    let references = [strings(&["There is £20-25 a"]), strings(&["There is"])];
    let score = bleu(&hypotheses, &references, BleuDefinition::Pymteval).unwrap();
    assert_eq!(score, 1.0);
    let score = nist(&hypotheses, &references, NistDefinition::Pymteval).unwrap();
    assert!((score - 0.9456352093454946).abs() < 1e-9, "{score}");
}

#[test]
fn parameters_of_meteor_out_of_range_are_errors() {
    let with = |change: fn(&mut Meteor)| {
        let mut meteor = Meteor::default();
        change(&mut meteor);
        meteor
    };
    for (meteor, expected) in [
        (with(|m| m.alpha = 1.5), "`alpha` is 1.5, expected 0 to 1"),
        (with(|m| m.beta = -1.0), "`beta` is -1, expected 0 or more"),
        (
            with(|m| m.gamma = f64::NAN),
            "`gamma` is NaN, expected 0 to 1",
        ),
        (with(|m| m.delta = -0.1), "`delta` is -0.1, expected 0 to 1"),
        (
            with(|m| m.stem_weight = 2.0),
            "`stem_weight` is 2, expected 0 to 1",
        ),
    ] {
        let texts = strings(&["a"]);
        let error = meteor
            .score(&texts, std::slice::from_ref(&texts))
            .unwrap_err();
        assert_eq!(error.to_string(), format!("METEOR: {expected}"));
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

#[test]
fn references_that_do_not_fit_are_errors() {
    let two = strings(&["one", "two"]);
    for (hypotheses, references, expected) in [
        (
            two.clone(),
            vec![strings(&["one"])],
            "2 hypotheses and references for 1: expected one set of references for each hypothesis",
        ),
        (vec![], vec![], "the list of hypotheses has no examples"),
        (
            two.clone(),
            vec![strings(&["one"]), vec![]],
            "hypothesis 1 (counted from 0) has no reference: expected at least one reference",
        ),
        (
            two,
            vec![strings(&["one", " \t"]), strings(&["two"])],
            "hypothesis 0 (counted from 0) has a blank reference: expected",
        ),
    ] {
        let (h, r) = (&hypotheses, &references);
        let messages = [
            score(h, r).unwrap_err(),
            bleu(h, r, BleuDefinition::Sacrebleu).unwrap_err(),
            nist(h, r, NistDefinition::Pymteval).unwrap_err(),
            Meteor::default().score(h, r).unwrap_err(),
            rouge_l(h, r).unwrap_err(),
            cider(h, r).unwrap_err(),
        ];
        for message in messages.map(|error| error.to_string()) {
            assert!(
                message.starts_with(expected),
                "{message:?}, expected {expected:?}"
            );
        }
    }
}
