//! Measures against the programs that define them, their properties, and what Burn makes of them.
//!
//! `tests/metrics/cases.json` has what `scripts/make_metric_cases.py` recorded of scikit-learn, SciPy
//! and transformers.

use burn::data::dataloader::Progress;
use burn::tensor::{Int, Tensor, TensorData};
use burn::train::metric::{Adaptor, Metric, MetricMetadata, Numeric, NumericEntry};
use burn::train::{ClassificationOutput, RegressionOutput};
use lora_core::default_device;
use lora_train::metric::{
    Average, ClassMetric, ClassScore, ClassesInput, ConfusionMatrix, Correlation,
    CorrelationMetric, SquadAnswer, SquadPart, SquadScores, ValuesInput, exact_match,
    key_and_value, normalize_answer, pearson, spearman, token_f1,
};
use proptest::prelude::*;
use serde_json::Value;

const AVERAGES: [(&str, Average); 3] = [
    ("binary", Average::Binary),
    ("macro", Average::Macro),
    ("weighted", Average::Weighted),
];

/// The recorded cases of a kind.
fn cases(kind: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics/cases.json");
    let mut cases: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let Value::Array(cases) = cases[kind].take() else {
        panic!("no {kind}")
    };
    assert!(!cases.is_empty());
    cases
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().unwrap().iter();
    list.map(|number| number.as_f64().unwrap()).collect()
}

fn pairs(case: &Value) -> Vec<(f64, f64)> {
    let right = numbers(&case["right"]);
    numbers(&case["said"]).into_iter().zip(right).collect()
}

fn matrix(case: &Value) -> ConfusionMatrix {
    let pairs = pairs(case).into_iter();
    pairs
        .map(|(said, right)| (said as usize, right as usize))
        .collect()
}

#[track_caller]
fn close(found: f64, expected: &Value, what: &str) {
    // They add in another order. `null` is a number that is not defined.
    let expected = expected.as_f64().unwrap_or(f64::NAN);
    let same = (found - expected).abs() < 1e-12 || (found.is_nan() && expected.is_nan());
    assert!(same, "{what}: {found}, expected {expected}");
}

#[test]
fn scores_of_classes_are_those_of_scikit_learn() {
    for case in cases("classes") {
        let (matrix, name) = (matrix(&case), case["name"].as_str().unwrap());
        close(matrix.accuracy(), &case["accuracy"], name);
        close(matrix.matthews(), &case["matthews"], name);
        for (key, average) in AVERAGES {
            let name = format!("{name}, {key}");
            close(matrix.f1(average), &case["f1"][key], &name);
            close(matrix.precision(average), &case["precision"][key], &name);
            close(matrix.recall(average), &case["recall"][key], &name);
        }
    }
}

#[test]
fn scores_of_nothing_are_zero() {
    let none = ConfusionMatrix::default();
    assert_eq!(
        (none.total(), none.accuracy(), none.matthews()),
        (0, 0.0, 0.0)
    );
    for (_, average) in AVERAGES {
        assert_eq!(
            (
                none.f1(average),
                none.precision(average),
                none.recall(average)
            ),
            (0.0, 0.0, 0.0)
        );
    }
}

#[test]
fn correlations_are_those_of_scipy() {
    for case in cases("values") {
        let (pairs, name) = (pairs(&case), case["name"].as_str().unwrap());
        close(pearson(&pairs), &case["pearson"], name);
        close(spearman(&pairs), &case["spearman"], name);
    }
}

#[test]
fn a_number_that_is_none_leaves_a_correlation_undefined() {
    let with = |odd: f64| [(1.0, 1.0), (odd, 2.0), (2.0, 3.0)];
    assert!(pearson(&with(f64::NAN)).is_nan());
    assert!(spearman(&with(f64::NAN)).is_nan());
    assert!(pearson(&with(f64::INFINITY)).is_nan());
    // Infinity has a rank, the highest.
    assert!((spearman(&with(f64::INFINITY)) - 0.5).abs() < 1e-12);
}

#[test]
fn answers_are_normalized_as_by_squad() {
    for case in cases("texts") {
        let text = case["text"].as_str().unwrap();
        assert_eq!(
            normalize_answer(text),
            case["normalized"].as_str().unwrap(),
            "{text}"
        );
    }
}

#[test]
fn answers_are_compared_as_by_squad() {
    for case in cases("pairs") {
        let text = |key: &str| case[key].as_str().unwrap();
        let (predicted, gold) = (text("predicted"), text("gold"));
        let what = format!("{predicted:?} for {gold:?}");
        let exact = f64::from(u8::from(exact_match(predicted, gold)));
        close(exact, &case["exact_match"], &what);
        close(token_f1(predicted, gold), &case["f1"], &what);
    }
}

fn answers(case: &Value) -> Vec<SquadAnswer> {
    let answer = |answer: &Value| SquadAnswer {
        gold: serde_json::from_value(answer["gold"].clone()).unwrap(),
        predicted: answer["predicted"].as_str().unwrap().to_string(),
        no_answer: answer["no_answer"].as_f64().unwrap(),
    };
    case["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(answer)
        .collect()
}

#[test]
fn scores_of_answers_are_those_of_squad() {
    for case in cases("squad") {
        let name = case["name"].as_str().unwrap();
        let scores = SquadScores::of(&answers(&case), case["threshold"].as_f64().unwrap());
        let expected = |key: &str| case["scores"].get(key).cloned().unwrap_or(Value::Null);
        let percent = |found: f64, key: &str| {
            let expected = expected(key).as_f64().map(|percent| percent / 100.0).into();
            close(found, &expected, &format!("{name}, {key}"));
        };
        let nothing = SquadPart {
            exact_match: f64::NAN,
            f1: f64::NAN,
            total: 0,
        };
        let parts = [
            ("", Some(scores.all)),
            ("HasAns_", scores.has_answer),
            ("NoAns_", scores.no_answer),
        ];
        for (prefix, part) in parts {
            let part = part.unwrap_or(nothing);
            percent(part.exact_match, &format!("{prefix}exact"));
            percent(part.f1, &format!("{prefix}f1"));
            let total = expected(&format!("{prefix}total"))
                .as_u64()
                .unwrap_or_default();
            assert_eq!(part.total as u64, total, "{name}, {prefix}total");
        }
        percent(scores.best_exact.score, "best_exact");
        percent(scores.best_f1.score, "best_f1");
        close(
            scores.best_exact.threshold,
            &expected("best_exact_thresh"),
            name,
        );
        close(scores.best_f1.threshold, &expected("best_f1_thresh"), name);
    }
}

#[test]
fn scores_of_answers_are_shown_in_percent() {
    let answer = |gold: &[&str], predicted: &str| SquadAnswer {
        gold: gold.iter().map(|gold| gold.to_string()).collect(),
        predicted: predicted.to_string(),
        no_answer: 0.0,
    };
    let mut all = vec![answer(&["blue"], "Blue"), answer(&["dark red"], "red")];
    assert_eq!(
        SquadScores::of(&all, 1.0).to_string(),
        "exact match 50.00 %, F1 83.33 % on 2 questions"
    );
    all.push(answer(&[], "green"));
    assert_eq!(
        SquadScores::of(&all, 1.0).to_string(),
        "exact match 33.33 %, F1 55.56 % on 3 questions (exact match 50.00 %, F1 83.33 % on 2 with \
         an answer; exact match 0.00 %, F1 0.00 % on 1 without)"
    );
    let none = SquadScores::of(&[], 1.0);
    assert_eq!(
        (none.all.total, none.all.f1, none.has_answer),
        (0, 0.0, None)
    );
}

fn metadata() -> MetricMetadata {
    MetricMetadata {
        progress: Progress {
            items_processed: 1,
            items_total: 1,
            unit: None,
        },
        iteration: None,
        lr: None,
    }
}

/// Gives the metric the batches, and says what it shows at the end.
fn after<M: Metric + Numeric>(metric: &mut M, batches: &[M::Input]) -> (String, f64) {
    for batch in batches {
        metric.update(batch, &metadata()).unwrap();
    }
    let NumericEntry::Final(value) = metric.final_value() else {
        panic!("not final")
    };
    let entry = metric.compute().unwrap();
    let stored = NumericEntry::deserialize(&entry.serialized).unwrap();
    assert!(matches!(stored, NumericEntry::Final(_)));
    assert!(stored.current() == value || (stored.current().is_nan() && value.is_nan()));
    (entry.formatted, value)
}

/// A classifier's output of one logit for each of four classes.
fn classes(pairs: &[(usize, i32)]) -> ClassesInput {
    let device = default_device();
    let logits = pairs.iter().flat_map(|(said, _)| {
        (0..4).map(move |class| {
            if class == *said {
                1.0
            } else {
                -0.5 * class as f32
            }
        })
    });
    let targets: Vec<i32> = pairs.iter().map(|pair| pair.1).collect();
    let output = ClassificationOutput::new(
        Tensor::<1>::from_floats([0.0], &device),
        Tensor::from_data(
            TensorData::new(logits.collect::<Vec<f32>>(), [pairs.len(), 4]),
            &device,
        ),
        Tensor::<1, Int>::from_data(TensorData::new(targets, [pairs.len()]), &device),
    );
    output.adapt()
}

#[test]
fn a_metric_of_classes_is_over_all_batches_since_it_was_cleared() {
    let case = &cases("classes")[0];
    let (f1, precision) = (&case["f1"], &case["precision"]);
    let expected = [
        (
            ClassScore::Accuracy,
            "Accuracy",
            "epoch 75.00 %",
            &case["accuracy"],
        ),
        (
            ClassScore::F1(Average::Weighted),
            "F1 (weighted)",
            "epoch 74.64 %",
            &f1["weighted"],
        ),
        (
            ClassScore::Precision(Average::Macro),
            "Precision (macro)",
            "epoch 75.00 %",
            &precision["macro"],
        ),
        (
            ClassScore::Recall(Average::Binary),
            "Recall",
            "epoch 100.00 %",
            &case["recall"]["binary"],
        ),
        (
            ClassScore::Matthews,
            "Matthews correlation",
            "epoch 0.6343",
            &case["matthews"],
        ),
    ];
    for (score, name, text, expected) in expected {
        let mut metric = ClassMetric::new(score);
        after(&mut metric, &[classes(&[(3, 0)])]);
        metric.clear();
        // A target of -100 is none.
        let batches = [
            classes(&[(0, 0), (1, 0), (1, 1), (1, -100)]),
            classes(&[(1, 1), (2, 2), (0, 2), (2, 2), (1, 1)]),
        ];
        let (found, value) = after(&mut metric, &batches);
        assert_eq!((metric.name().as_str(), found.as_str()), (name, text));
        close(key_and_value(name, value).1, expected, name);
    }
}

/// A regressor's output of one number an example.
fn values(pairs: &[(f64, f64)]) -> ValuesInput {
    let device = default_device();
    let column = |pick: fn(&(f64, f64)) -> f64| {
        let column: Vec<f32> = pairs.iter().map(|pair| pick(pair) as f32).collect();
        Tensor::<2>::from_data(TensorData::new(column, [pairs.len(), 1]), &device)
    };
    let loss = Tensor::from_floats([0.0], &device);
    RegressionOutput::new(loss, column(|pair| pair.0), column(|pair| pair.1)).adapt()
}

#[test]
fn a_correlation_is_over_all_batches_since_it_was_cleared() {
    let case = cases("values")
        .into_iter()
        .find(|case| case["name"] == "ties")
        .unwrap();
    let all = pairs(&case);
    for (correlation, key) in [
        (Correlation::Pearson, "pearson"),
        (Correlation::Spearman, "spearman"),
    ] {
        let mut metric = CorrelationMetric::new(correlation);
        after(&mut metric, &[values(&[(0.0, 9.0), (1.0, 0.0)])]);
        metric.clear();
        let (text, value) = after(&mut metric, &[values(&all[..1]), values(&all[1..])]);
        close(value, &case[key], key);
        assert_eq!(text, format!("epoch {value:.4}"));
    }
}

#[test]
fn what_is_not_defined_is_not_available() {
    let mut metric = CorrelationMetric::new(Correlation::Pearson);
    let entry = metric
        .update(&values(&[(1.0, 2.0), (1.0, 3.0)]), &metadata())
        .unwrap();
    // Burn leaves such a batch out of its files and its plots.
    assert!(entry.is_not_available() && entry.formatted == "epoch N/A");
    assert!(metric.value().is_none() && metric.running_value().is_none());
    // At the end Burn needs a number, one that is no better than any.
    let (text, value) = after(&mut metric, &[]);
    assert!(value.is_nan() && text == "epoch N/A");
    let worst = NumericEntry::Final(-1.0);
    assert!(!metric.final_value().better_than(&worst, true));
    let mut metric = ClassMetric::new(ClassScore::Accuracy);
    assert_eq!(after(&mut metric, &[]).0, "epoch N/A");
}

#[test]
fn a_long_epoch_shows_its_last_thousand_numbers_and_ends_with_all() {
    // One way at first, the other way later.
    let up: Vec<_> = (0..600).map(|i| (f64::from(i), f64::from(i))).collect();
    let down: Vec<_> = (0..1000).map(|i| (f64::from(i), f64::from(-i))).collect();
    let mut metric = CorrelationMetric::new(Correlation::Spearman);
    metric.update(&values(&up), &metadata()).unwrap();
    assert_eq!(metric.value().unwrap().current(), 1.0);
    metric.update(&values(&down), &metadata()).unwrap();
    assert_eq!(metric.value().unwrap().current(), -1.0);
    let all = [up, down].concat();
    assert_eq!(metric.final_value().current(), spearman(&all));
}

fn some_classes() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..4_usize, 0..4_usize), 1..40)
}

/// Whole numbers, so that there are ties.
fn some_values() -> impl Strategy<Value = Vec<(f64, f64)>> {
    let value = || (-8..8_i32).prop_map(f64::from);
    prop::collection::vec((value(), value()), 2..40)
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9 || (a.is_nan() && b.is_nan())
}

proptest! {
    #[test]
    fn scores_of_classes_go_together(pairs in some_classes()) {
        let matrix: ConfusionMatrix = pairs.iter().copied().collect();
        let swapped: ConfusionMatrix = pairs.iter().map(|(said, right)| (*right, *said)).collect();
        prop_assert!(same(matrix.recall(Average::Weighted), matrix.accuracy()));
        prop_assert!(same(matrix.matthews(), swapped.matthews()));
        prop_assert!((-1.0..=1.0).contains(&matrix.matthews()));
        for average in [Average::Binary, Average::Macro] {
            prop_assert!(same(matrix.recall(average), swapped.precision(average)));
            prop_assert!(same(matrix.f1(average), swapped.f1(average)));
        }
        let (precision, recall) = (
            matrix.precision(Average::Binary),
            matrix.recall(Average::Binary),
        );
        let mean = 2.0 * precision * recall / (precision + recall).max(1e-9);
        prop_assert!(same(matrix.f1(Average::Binary), mean));
    }

    #[test]
    fn matthews_of_two_classes_is_pearson(pairs in some_classes()) {
        let two = || pairs.iter().map(|(said, right)| (said % 2, right % 2));
        let matthews = two().collect::<ConfusionMatrix>().matthews();
        let numbers: Vec<_> = two().map(|(said, right)| (said as f64, right as f64)).collect();
        // Where that is not defined, Matthews is 0.
        let pearson = Some(pearson(&numbers)).filter(|value| !value.is_nan());
        prop_assert!(same(matthews, pearson.unwrap_or(0.0)));
    }

    #[test]
    fn correlations_know_no_scale(pairs in some_values()) {
        let changed = |change: fn(f64) -> f64| -> Vec<(f64, f64)> {
            pairs.iter().map(|(a, b)| (change(*a), *b)).collect()
        };
        let swapped: Vec<_> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        let (p, s) = (pearson(&pairs), spearman(&pairs));
        prop_assert!(same(pearson(&swapped), p) && same(spearman(&swapped), s));
        prop_assert!(same(pearson(&changed(|v| 3.0 * v + 100.0)), p));
        prop_assert!(same(pearson(&changed(|v| -v)), -p));
        prop_assert!(same(spearman(&changed(f64::exp)), s));
        prop_assert!(p.is_nan() || (-1.0..=1.0).contains(&p));
    }

    #[test]
    fn normalizing_again_changes_nothing_but_articles(text in "[a-zé ,.'\t]{0,30}", other in "[a-c ]{0,12}") {
        let once = normalize_answer(&text);
        prop_assert_eq!(&normalize_answer(&once), &once);
        prop_assert!(exact_match(&text, &once));
        prop_assert!(same(token_f1(&text, &other), token_f1(&other, &text)));
        prop_assert!(!exact_match(&text, &other) || token_f1(&text, &other) == 1.0);
    }
}
