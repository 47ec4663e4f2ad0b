//! Runs that stop and go on, and what else a trainer keeps.
//!
//! Flex's random generator is the process's, and dropout takes numbers from it: these tests run one
//! after the other.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use burn::tensor::{TensorData, TensorReadError};
use burn::train::Interrupter;
use burn::train::metric::{
    LossInput, Metric, MetricAttributes, MetricMetadata, MetricName, SerializedEntry,
};
use lora_core::ops::{MatmulPrecision, has_lower_matmul_precision, matmul_precision};
use lora_core::state::{initialize, values};
use lora_core::{LoraConfig, default_device};
use lora_models::bert::{BertConfig, SequenceClassification};
use lora_models::gpt2::{CausalLm, Gpt2Config};
use lora_models::tokenizer::train_byte_level_bpe;
use lora_train::data::{CausalExample, Example, Label, TokenizedDataset};
use lora_train::{
    Interval, LOG_NAME, Method, Optim, Progress, RunLock, Stopped, Task, TrainError, Trained,
    Trainer, TrainingConfig,
};

fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tiny_config() -> BertConfig {
    BertConfig {
        vocab_size: 320,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 34,
        initializer_range: 0.2,
        ..BertConfig::roberta_base()
    }
}

/// Sentences of three lengths.
fn data() -> TokenizedDataset {
    let texts = [
        "a good film",
        "a dull film",
        "moving and warm and good",
        "cold",
    ];
    let tokenizer = train_byte_level_bpe(texts.into_iter(), 320, 1).unwrap();
    let examples: Vec<_> = (0..20)
        .map(|i| Example {
            text: texts[i % 4].to_string(),
            pair: None,
            label: Label::Class((i + 1) % 2),
        })
        .collect();
    TokenizedDataset::encode(&examples, &tokenizer, &tiny_config(), 16).unwrap()
}

/// The same model in every call, with dropout in the adapters and everywhere else.
fn model() -> SequenceClassification {
    let device = default_device();
    device.seed(5);
    let model = SequenceClassification::new(&tiny_config(), &device);
    initialize(&model);
    let config = LoraConfig::new()
        .with_r(4)
        .with_lora_dropout(0.1)
        .with_target_modules("all-linear");
    Method::lora(config, &tiny_config()).prepare(model).unwrap()
}

/// 3 epochs of 5 steps, measured and saved in the middle of them, too.
fn config() -> TrainingConfig {
    TrainingConfig::new()
        .with_batch_size(2)
        .with_gradient_accumulation_steps(2)
        .with_group_by_length(true)
        .with_learning_rate(1e-2)
        .with_eval_every(Interval::Steps(4))
        .with_save_every(Interval::Steps(2))
        .with_log_every(Interval::Steps(1))
        .with_max_len(16)
}

const STEPS: usize = 15;

fn trainer<T: Task>(config: TrainingConfig) -> Trainer<T> {
    Trainer::new(config).progress(Progress::Silent)
}

fn all<M: burn::module::Module>(model: &M) -> Vec<(String, TensorData)> {
    let values = values(model, |_| true).into_iter();
    values.map(|(info, data)| (info.path, data)).collect()
}

/// All that does not tell the time is the same.
fn assert_same<T: Task>(found: &Trained<T>, expected: &Trained<T>) {
    assert_eq!(found.history.steps, expected.history.steps);
    let measured = |trained: &Trained<T>| -> Vec<_> {
        let records = trained.history.evaluations.iter();
        records
            .map(|r| (r.step, r.epoch, r.train_loss, r.dev.clone()))
            .collect()
    };
    assert_eq!(measured(found), measured(expected));
    assert!(all(&found.model) == all(&expected.model), "other weights");
    assert_eq!(found.evaluation, expected.evaluation);
    assert_eq!(found.best_step, expected.best_step);
}

/// Stops the run after so many batches.
#[derive(Clone)]
struct Stop {
    after: usize,
    interrupter: Interrupter,
}

impl Metric for Stop {
    type Input = LossInput;

    fn update(
        &mut self,
        _input: &LossInput,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.after = self.after.saturating_sub(1);
        if self.after == 0 {
            self.interrupter.stop(Some("enough"));
        }
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::new(String::new(), String::new()))
    }

    fn clear(&mut self) {}

    fn name(&self) -> MetricName {
        MetricName::new("Stop".to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        MetricAttributes::None
    }
}

/// A run in `folder` that stops some time after so many batches, or measurements' batches.
fn interrupted(
    folder: &Path,
    train_batches: usize,
    dev_batches: usize,
) -> Trained<SequenceClassification> {
    let interrupter = Interrupter::new();
    let stop = |after| Stop {
        after,
        interrupter: interrupter.clone(),
    };
    let (train, dev) = (stop(train_batches), stop(dev_batches));
    trainer(config())
        .folder(folder)
        .resume(true)
        .interrupter(interrupter.clone())
        .configure(move |training| training.metric_train(train).metric_valid(dev))
        .train(model(), &data(), &data())
        .unwrap()
}

#[test]
fn a_run_goes_on_as_if_it_had_never_stopped() {
    let _lock = one_at_a_time();
    let whole_folder = tempfile::tempdir().unwrap();
    let trainer = || trainer::<SequenceClassification>(config());
    let whole = trainer()
        .folder(whole_folder.path())
        .train(model(), &data(), &data())
        .unwrap();
    assert_eq!(whole.history.steps.len(), STEPS);
    let log = |folder: &Path| -> Vec<(u64, Option<f64>, Option<f64>)> {
        let text = std::fs::read_to_string(folder.join(LOG_NAME)).unwrap();
        let line = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            (
                value["step"].as_u64().unwrap(),
                value["loss"].as_f64(),
                value["eval_loss"].as_f64(),
            )
        };
        text.lines().map(line).collect()
    };
    let expected_log = log(whole_folder.path());
    // A line for each step and each of 4, 8, 12 and 15.
    assert_eq!(expected_log.len(), STEPS + 4);

    // After a step, in the middle of one, in a measurement, at the end of an epoch, near the end.
    for (train, dev) in [
        (1, 99),
        (2, 99),
        (9, 99),
        (99, 3),
        (19, 99),
        (99, 31),
        (29, 99),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let stopped = interrupted(folder.path(), train, dev);
        let reason = Some("enough".to_string());
        assert_eq!(
            stopped.stopped,
            Some(Stopped::Interrupted { reason }),
            "{train} {dev}"
        );
        assert_eq!(stopped.evaluation, None);
        let resumed = trainer().folder(folder.path()).resume(true);
        let resumed = resumed.train(model(), &data(), &data()).unwrap();
        assert_same(&resumed, &whole);
        assert_eq!(log(folder.path()), expected_log);
    }
}

#[test]
fn it_may_stop_again_and_again() {
    let _lock = one_at_a_time();
    let whole = trainer(config()).train(model(), &data(), &data()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut runs = 0;
    let last = loop {
        runs += 1;
        let trained = interrupted(folder.path(), 5, 99);
        if trained.stopped.is_none() {
            break trained;
        }
    };
    assert!(runs > 2, "{runs}");
    assert_same(&last, &whole);
    // A run that is over is not trained again.
    let again = interrupted(folder.path(), 1, 99);
    assert_same(&again, &whole);
}

#[test]
fn a_killed_process_loses_only_what_came_after_its_last_checkpoint() {
    const FOLDER: &str = "RUN_IN_THIS_FOLDER";
    const NAME: &str = "a_killed_process_loses_only_what_came_after_its_last_checkpoint";
    let _lock = one_at_a_time();
    let run = |folder: &Path| {
        let config = config().with_epochs(8);
        let trainer = trainer(config).folder(folder).resume(true);
        trainer.train(model(), &data(), &data()).unwrap()
    };
    if let Some(folder) = std::env::var_os(FOLDER) {
        run(folder.as_ref());
        return;
    }
    let kills = std::env::var("KILLS").map_or(5, |kills| kills.parse().unwrap());
    let start = Instant::now();
    let whole_folder = tempfile::tempdir().unwrap();
    let whole = run(whole_folder.path());
    let whole_run = start.elapsed();

    let folder = tempfile::tempdir().unwrap();
    let mut done = Vec::new();
    for kill in 0..kills {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Anywhere, the loading included; long enough in the mean to get on.
        let wait = whole_run.mul_f64((kill as f64 * 0.618_034).fract() * 0.6);
        std::thread::sleep(wait + Duration::from_millis(20));
        process.kill().unwrap();
        process.wait().unwrap();
        let checkpoints = std::fs::read_dir(folder.path()).unwrap();
        let steps = checkpoints.filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_prefix("checkpoint-")?.parse::<usize>().ok()
        });
        let last = steps.max().unwrap_or_default();
        assert!(
            done.last().is_none_or(|before| *before <= last),
            "{done:?} {last}"
        );
        done.push(last);
        if last == whole.history.steps.len() {
            // It was over: once more from the beginning.
            assert_same(&run(folder.path()), &whole);
            std::fs::remove_dir_all(folder.path()).unwrap();
            done.clear();
        }
    }
    assert_same(&run(folder.path()), &whole);
}

#[test]
fn accumulated_batches_make_the_same_step() {
    let _lock = one_at_a_time();
    let dry = BertConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..tiny_config()
    };
    let device = default_device();
    device.seed(5);
    let base = SequenceClassification::new(&dry, &device);
    initialize(&base);
    let lora = LoraConfig::new()
        .with_r(4)
        .with_target_modules("all-linear");
    let prepared = Method::lora(lora, &dry).prepare(base).unwrap();
    let run = |size, count| {
        // 20 examples in steps of 8, the last of which has 4.
        let config = config()
            .with_batch_size(size)
            .with_gradient_accumulation_steps(count);
        trainer(config)
            .train(prepared.clone(), &data(), &data())
            .unwrap()
    };
    assert_close(&run(8, 1), &run(2, 4));
    assert_close(&run(8, 1), &run(1, 8));
}

#[test]
fn accumulation_averages_over_tokens() {
    let _lock = one_at_a_time();
    let config = Gpt2Config {
        vocab_size: 12,
        n_positions: 16,
        n_embd: 16,
        n_layer: 1,
        n_head: 2,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::small()
    };
    let device = default_device();
    device.seed(5);
    let base = CausalLm::new(&config, &device);
    initialize(&base);
    let prepared = Method::Full.prepare(base).unwrap();
    // From 1 to 9 tokens to predict: a mean of the batches' means would be another step.
    let examples = (0..9)
        .map(|i| CausalExample::new((0..i + 2).map(|id| id % 12).collect(), 1).unwrap())
        .collect();
    let data = TokenizedDataset::new(examples).unwrap();
    let run = |size, count| {
        let training = TrainingConfig::new()
            .with_batch_size(size)
            .with_gradient_accumulation_steps(count)
            .with_learning_rate(1e-2);
        trainer(training)
            .train(prepared.clone(), &data, &data)
            .unwrap()
    };
    assert_close(&run(9, 1), &run(2, 5));
}

fn assert_close<T: Task>(first: &Trained<T>, second: &Trained<T>) {
    let steps = first.history.steps.iter().zip(&second.history.steps);
    for (first, second) in steps {
        assert!(
            (first.loss - second.loss).abs() < 1e-5,
            "{first:?} {second:?}"
        );
        assert!(
            (first.grad_norm - second.grad_norm).abs() < 1e-4,
            "{first:?} {second:?}"
        );
    }
    for ((name, first), (_, second)) in all(&first.model).iter().zip(&all(&second.model)) {
        for (a, b) in first.iter::<f32>().zip(second.iter::<f32>()) {
            // Adam divides by the gradient: of one that is nearly 0, rounding makes a step.
            assert!(
                (a - b).abs() < 1e-5 || name.contains("key.bias"),
                "{name}: {a} {b}"
            );
        }
    }
}

#[test]
fn recomputed_activations_are_the_same() {
    let _lock = one_at_a_time();
    let run = |again| {
        let config = config().with_epochs(1).with_gradient_checkpointing(again);
        trainer(config).train(model(), &data(), &data()).unwrap()
    };
    assert_close(&run(true), &run(false));
}

#[test]
fn a_loss_that_is_no_number_leaves_the_last_checkpoint() {
    let _lock = one_at_a_time();
    let config = tiny_config().with_num_labels(1);
    let model = || {
        let device = default_device();
        device.seed(5);
        let model = SequenceClassification::new(&config, &device);
        initialize(&model);
        Method::Full.prepare(model).unwrap()
    };
    let labelled = |broken: Option<usize>| {
        let mut examples = data().examples().to_vec();
        for (index, example) in examples.iter_mut().enumerate() {
            let value = if Some(index) == broken { f32::NAN } else { 0.5 };
            example.label = Label::Value(value);
        }
        TokenizedDataset::new(examples).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let training = TrainingConfig::new()
        .with_batch_size(4)
        .with_save_every(Interval::Steps(1));
    let run = |data: &TokenizedDataset, resume| {
        let trainer = trainer(training.clone())
            .folder(folder.path())
            .resume(resume);
        trainer.train(model(), data, &labelled(None))
    };
    let error = run(&labelled(Some(7)), false).unwrap_err();
    let TrainError::Diverged { step, examples, .. } = &error else {
        panic!("{error}")
    };
    assert!(examples.contains(&7) && examples.len() == 4, "{error}");
    if *step > 1 {
        let checkpoint = folder.path().join(format!("checkpoint-{}", step - 1));
        assert!(checkpoint.is_dir(), "{error}");
    }
    // The data is mended, and the run goes on.
    let trained = run(&labelled(None), true).unwrap();
    assert_eq!(trained.history.steps.len(), 15);
    assert!(
        trained
            .history
            .steps
            .iter()
            .all(|step| step.loss.is_finite())
    );
}

#[test]
fn the_best_weights_are_loaded_at_the_end() {
    let _lock = one_at_a_time();
    let run = |folder: Option<&Path>| {
        let config = config()
            .with_epochs(6)
            .with_eval_every(Interval::Steps(1))
            // What is worst is early, so that it is not what the run ends with.
            .with_greater_is_better(Some(true))
            .with_load_best_at_end(true);
        let mut trainer = trainer(config);
        if let Some(folder) = folder {
            trainer = trainer.folder(folder);
        }
        trainer.train(model(), &data(), &data()).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    for trained in [run(None), run(Some(folder.path()))] {
        let records = &trained.history.evaluations;
        let best = records
            .iter()
            .max_by(|a, b| a.dev.loss().total_cmp(&b.dev.loss()))
            .unwrap();
        assert_eq!(trained.best_step, Some(best.step));
        assert_ne!(best.step, records.last().unwrap().step);
        let loss = trained.evaluation.unwrap().get("loss");
        assert!(
            (loss - best.dev.loss()).abs() < 1e-6,
            "{loss} {}",
            best.dev.loss()
        );
    }
}

#[test]
fn moments_in_eight_bits_go_on_too() {
    let _lock = one_at_a_time();
    // The token embeddings are large enough for 8 bits.
    let model = || {
        let device = default_device();
        device.seed(5);
        let model = SequenceClassification::new(&tiny_config(), &device);
        initialize(&model);
        Method::Full.prepare(model).unwrap()
    };
    let config = config().with_optim(Optim::AdamW8bit);
    let whole = trainer(config.clone())
        .train(model(), &data(), &data())
        .unwrap();
    let plain = trainer(config.clone().with_optim(Optim::AdamW))
        .train(model(), &data(), &data())
        .unwrap();
    assert_ne!(whole.history.steps, plain.history.steps);

    let folder = tempfile::tempdir().unwrap();
    let run = |stop_after| {
        let interrupter = Interrupter::new();
        let stop = Stop {
            after: stop_after,
            interrupter: interrupter.clone(),
        };
        trainer(config.clone())
            .folder(folder.path())
            .resume(true)
            .interrupter(interrupter)
            .configure(move |training| training.metric_train(stop))
            .train(model(), &data(), &data())
            .unwrap()
    };
    assert_eq!(run(13).history.steps.len(), 7);
    assert_same(&run(1000), &whole);
}

#[test]
fn products_of_bf16_last_as_long_as_their_run() {
    let _lock = one_at_a_time();
    let run = |bf16| {
        let config = config().with_epochs(1).with_bf16(bf16);
        trainer::<SequenceClassification>(config).train(model(), &data(), &data())
    };
    match run(true) {
        Ok(_) => assert!(has_lower_matmul_precision(&default_device())),
        Err(error) => {
            assert!(!has_lower_matmul_precision(&default_device()));
            assert!(error.to_string().contains("`bf16` is true on"), "{error}");
        }
    }
    assert_eq!(matmul_precision(), MatmulPrecision::Highest);
}

#[test]
fn the_order_has_a_seed_of_its_own() {
    let _lock = one_at_a_time();
    let run = |data_seed| {
        let config = config()
            .with_epochs(1)
            .with_group_by_length(false)
            .with_data_seed(data_seed);
        trainer(config)
            .train(model(), &data(), &data())
            .unwrap()
            .history
            .steps
    };
    assert_eq!(run(None), run(Some(config().seed)));
    assert_ne!(run(None), run(Some(7)));
}

#[test]
fn a_run_that_gets_no_better_stops() {
    let _lock = one_at_a_time();
    let config = config()
        .with_learning_rate(1e-9)
        .with_warmup_ratio(0.0)
        .with_epochs(20)
        .with_eval_every(Interval::Steps(1))
        .with_early_stopping_patience(Some(3))
        .with_early_stopping_threshold(0.1);
    let folder = tempfile::tempdir().unwrap();
    let run = |resume| {
        let trainer = trainer(config.clone()).folder(folder.path()).resume(resume);
        trainer.train(model(), &data(), &data()).unwrap()
    };
    let trained = run(false);
    assert_eq!(trained.stopped, Some(Stopped::Early));
    assert_eq!(trained.history.steps.len(), 4);
    assert!(trained.evaluation.is_some());
    assert_same(&run(true), &trained);
}

#[test]
fn a_folder_belongs_to_one_run() {
    let _lock = one_at_a_time();
    let folder = tempfile::tempdir().unwrap();
    let run = |config: TrainingConfig| trainer(config).folder(folder.path());
    run(config()).train(model(), &data(), &data()).unwrap();
    let error = run(config()).train(model(), &data(), &data()).unwrap_err();
    assert!(
        matches!(error, TrainError::CheckpointsExist { .. }),
        "{error}"
    );
    let other = config().with_learning_rate(0.5);
    let error = run(other.clone())
        .resume(true)
        .train(model(), &data(), &data())
        .unwrap_err();
    assert!(
        error.to_string().contains("its learning_rate is 0.01"),
        "{error}"
    );
    let fewer = TokenizedDataset::new(data().examples()[1..].to_vec()).unwrap();
    let error = run(config())
        .resume(true)
        .train(model(), &fewer, &data())
        .unwrap_err();
    assert!(error.to_string().contains("training data"), "{error}");
    run(other)
        .overwrite(true)
        .train(model(), &data(), &data())
        .unwrap();
}

#[test]
fn two_runs_at_once_are_refused() {
    let _lock = one_at_a_time();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let second = move |training: burn::train::SupervisedTraining<_>| {
        // The first run holds the folder by now.
        let error = trainer::<SequenceClassification>(config())
            .folder(&path)
            .overwrite(true)
            .train(model(), &data(), &data())
            .unwrap_err();
        assert!(matches!(error, TrainError::FolderInUse { .. }), "{error}");
        training
    };
    let first = trainer(config()).folder(folder.path()).configure(second);
    first.train(model(), &data(), &data()).unwrap();
}

#[test]
fn a_folder_that_was_taken_before_is_its_runs() {
    let _lock = one_at_a_time();
    let folder = tempfile::tempdir().unwrap();
    let taken = Arc::new(RunLock::take(folder.path()).unwrap());
    let run = || trainer::<SequenceClassification>(config());
    let error = run()
        .folder(folder.path())
        .train(model(), &data(), &data())
        .unwrap_err();
    assert!(matches!(error, TrainError::FolderInUse { .. }), "{error}");
    let first = run().locked_folder(taken.clone());
    first.train(model(), &data(), &data()).unwrap();
    // It is still taken.
    assert!(RunLock::take(folder.path()).is_err());
    drop(taken);
    RunLock::take(folder.path()).unwrap();
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_the_run() {
    let _lock = one_at_a_time();
    let parent = tempfile::tempdir().unwrap();
    let (folder, moved) = (parent.path().join("run"), parent.path().join("moved"));
    let (from, to) = (folder.clone(), moved.clone());
    let error = trainer::<SequenceClassification>(config().with_log_every(Interval::Never))
        .folder(&folder)
        .configure(move |training| {
            // The disk goes away.
            std::fs::rename(&from, &to).unwrap();
            training
        })
        .train(model(), &data(), &data())
        .unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(error, TrainError::Checkpoint { .. }) && message.contains("checkpoint-2"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let _lock = one_at_a_time();
    let error = |config: TrainingConfig| {
        let trainer = trainer::<SequenceClassification>(config);
        trainer.train(model(), &data(), &data()).unwrap_err()
    };
    let unknown = error(config().with_metric_for_best_model("bleu".into()));
    assert!(
        unknown
            .to_string()
            .contains("expected one of what is measured: accuracy"),
        "{unknown}"
    );
    let zero = error(config().with_epochs(0));
    assert!(matches!(
        zero,
        TrainError::Setting {
            field: "epochs",
            ..
        }
    ));
    let trainer = trainer::<SequenceClassification>(config());
    let summed = trainer.configure(|training| training.grads_accumulation(2));
    let error = summed.train(model(), &data(), &data()).unwrap_err();
    assert!(
        error.to_string().contains("`grads_accumulation`"),
        "{error}"
    );
}
