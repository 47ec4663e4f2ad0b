//! Question answering against transformers, from files to answers.
//!
//! `tests/squad` has what `scripts/make_squad_cases.py` recorded.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::data::dataloader::Progress as Seen;
use burn::data::dataloader::batcher::Batcher;
use burn::tensor::Tensor;
use burn::train::metric::{AccuracyInput, Adaptor, Metric, MetricMetadata, Numeric};
use lora_core::{LoraConfig, ParameterReport, TaskType, default_device};
use lora_core_tests::redrawn;
use lora_models::Tokenizer;
use lora_models::bert::{BertConfig, QuestionAnswering};
use lora_models::tokenizer::train_byte_level_bpe;
use lora_train::data::{EncodeOptions, EncodeProgress, TokenizedDataset};
use lora_train::squad::{
    AnswerOptions, GoldAnswer, NBEST_NAME, NULL_ODDS_NAME, PREDICTIONS_NAME, Question, SpanLogits,
    SquadFeature, SquadFiles, SquadReport, Windows, has_unanswerable, predictions, read_squad,
    span_logits,
};
use lora_train::{Method, Progress, Task, TrainError, Trainer, TrainingConfig, evaluate};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/squad")
        .join(name)
}

fn cases(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(fixture(name)).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    cases
}

fn numbers(list: &Value) -> Vec<i64> {
    let list = list.as_array().unwrap().iter();
    list.map(|number| number.as_i64().unwrap()).collect()
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// The questions of the recorded cases, and their features.
fn recorded(case: &Value) -> (Vec<Question>, TokenizedDataset<SquadFeature>) {
    let questions = read_squad(&fixture("questions.json")).unwrap();
    let (folder, config) = match case["family"].as_str().unwrap() {
        "bert" => (fixture("bert"), BertConfig::default()),
        _ => (
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/roberta-tiny"),
            BertConfig::roberta_base(),
        ),
    };
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    let windows = Windows {
        max_len: size(&case["max_len"]),
        doc_stride: size(&case["stride"]),
    };
    let data = TokenizedDataset::questions(&questions, &tokenizer, &config, windows).unwrap();
    (questions, data)
}

#[test]
fn windows_and_positions_are_those_of_transformers() {
    let mut answered = 0;
    for case in cases("windows.json") {
        let (_, data) = recorded(&case);
        let expected = case["features"].as_array().unwrap();
        assert_eq!(data.examples().len(), expected.len());
        for (feature, expected) in data.examples().iter().zip(expected) {
            let tokens = feature.tokens();
            let ids: Vec<i64> = tokens.ids.iter().map(|id| i64::from(*id)).collect();
            assert_eq!(ids, numbers(&expected["ids"]));
            let second: i32 = tokens.type_ids.iter().sum();
            assert_eq!(i64::from(second), expected["type_ids"]);
            assert_eq!(feature.question(), size(&expected["question"]));
            assert_eq!(feature.context().start, size(&expected["context"]));
            let offsets = (0..ids.len()).filter_map(|token| feature.offsets(token));
            let offsets: Vec<i64> = offsets.flat_map(|(a, b)| [a as i64, b as i64]).collect();
            assert_eq!(offsets, numbers(&expected["offsets"]));
            let place = (feature.start(), feature.end());
            let right = (size(&expected["start"]), size(&expected["end"]));
            assert_eq!(place, right, "{case} {expected}");
            answered += usize::from(right != (0, 0));
        }
    }
    assert!(answered > 80, "{answered}");
}

#[test]
fn answers_are_those_of_transformers() {
    for case in cases("answers.json") {
        let (questions, data) = recorded(&case);
        let values = |row: &Value| numbers(row).iter().map(|n| *n as f32 / 64.0).collect();
        let rows = |key: &str| case[key].as_array().unwrap().iter().map(values);
        let logits: Vec<SpanLogits> = rows("starts")
            .zip(rows("ends"))
            .map(|(start, end)| SpanLogits { start, end })
            .collect();
        for setting in case["settings"].as_array().unwrap() {
            let options = AnswerOptions {
                n_best_size: size(&setting["n_best_size"]),
                max_answer_length: size(&setting["max_answer_length"]),
                version_2: setting["version_2"].as_bool().unwrap(),
                null_score_diff_threshold: setting["null_score_diff_threshold"].as_f64().unwrap(),
            };
            let found = predictions(&questions, data.examples(), &logits, &options).unwrap();
            for (question, found) in questions.iter().zip(&found) {
                let id = &question.id;
                let what = format!("{options:?}: {question:?}");
                assert_eq!(found.text, setting["predictions"][id], "{what}");
                assert_eq!(found.n_best.len(), size(&setting["counts"][id]), "{what}");
                assert_eq!(json!(found.null_odds), setting["null_odds"][id], "{what}");
                let best = setting["n_best"][id].as_array().unwrap();
                for (found, expected) in found.n_best.iter().zip(best) {
                    assert_eq!(found.text, expected["text"], "{what}");
                    for (found, key) in [
                        (found.start_logit, "start_logit"),
                        (found.end_logit, "end_logit"),
                        (found.probability, "probability"),
                    ] {
                        let expected = expected[key].as_f64().unwrap();
                        assert!((found - expected).abs() < 1e-6, "{key}: {found} {what}");
                    }
                }
            }
        }
    }
}

/// A question about `context`, answered by `answer` where that first occurs.
fn question(id: &str, context: &Arc<str>, question: &str, answer: Option<&str>) -> Question {
    let answer = answer.map(|text| GoldAnswer {
        text: text.to_string(),
        start: context[..context.find(text).unwrap()].chars().count(),
    });
    Question {
        id: id.to_string(),
        question: question.to_string(),
        context: context.clone(),
        is_impossible: answer.is_none(),
        answers: answer.into_iter().collect(),
    }
}

fn questions() -> Vec<Question> {
    let towns: Arc<str> = "Orlo is on the river Wen. Velt was founded in 1412.".into();
    let rain: Arc<str> = "In Tarmen it rains.".into();
    vec![
        question("1", &towns, "Which river?", Some("Wen")),
        question("2", &towns, "When?", Some("in 1412")),
        question("3", &rain, "Where does it rain?", Some("Tarmen")),
        question("4", &rain, "Why?", None),
    ]
}

fn tiny() -> (Tokenizer, BertConfig) {
    let questions = questions();
    let texts = questions.iter().map(|question| &question.context);
    let tokenizer = train_byte_level_bpe(texts, 300, 1).unwrap();
    let config = BertConfig {
        vocab_size: 300,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 66,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        initializer_range: 0.3,
        ..BertConfig::roberta_base()
    };
    (tokenizer, config)
}

fn features(max_len: usize) -> TokenizedDataset<SquadFeature> {
    let (tokenizer, config) = tiny();
    let windows = Windows {
        max_len,
        doc_stride: 4,
    };
    TokenizedDataset::questions(&questions(), &tokenizer, &config, windows).unwrap()
}

#[test]
fn windows_are_kept_for_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let (tokenizer, config) = tiny();
    let encode = |questions: &[Question], doc_stride| {
        let done = Cell::new(0);
        let callback = |count, _| done.set(count);
        let options = EncodeOptions::new(64)
            .with_cache(folder.path())
            .with_progress(EncodeProgress::Callback(&callback));
        let data =
            TokenizedDataset::questions_with(questions, &tokenizer, &config, doc_stride, &options);
        (data.unwrap(), done.get())
    };
    let mut questions = questions();
    let (first, done) = encode(&questions, 4);
    assert_eq!(done, questions.len());
    assert_eq!(first.examples(), features(64).examples());
    let (again, done) = encode(&questions, 4);
    assert_eq!((again.examples(), done), (first.examples(), 0));
    // The answers are none of what is kept.
    questions[0].answers.clear();
    let (without, done) = encode(&questions, 4);
    assert_eq!((without.examples()[0].end(), done), (0, 0));
    assert_eq!(encode(&questions, 5).1, questions.len());
    for entry in fs::read_dir(folder.path()).unwrap() {
        fs::write(entry.unwrap().path(), b"damaged").unwrap();
    }
    assert_eq!(encode(&questions, 4).1, questions.len());
}

/// The mean cross-entropy of the right start and end, straight from the definition, with targets
/// smoothed over the tokens.
fn reference(logits: &SpanLogits, feature: &SquadFeature, smoothing: f64) -> f64 {
    let loss = |logits: &[f32], place: usize| {
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let of = |x: f32| sum.ln() - f64::from(x);
        let all: f64 = logits.iter().map(|x| of(*x)).sum();
        (1.0 - smoothing) * of(logits[place]) + smoothing * all / logits.len() as f64
    };
    (loss(&logits.start, feature.start()) + loss(&logits.end, feature.end())) / 2.0
}

#[test]
fn neither_the_loss_nor_the_logits_see_padding() {
    let data = features(64);
    let model = QuestionAnswering::new(&tiny().1, &default_device());
    let logits = span_logits(&model, data.examples(), 1).unwrap();
    let together = span_logits(&model, data.examples(), 4).unwrap();
    for (alone, together) in logits.iter().zip(&together) {
        for (a, b) in alone.start.iter().zip(&together.start) {
            assert!((a - b).abs() < 1e-5);
        }
        assert_eq!(alone.end.len(), together.end.len());
    }
    let batch = model
        .batcher()
        .batch(data.examples().to_vec(), &default_device());
    assert!(batch.input.attention_mask.is_some());
    for smoothing in [0.0, 0.1] {
        let losses = QuestionAnswering::losses(&model.output(batch.clone(), smoothing));
        let losses: Vec<f32> = losses.try_into_vec_as().unwrap();
        for ((loss, logits), feature) in losses.iter().zip(&logits).zip(data.examples()) {
            let expected = reference(logits, feature, smoothing);
            assert!(
                (f64::from(*loss) - expected).abs() < 1e-5,
                "{loss} {expected}"
            );
        }
    }
    let evaluation = evaluate(&model, &data, 3).unwrap();
    let losses = logits.iter().zip(data.examples());
    let sum: f64 = losses.map(|(l, feature)| reference(l, feature, 0.0)).sum();
    assert!((evaluation.measures.loss() - sum / 4.0).abs() < 1e-5);
    assert_eq!(
        (evaluation.count, evaluation.unit.as_ref()),
        (4, "features")
    );
}

#[test]
fn the_metric_counts_whole_answers() {
    let device = default_device();
    let output = lora_train::squad::SpanOutput {
        losses: Tensor::zeros([3], &device),
        start_logits: Tensor::from_data([[0.0, 2.0], [3.0, 1.0], [0.0, 1.0]], &device),
        end_logits: Tensor::from_data([[0.0, 2.0], [0.0, 1.0], [3.0, 1.0]], &device),
        starts: Tensor::from_data([1, 0, 1], &device),
        ends: Tensor::from_data([1, 0, 1], &device),
    };
    let mut metric = burn::train::metric::AccuracyMetric::new();
    let input: AccuracyInput = output.adapt();
    let metadata = MetricMetadata {
        progress: Seen::new(1, 1, None),
        iteration: None,
        lr: None,
    };
    metric.update(&input, &metadata).unwrap();
    assert!((metric.value().unwrap().current() - 100.0 / 3.0).abs() < 1e-4);
}

#[test]
fn a_model_learns_its_questions() {
    let (_, config) = tiny();
    let (questions, data) = (questions(), features(64));
    let training = TrainingConfig::new()
        .with_max_steps(Some(120))
        .with_batch_size(4)
        .with_learning_rate(1e-2);
    let model = redrawn(QuestionAnswering::new(&config, &default_device()), 0.3);
    let model = Method::Full.prepare(model).unwrap();
    let trainer = Trainer::new(training).progress(Progress::Silent);
    let trained = trainer.train(model, &data, &data).unwrap();
    let evaluation = trained.evaluation.unwrap();
    assert_eq!(evaluation.get("accuracy"), 1.0, "{evaluation}");

    let options = AnswerOptions {
        version_2: true,
        ..AnswerOptions::new()
    };
    let report = SquadReport::of(&trained.model, &questions, &data, &options, 2).unwrap();
    let answers: Vec<&str> = report
        .answers
        .iter()
        .map(|(_, a)| a.text.as_str())
        .collect();
    assert_eq!(answers, ["Wen", "in 1412", "Tarmen", ""]);
    let measured = report.evaluation();
    assert_eq!((measured.count, measured.unit.as_ref()), (4, "questions"));
    for name in [
        "exact_match",
        "f1",
        "has_answer_exact_match",
        "has_answer_f1",
        "no_answer_exact_match",
        "no_answer_f1",
        "best_exact_match",
        "best_f1",
    ] {
        assert_eq!(measured.get(name), 1.0, "{name}");
    }
    assert!((measured.measures.loss() - evaluation.measures.loss()).abs() < 1e-6);

    // A threshold that takes every answer, and one that takes none.
    for (threshold, expected) in [(1e9, [1.0, 0.0]), (-1e9, [0.0, 1.0])] {
        let options = AnswerOptions {
            null_score_diff_threshold: threshold,
            ..options
        };
        let report = SquadReport::of(&trained.model, &questions, &data, &options, 2).unwrap();
        let measured = report.evaluation();
        let found = ["has_answer_f1", "no_answer_f1"].map(|name| measured.get(name));
        assert_eq!(found, expected);
        assert_eq!(measured.get("best_f1"), 1.0);
    }

    let folder = tempfile::tempdir().unwrap();
    report.write(folder.path()).unwrap();
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.path().join(name)).unwrap()).unwrap()
    };
    let expected = json!({"1": "Wen", "2": "in 1412", "3": "Tarmen", "4": ""});
    assert_eq!(read(PREDICTIONS_NAME), expected);
    assert_eq!(read(NBEST_NAME)["1"][0]["text"], "Wen");
    assert!(read(NULL_ODDS_NAME)["4"].as_f64().unwrap() > 0.0);
    let text = fs::read_to_string(folder.path().join(PREDICTIONS_NAME)).unwrap();
    assert!(text.starts_with("{\n    \"1\": \"Wen\",\n"), "{text}");
    // Version 1.1 has no odds, and leaves none lying about.
    let options = AnswerOptions::new();
    let report = SquadReport::of(
        &trained.model,
        &questions[..3],
        &features_of_three(),
        &options,
        8,
    );
    let report = report.unwrap();
    report.write(folder.path()).unwrap();
    assert!(!folder.path().join(NULL_ODDS_NAME).exists());
    let measured = report.evaluation();
    let names: Vec<&str> = measured.measures.0.keys().map(String::as_str).collect();
    assert_eq!(names, ["loss", "exact_match", "f1"]);
}

fn features_of_three() -> TokenizedDataset<SquadFeature> {
    let of_three = |feature: &&SquadFeature| feature.question() < 3;
    let features = features(64);
    TokenizedDataset::new(
        features
            .examples()
            .iter()
            .filter(of_three)
            .cloned()
            .collect(),
    )
    .unwrap()
}

#[test]
fn the_head_trains_with_the_adapters() {
    let (_, config) = tiny();
    let model = || QuestionAnswering::new(&config, &default_device());
    let head = 16 * 2 + 2;
    let only_head = ParameterReport::of(&Method::Head.prepare(model()).unwrap());
    assert_eq!(only_head.trainable(), head);
    let lora = LoraConfig::new()
        .with_r(2)
        .with_task_type(TaskType::QuestionAnswering);
    let lora = ParameterReport::of(&Method::lora(lora, &config).prepare(model()).unwrap());
    assert_eq!(
        (lora.lora, lora.saved + lora.bias),
        (2 * 2 * (16 + 16), head)
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let data = features(64);
    let (tokenizer, config) = tiny();
    let windows = |max_len, doc_stride| {
        let windows = Windows {
            max_len,
            doc_stride,
        };
        TokenizedDataset::questions(&questions(), &tokenizer, &config, windows).unwrap_err()
    };
    assert!(matches!(windows(65, 4), TrainError::MaxLen { .. }));
    let message = windows(20, 16).to_string();
    assert!(message.contains("lower the stride"), "{message}");

    let refused = |features: &[SquadFeature], logits: &[SpanLogits], questions: &[Question]| {
        let error = predictions(questions, features, logits, &AnswerOptions::new()).unwrap_err();
        assert!(matches!(error, TrainError::Spans { .. }), "{error}");
    };
    let model = QuestionAnswering::new(&config, &default_device());
    let mut logits = span_logits(&model, data.examples(), 4).unwrap();
    refused(data.examples(), &logits[1..], &questions());
    refused(data.examples(), &logits, &questions()[1..]);
    logits[2].end.pop();
    refused(data.examples(), &logits, &questions());

    for (options, field) in [
        (
            AnswerOptions {
                n_best_size: 0,
                ..AnswerOptions::new()
            },
            "n_best_size",
        ),
        (
            AnswerOptions {
                max_answer_length: 0,
                ..AnswerOptions::new()
            },
            "max_answer_length",
        ),
        (
            AnswerOptions {
                null_score_diff_threshold: f64::NAN,
                ..AnswerOptions::new()
            },
            "null_score_diff_threshold",
        ),
    ] {
        let message = options.validate().unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
}

fn read(bytes: &[u8], name: &str) -> Result<Vec<Question>, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    read_squad(&path)
}

fn file(qas: Value) -> Value {
    let context = "Ünd the river Wen.";
    json!({"version": "v2.0", "data": [
        {"title": "t", "paragraphs": []},
        {"title": "t", "paragraphs": [{"context": context, "qas": qas}]}
    ]})
}

fn answered(start: i64) -> Value {
    json!([{"id": "a", "question": " Which?", "answers": [{"text": "Wen", "answer_start": start}]}])
}

#[test]
fn the_official_format_is_read() {
    let text = file(answered(14)).to_string();
    let questions = read(text.as_bytes(), "train.json").unwrap();
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].question, " Which?");
    assert_eq!(questions[0].answers[0].start, 14);
    assert!(!has_unanswerable(&questions));
    let mut packed = flate2_of(text.as_bytes());
    assert_eq!(read(&packed, "train.json.gz").unwrap(), questions);
    packed.truncate(packed.len() / 2);
    let error = read(&packed, "train.json.gz").unwrap_err();
    assert!(matches!(error, TrainError::Io { .. }), "{error}");
    let impossible = json!([{"id": "a", "question": "?", "answers": [], "is_impossible": true,
                             "plausible_answers": [{"text": "Wen", "answer_start": 14}]}]);
    let impossible = read(file(impossible).to_string().as_bytes(), "dev.json").unwrap();
    assert!(has_unanswerable(&impossible) && impossible[0].answers.is_empty());
    // It is at another place, which is as long.
    assert_eq!(
        read(file(answered(3)).to_string().as_bytes(), "x")
            .unwrap()
            .len(),
        1
    );
}

/// Packed by gzip.
fn flate2_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_the_question() {
    let twice = json!([answered(14)[0], answered(14)[0]]);
    let both = json!([{"id": "a", "question": "?", "is_impossible": true,
                       "answers": [{"text": "Wen", "answer_start": 14}]}]);
    for (value, expected) in [
        (json!([]), "file: no JSON object"),
        (json!({"version": "1.1"}), "file: it has no `data`"),
        (
            json!({"data": [{"paragraphs": [{"qas": []}]}]}),
            "data[0].paragraphs[0]: it has no `context`",
        ),
        (
            file(json!({})),
            "data[1].paragraphs[0]: `qas` is not a list",
        ),
        (
            file(json!([{"question": "?"}])),
            "data[1].paragraphs[0].qas[0]: it has no `id`",
        ),
        (
            file(json!([{"id": "a", "answers": []}])),
            "question a (data[1].paragraphs[0].qas[0])",
        ),
        (
            file(answered(-1)),
            "answers[0]: `answer_start` is not a number from 0",
        ),
        (
            file(answered(16)),
            "question a: the answer \"Wen\" begins at character 16",
        ),
        (file(twice), "question a: another question has this id"),
        (file(both), "it is impossible and has answers"),
        (file(json!([])), "has no examples"),
    ] {
        let message = read(value.to_string().as_bytes(), "train.json").unwrap_err();
        let message = message.to_string();
        assert!(
            message.contains(expected) && message.contains("train.json"),
            "{message}"
        );
    }
    let message = read(b"{\"data\": [", "train.json").unwrap_err().to_string();
    assert!(
        message.contains("line 1") && message.contains("SQuAD's JSON"),
        "{message}"
    );
    let message = read(b"PAR1", "train.parquet").unwrap_err().to_string();
    assert!(
        message.contains("damaged or unreadable parquet file"),
        "{message}"
    );
}

#[test]
fn the_files_of_a_folder_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let add = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        path
    };
    let missing = |expected: &str| {
        let message = SquadFiles::find(place).unwrap_err().to_string();
        assert!(
            message.contains(expected) && message.contains(place),
            "{message}"
        );
    };
    let found = || {
        let files = SquadFiles::find(place).unwrap();
        [files.train, files.dev].concat()
    };
    missing("no train data: expected train.json, train-v2.0.json, train-v1.1.json");
    let dev = add("dev-v2.0.json");
    let old = [add("train-v1.1.json.gz"), add("dev-v1.1.json")];
    assert_eq!(found(), old, "both of one version");
    let new = [add("train-v2.0.json"), dev];
    assert_eq!(found(), new);
    let shard = add("plain_text/train-00000-of-00001.parquet");
    missing("no dev data: expected dev.json, maybe with .gz, or validation-*.parquet");
    let shards = [shard, add("plain_text/validation-00000-of-00001.parquet")];
    assert_eq!(found(), shards);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200), packed: bool) {
        let bytes = if packed { flate2_of(&bytes) } else { bytes };
        prop_assert!(read(&bytes, "train.json").is_err());
        prop_assert!(read(&bytes, "train.parquet").is_err());
    }

    /// The right format with a part that is anything.
    #[test]
    fn no_part_of_a_file_is_too_strange(start: i64, text in ".{0,8}", id in ".{0,3}", context in ".{0,12}") {
        let qas = json!([{"id": id, "question": text, "answers": [{"text": text, "answer_start": start}]}]);
        let file = json!({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]});
        let (tokenizer, config) = tiny();
        if let Ok(questions) = read(file.to_string().as_bytes(), "train.json") {
            let windows = Windows { max_len: 40, doc_stride: 2 };
            let data = TokenizedDataset::questions(&questions, &tokenizer, &config, windows);
            if let Ok(data) = data {
                let logits = |feature: &SquadFeature| {
                    let values: Vec<f32> = (0..feature.tokens().ids.len()).map(|i| i as f32).collect();
                    SpanLogits { start: values.clone(), end: values }
                };
                let logits: Vec<SpanLogits> = data.examples().iter().map(logits).collect();
                for version_2 in [false, true] {
                    let options = AnswerOptions { version_2, ..AnswerOptions::new() };
                    prop_assert!(predictions(&questions, data.examples(), &logits, &options).is_ok());
                }
            }
        }
    }
}
