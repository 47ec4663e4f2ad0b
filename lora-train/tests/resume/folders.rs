//! A run and its folder.

use std::sync::Arc;

use lora_models::bert::SequenceClassification;
use lora_train::data::TokenizedDataset;
use lora_train::{Interval, RunLock, TrainError, TrainingConfig};

use crate::common::{config, data, model, one_at_a_time, trainer};

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
