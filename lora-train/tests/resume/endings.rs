//! What ends a run, what it ends with, and what is its own.

use std::path::Path;

use lora_core::default_device;
use lora_core::ops::{MatmulPrecision, has_lower_matmul_precision, matmul_precision};
use lora_core::state::initialize;
use lora_models::bert::SequenceClassification;
use lora_train::data::{Label, TokenizedDataset};
use lora_train::{Interval, Method, Stopped, TrainError, TrainingConfig};

use crate::common::{assert_same, config, data, model, one_at_a_time, tiny_config, trainer};

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
