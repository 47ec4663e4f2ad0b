//! What holds for the E2E challenge's metrics whatever the texts.

use lora_train::text_metrics::{BleuDefinition, Meteor, NistDefinition, bleu, nist, score};
use proptest::prelude::*;

type Corpus = (Vec<String>, Vec<Vec<String>>);

/// Texts of a few words that often repeat, with punctuation and some characters of any kind.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => "(the|a|pub|Pub|pubs|river|near|isn't|family-friendly|café|5|0|£20-25)",
        2 => "[.,!?'\"&;:()-]{1,3}",
        1 => "\\PC{1,4}",
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
}

fn reference() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("There is {text}"))
}

fn corpus() -> impl Strategy<Value = Corpus> {
    let segment = (text(), prop::collection::vec(reference(), 1..4));
    prop::collection::vec(segment, 1..5).prop_map(|segments| segments.into_iter().unzip())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn scores_are_within_their_ranges((hypotheses, references) in corpus()) {
        let metrics = score(&hypotheses, &references).unwrap();
        let other = [
            bleu(&hypotheses, &references, BleuDefinition::Pymteval).unwrap(),
            bleu(&hypotheses, &references, BleuDefinition::Sacrebleu).unwrap(),
        ];
        for value in [metrics.bleu, metrics.meteor, metrics.rouge_l, other[0], other[1]] {
            prop_assert!((0.0..=1.0).contains(&value), "{metrics:?} {other:?}");
        }
        prop_assert!((0.0..=10.0 + 1e-9).contains(&metrics.cider), "{metrics:?}");
        let python = nist(&hypotheses, &references, NistDefinition::Pymteval).unwrap();
        for value in [metrics.nist, python] {
            prop_assert!(value >= 0.0 && value.is_finite(), "{metrics:?} {python}");
        }
    }

    #[test]
    fn a_reference_as_hypothesis_scores_1((_, references) in corpus()) {
        let last = |set: &Vec<String>| set[set.len() - 1].clone() + " at the river";
        let hypotheses: Vec<String> = references.iter().map(last).collect();
        let references: Vec<Vec<String>> = references
            .into_iter()
            .zip(&hypotheses)
            .map(|(mut set, hypothesis)| {
                set.push(hypothesis.clone());
                set
            })
            .collect();
        let metrics = score(&hypotheses, &references).unwrap();
        for value in [metrics.bleu, metrics.rouge_l, metrics.meteor] {
            prop_assert!((value - 1.0).abs() < 1e-12, "{metrics:?}");
        }
    }

    #[test]
    fn the_order_of_references_does_not_matter((hypotheses, references) in corpus()) {
        let reversed: Vec<Vec<String>> = references
            .iter()
            .map(|set| set.iter().rev().cloned().collect())
            .collect();
        let (one, other) = (score(&hypotheses, &references).unwrap(), score(&hypotheses, &reversed).unwrap());
        for (one, other) in [
            (one.bleu, other.bleu),
            (one.nist, other.nist),
            (one.rouge_l, other.rouge_l),
            (one.cider, other.cider),
        ] {
            prop_assert!((one - other).abs() < 1e-9, "{one} {other}");
        }
        // Of references that fit equally well METEOR takes the first, so only for each by itself.
        for (index, hypothesis) in hypotheses.iter().enumerate() {
            let meteor = |references: &[Vec<String>]| {
                let references = &references[index..=index];
                Meteor::default().score(std::slice::from_ref(hypothesis), references).unwrap()
            };
            prop_assert!((meteor(&references) - meteor(&reversed)).abs() < 1e-12);
        }
    }

    #[test]
    fn any_text_is_scored(hypothesis in "\\PC*", reference in "\\PC*[a-z]") {
        let metrics = score(&[hypothesis], &[vec![reference]]).unwrap();
        prop_assert!(!metrics.meteor.is_nan() && !metrics.nist.is_nan(), "{metrics:?}");
    }
}
