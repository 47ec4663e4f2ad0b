//! Whole training runs of a tiny random model.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use burn::tensor::TensorData;
use lora_core::LoraConfig;
use lora_core::state::{parameters, state};
use lora_core::{DEFAULT_ADAPTER, LoraModule, default_device};
use lora_core_tests::redrawn;
use lora_models::Tokenizer;
use lora_models::bert::{BertConfig, SequenceClassification};
use lora_models::tokenizer::train_byte_level_bpe;
use lora_train::data::{Example, Label, TokenizedDataset};
use lora_train::{
    LOG_NAME, Method, Progress, TrainError, Trained, Trainer, TrainingConfig, evaluate, predict,
};

const EPOCHS: usize = 20;
const GOOD: [&str; 4] = ["good", "fine", "moving", "warm"];
const BAD: [&str; 4] = ["bad", "dull", "empty", "cold"];

fn tokenizer() -> Tokenizer {
    let words = GOOD.iter().chain(&BAD).map(|word| format!("a {word} film"));
    train_byte_level_bpe(words, 320, 1).unwrap()
}

fn tiny_config() -> BertConfig {
    BertConfig {
        vocab_size: 320,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 34,
        // Dropout elsewhere would hide what so small a model learns.
        hidden_dropout_prob: 0.0,
        ..BertConfig::roberta_base()
    }
}

/// Sentences whose class one word decides.
fn data() -> TokenizedDataset {
    let example = |word: &str, class| Example {
        text: format!("a {word} film"),
        pair: None,
        label: Label::Class(class),
    };
    let examples: Vec<_> = (0..4)
        .flat_map(|i| [example(GOOD[i], 1), example(BAD[i], 0)])
        .cycle()
        .take(44)
        .collect();
    TokenizedDataset::encode(&examples, &tokenizer(), &tiny_config(), 16).unwrap()
}

/// A prepared model; always on the same base.
fn model(method: &Method) -> SequenceClassification {
    // Tests run side by side: one of them draws it.
    static BASE: OnceLock<SequenceClassification> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let base = SequenceClassification::new(&tiny_config(), &default_device());
        redrawn(base, 0.2)
    });
    method.prepare(base.clone()).unwrap()
}

fn lora() -> Method {
    let config = LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(8.0)
        .with_target_modules("all-linear");
    Method::lora(config, &tiny_config())
}

fn config() -> TrainingConfig {
    TrainingConfig::new()
        .with_epochs(EPOCHS)
        .with_batch_size(8)
        .with_learning_rate(1e-2)
        .with_max_len(16)
}

fn trainer(config: TrainingConfig) -> Trainer<SequenceClassification> {
    Trainer::new(config).progress(Progress::Silent)
}

fn run(method: &Method) -> Trained<SequenceClassification> {
    let trainer = trainer(config());
    trainer.train(model(method), &data(), &data()).unwrap()
}

type State = Vec<(String, TensorData)>;

/// The values of the parameters that do not train, and of those that do.
fn values(model: &SequenceClassification) -> (State, State) {
    let trainable: Vec<String> = parameters(model)
        .into_iter()
        .filter(|p| p.trainable)
        .map(|p| p.path)
        .collect();
    let frozen = state(model, |info| !trainable.contains(&info.path));
    (frozen, state(model, |info| trainable.contains(&info.path)))
}

#[test]
fn a_program_that_measures_in_its_own_way_saves_the_last_evaluation() {
    let config = config().with_epochs(1);
    let run = |evaluate| {
        let trainer = trainer(config.clone()).evaluate_at_end(evaluate);
        trainer
            .train(model(&Method::Head), &data(), &data())
            .unwrap()
    };
    let (with, without) = (run(true), run(false));
    assert!(with.evaluation.is_some() && without.evaluation.is_none());
    // What is measured in training is as ever.
    assert_eq!(without.history.evaluations.len(), 1);
}

#[test]
fn every_method_learns_and_freezes_the_rest() {
    // The random features of the encoder leave the head alone with less to learn from.
    for (method, left) in [(lora(), 0.5), (Method::Full, 0.5), (Method::Head, 0.9)] {
        let prepared = model(&method);
        let before = values(&prepared);
        let trained = trainer(config()).train(prepared, &data(), &data()).unwrap();
        let evaluations = trained.history.evaluations.iter();
        let losses: Vec<f64> = evaluations.map(|record| record.train_loss).collect();
        assert!(
            losses[EPOCHS - 1] < left * losses[0],
            "{}: {losses:?}",
            method.name()
        );
        let after = values(&trained.model);
        assert_eq!(before.0.is_empty(), method == Method::Full);
        // Bit for bit.
        assert!(
            before.0 == after.0,
            "{}: a frozen weight changed",
            method.name()
        );
        for ((name, before), (_, after)) in before.1.iter().zip(&after.1) {
            // The bias of the keys moves all scores of a row alike, and the rest has no gradient.
            let moves = !name.ends_with("key.bias") && !name.contains("token_type_embeddings");
            assert!(
                !moves || before != after,
                "{}: {name} did not change",
                method.name()
            );
        }
    }
}

#[test]
fn the_history_is_complete() {
    let trained = run(&lora());
    let (history, config) = (&trained.history, config());
    assert_eq!(history.evaluations.len(), EPOCHS);
    // 44 examples in batches of 8.
    assert_eq!(history.steps.len(), EPOCHS * 6);
    assert_eq!(trained.stopped, None);
    // 0.06 of 120 steps are warm-up.
    assert_eq!(history.steps[0].learning_rate, 0.0);
    let highest = history
        .steps
        .iter()
        .map(|step| step.learning_rate)
        .fold(0.0, f64::max);
    assert_eq!(highest, config.learning_rate);
    assert_eq!(history.steps[8].learning_rate, config.learning_rate);
    let first = &history.evaluations[0];
    // The mean over the examples, the last batch having only 4.
    let weighted = |range: std::ops::Range<usize>| -> f64 {
        let losses = &history.steps[range];
        losses
            .iter()
            .enumerate()
            .map(|(i, s)| s.loss * if i == 5 { 4.0 } else { 8.0 })
            .sum()
    };
    assert!((first.train_loss - weighted(0..6) / 44.0).abs() < 1e-6);
    // The last epoch's development numbers are those of the final model.
    let last = history.evaluations.last().unwrap();
    let evaluation = trained.evaluation.unwrap();
    assert_eq!(last.dev.0.len(), evaluation.measures.0.len());
    for (name, value) in &evaluation.measures.0 {
        assert!((last.dev.get(name) - value).abs() < 1e-5, "{name}");
    }
    assert_eq!(evaluation, evaluate(&trained.model, &data(), 8).unwrap());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    // Flex's random generator is the process's: other tests would take numbers from it.
    let exclusive = std::env::var_os("RUN_IN_ITS_OWN_PROCESS");
    if exclusive.is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_same_seed_gives_the_same_run"])
            .env("RUN_IN_ITS_OWN_PROCESS", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let prepared = model(&lora());
    let run = |seed| {
        let config = config().with_seed(seed);
        let trainer = trainer(config);
        trainer.train(prepared.clone(), &data(), &data()).unwrap()
    };
    let (first, second, other) = (run(42), run(42), run(43));
    assert_eq!(first.history.steps, second.history.steps);
    assert!(values(&first.model) == values(&second.model));
    assert_ne!(first.history.steps, other.history.steps);
}

#[test]
fn a_saved_adapter_predicts_the_same() {
    let trained = run(&lora());
    let folder = tempfile::tempdir().unwrap();
    trained
        .model
        .save_adapter(DEFAULT_ADAPTER, folder.path(), true)
        .unwrap();
    let loaded = model(&lora())
        .hotswap_adapter(DEFAULT_ADAPTER, folder.path())
        .unwrap();
    let texts = ["a good film", "dull", "a film", "good bad good"];
    let said = |model| predict(model, &tokenizer(), &texts, 16, 2).unwrap();
    assert_eq!(said(&loaded), said(&trained.model));
}

#[test]
fn the_last_and_the_best_checkpoint_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let trainer = trainer(config()).folder(folder.path());
    let trained = trainer.train(model(&lora()), &data(), &data()).unwrap();
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let best = trained.best_step.unwrap();
    let mut expected = vec![
        ".lock".to_string(),
        format!("checkpoint-{best}"),
        format!("checkpoint-{}", EPOCHS * 6),
        LOG_NAME.to_string(),
    ];
    expected.sort();
    expected.dedup();
    assert_eq!(names, expected);
    let lowest = trained
        .history
        .evaluations
        .iter()
        .min_by(|a, b| a.dev.loss().total_cmp(&b.dev.loss()));
    assert_eq!(lowest.unwrap().step, best);
}

#[test]
fn a_run_that_explodes_is_an_error() {
    let mut broken = model(&Method::Full);
    let weight = broken.base.embeddings.word_embeddings.weight.clone();
    broken.base.embeddings.word_embeddings.weight = weight.map(|weight| weight * f32::NAN);
    let error = trainer(config())
        .train(broken, &data(), &data())
        .unwrap_err();
    assert!(
        matches!(&error, TrainError::Diverged { step: 1, examples, .. } if examples.len() == 8),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("the training loss became NaN at step 1, with the examples "),
        "{message}"
    );
}

#[test]
fn checkpoints_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let trainer = trainer(config()).folder(&file);
    let error = trainer.train(model(&lora()), &data(), &data()).unwrap_err();
    assert!(matches!(error, TrainError::Io { .. }), "{error:?}");
}

#[test]
fn lines_go_where_they_are_asked_to() {
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let output = Output::default();
    let config = config().with_epochs(2);
    let progress = Progress::Lines(Box::new(output.clone()));
    let trainer = Trainer::new(config).progress(progress);
    trainer
        .train(model(&Method::Head), &data(), &data())
        .unwrap();
    let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    let starts: Vec<_> = text
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(starts, ["step 6 (epoch 1)", "step 12 (epoch 2)"]);
}
