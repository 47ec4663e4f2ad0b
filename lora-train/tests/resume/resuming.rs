//! A run that stopped goes on as if it had not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use lora_core::default_device;
use lora_core::state::initialize;
use lora_models::bert::SequenceClassification;
use lora_train::{LOG_NAME, Method, Optim, Stopped};

use crate::common::{
    STEPS, Stop, assert_same, config, data, interrupted, model, one_at_a_time, tiny_config, trainer,
};

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
    const NAME: &str = "resuming::a_killed_process_loses_only_what_came_after_its_last_checkpoint";
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
