use super::*;
use crate::testing::tiny_config;
use crate::{EvaluationRecord, History, Method, StepRecord, TrainingConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Int, Tensor, TensorData};
use lora_core::state::values;
use lora_core::{LoraConfig, default_device};
use lora_models::bert::{EncoderInput, SequenceClassification};

/// A third is no number that a short decimal text can hold.
const THIRD: f64 = 1.0 / 3.0;

fn model() -> SequenceClassification {
    let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
    let device = default_device().autodiff();
    // Dropout would take numbers from the same generator as other tests.
    let dry = lora_models::bert::BertConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..tiny_config()
    };
    let model = SequenceClassification::new(&dry, &device);
    let method = Method::lora(config, &tiny_config());
    method.prepare(model).unwrap()
}

fn state(step: usize) -> TrainerState {
    TrainerState {
        step,
        history: History {
            steps: vec![StepRecord {
                loss: THIRD,
                learning_rate: 1e-3 * THIRD,
                grad_norm: f64::INFINITY,
                losses: 8,
            }],
            evaluations: vec![EvaluationRecord {
                step: 1,
                epoch: THIRD,
                train_loss: 0.1 + 0.2,
                dev: [("loss", THIRD), ("accuracy", 2.0 * THIRD)].into(),
                seconds: 1.0,
                examples_per_second: 7.0 * THIRD,
            }],
        },
        best: Some(Best {
            step: 1,
            value: THIRD,
        }),
        without_improvement: 2,
        seconds: 100.0 * THIRD,
        ..TrainerState::new(&TrainingConfig::new(), 7)
    }
}

/// A step of the optimizer on some gradient.
fn step(model: SequenceClassification, optimizer: &mut ModuleOptimizer) -> SequenceClassification {
    let device = model.devices()[0].clone();
    let ids = Tensor::<2, Int>::from_data([[0, 7, 2]], &device);
    let loss = model.forward(EncoderInput::new(ids)).powi_scalar(2).sum();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    optimizer.step(1e-2, model, gradients)
}

fn all(model: &SequenceClassification) -> Vec<TensorData> {
    let values = values(model, |_| true).into_iter();
    values.map(|(_, data)| data).collect()
}

#[test]
fn a_checkpoint_continues_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path()).unwrap();
    let base = model();
    let optimizer = || TrainingConfig::new().optimizer(&base).unwrap();
    let mut first = optimizer();
    let trained = step(step(base.clone(), &mut first), &mut first);
    checkpoints.save(&trained, &first, &state(2)).unwrap();
    let trained = step(trained, &mut first);

    let read = checkpoints.state(2).unwrap();
    assert_eq!(read, state(2));
    let restored = checkpoints.restore(2, base.clone()).unwrap();
    let mut second = checkpoints
        .restore_optimizer(2, &restored, optimizer())
        .unwrap();
    let continued = step(restored.clone(), &mut second);
    assert!(all(&continued) == all(&trained));
    let mut fresh = optimizer();
    assert!(
        all(&step(restored, &mut fresh)) != all(&trained),
        "the state makes no difference"
    );

    // What does not train is in no checkpoint.
    let file = TensorFile::open(checkpoints.path(2).join(PARAMETERS)).unwrap();
    let names = file.names();
    assert!(
        names
            .iter()
            .all(|name| name.contains("lora") || name.contains("classifier")),
        "{names:?}"
    );
    assert_eq!(names.len(), 2 + 4);
}

#[test]
fn the_last_ones_and_the_best_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path()).unwrap();
    let model = model();
    let optimizer = TrainingConfig::new().optimizer(&model).unwrap();
    for at in [5, 10, 15, 100] {
        checkpoints.save(&model, &optimizer, &state(at)).unwrap();
    }
    fs::create_dir(folder.path().join(".checkpoint-left")).unwrap();
    fs::create_dir(folder.path().join("checkpoint-mine")).unwrap();
    checkpoints.prune(2, Some(5)).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [5, 15, 100]);
    Checkpoints::open(folder.path()).unwrap();
    assert!(!folder.path().join(".checkpoint-left").exists());
    checkpoints.remove_all().unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [0; 0]);
    assert!(folder.path().join("checkpoint-mine").exists());
}

#[test]
fn what_does_not_fit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path()).unwrap();
    let model = model();
    let mut optimizer = TrainingConfig::new().optimizer(&model).unwrap();
    let model = step(model, &mut optimizer);
    checkpoints.save(&model, &optimizer, &state(1)).unwrap();

    let full = SequenceClassification::new(&tiny_config(), &default_device());
    let full = Method::Full.prepare(full).unwrap();
    let error = checkpoints
        .restore(1, full.clone())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(PARAMETERS) && error.contains("embeddings"),
        "{error}"
    );
    let fresh = TrainingConfig::new().optimizer(&full).unwrap();
    let error = checkpoints
        .restore_optimizer(1, &full, fresh)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("belongs to no parameter"),
        "{error}"
    );

    for name in [PARAMETERS, OPTIMIZER, STATE] {
        let path = checkpoints.path(1).join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let fresh = TrainingConfig::new().optimizer(&model).unwrap();
    let errors = [
        checkpoints.state(1).unwrap_err(),
        checkpoints.restore(1, model.clone()).unwrap_err(),
        checkpoints
            .restore_optimizer(1, &model, fresh)
            .err()
            .unwrap(),
    ];
    for (error, name) in errors.iter().zip([STATE, PARAMETERS, OPTIMIZER]) {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_run_goes_on_with_its_own_settings_and_data() {
    let saved = state(1);
    let path = Path::new("checkpoint-1");
    let config = TrainingConfig::new();
    saved.check(&config, 7, path).unwrap();
    let often = config.clone().with_log_every(crate::Interval::Steps(1));
    saved
        .check(&often.with_save_total_limit(9), 7, path)
        .unwrap();
    let message =
        |config: &TrainingConfig, data| saved.check(config, data, path).unwrap_err().to_string();
    let other = config.clone().with_learning_rate(0.25);
    assert!(message(&other, 7).contains("its learning_rate is 0.0005, this run's is 0.25"));
    assert!(message(&config, 8).contains("its training data is"));
}

#[test]
fn a_state_of_another_version_is_refused() {
    let text = state(1).to_json();
    let path = Path::new("trainer_state.json");
    let newer = text.replace("\"version\": 1", "\"version\": 2");
    let error = TrainerState::from_json(&newer, path).unwrap_err();
    assert!(
        error.to_string().contains("`version` is 2, expected 1"),
        "{error}"
    );
    let unknown = text.replace("\"version\": 1", "\"version\": 1, \"more\": 1");
    assert!(TrainerState::from_json(&unknown, path).is_err());
}
