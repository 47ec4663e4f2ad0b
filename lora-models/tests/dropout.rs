//! Dropout in training: the logits move by as much as those of transformers.
//!
//! The reference is `scripts/make_dropout_cases.py`'s, with one kind of dropout at a time.

use burn::tensor::{Int, Tensor};
use lora_core::{LoraConfig, default_device};
use lora_models::bert::{self, BertConfig, EncoderInput};
use lora_models::gpt2::{self, Gpt2Config};
use lora_models::{PretrainedModel, SequenceClassifier};
use safetensors::SafeTensors;

/// How often each of the recorded rows is computed.
const DRAWS: usize = 10_000;
/// The means and deviations of so many draws are off by 1 % of a deviation; of a hundred, the worst by
/// about three times that.
const TOLERANCE: f64 = 0.04;

#[derive(serde::Deserialize)]
struct Case {
    model: String,
    dropout: String,
    p: f64,
    means: Vec<f64>,
    deviations: Vec<f64>,
}

/// The recorded input, every row `DRAWS` times.
fn input(model: &str) -> EncoderInput {
    let bytes = std::fs::read(format!("tests/golden/{model}/io.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| {
        let view = file.tensor(name).ok()?;
        let (values, _) = view.data().as_chunks::<8>();
        let values: Vec<i64> = values.iter().map(|v| i64::from_le_bytes(*v)).collect();
        let shape = [view.shape()[0], view.shape()[1]];
        let rows = Tensor::<1, Int>::from_data(&values[..], &default_device().autodiff());
        Some(rows.reshape(shape).repeat_dim(0, DRAWS))
    };
    EncoderInput {
        attention_mask: tensor("in.attention_mask"),
        token_type_ids: tensor("in.token_type_ids"),
        ..EncoderInput::new(tensor("in.input_ids").unwrap())
    }
}

/// Mean and standard deviation of each logit.
fn moments<M: SequenceClassifier>(model: M, case: &Case) -> Vec<(f64, f64)> {
    let device = default_device().autodiff();
    device.seed(3);
    // Adapters leave the dropout of what is frozen as it is.
    let name = if case.model.starts_with("gpt2") {
        "c_attn"
    } else {
        "query"
    };
    let model = LoraConfig::new()
        .with_target_modules([name])
        .inject(model)
        .unwrap();
    let logits = model.train().logits(input(&case.model));
    let values: Vec<f64> = logits.into_data().iter().collect();
    let count = case.means.len();
    let column = |i: usize| values.iter().skip(i).step_by(count);
    let of_column = |i: usize| {
        let mean = column(i).sum::<f64>() / DRAWS as f64;
        let squares: f64 = column(i).map(|v| (v - mean).powi(2)).sum();
        (mean, (squares / DRAWS as f64).sqrt())
    };
    assert_eq!(values.len(), count * DRAWS);
    (0..count).map(of_column).collect()
}

fn bert(case: &Case) -> Vec<(f64, f64)> {
    let change = |config: BertConfig| {
        let of = |kind: &str| if case.dropout == kind { case.p } else { 0.0 };
        BertConfig {
            hidden_dropout_prob: of("hidden_dropout_prob"),
            attention_probs_dropout_prob: of("attention_probs_dropout_prob"),
            classifier_dropout: Some(of("classifier_dropout")),
            ..config
        }
    };
    let folder = format!("tests/golden/{}/base", case.model);
    let device = default_device().autodiff();
    let model = bert::SequenceClassification::from_pretrained_with(&folder, change, &device);
    moments(model.unwrap().model, case)
}

fn gpt2(case: &Case) -> Vec<(f64, f64)> {
    let change = |config: Gpt2Config| {
        let of = |kind: &str| if case.dropout == kind { case.p } else { 0.0 };
        Gpt2Config {
            embd_pdrop: of("embd_pdrop"),
            attn_pdrop: of("attn_pdrop"),
            resid_pdrop: of("resid_pdrop"),
            ..config
        }
    };
    let folder = format!("tests/golden/{}/base", case.model);
    let device = default_device().autodiff();
    let model = gpt2::SequenceClassification::from_pretrained_with(&folder, change, &device);
    moments(model.unwrap().model, case)
}

#[test]
fn dropout_moves_logits_as_in_transformers() {
    let text = std::fs::read_to_string("tests/dropout/cases.json").unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 9);
    for case in &cases {
        let found = match case.model.starts_with("gpt2") {
            true => gpt2(case),
            false => bert(case),
        };
        let expected = case.means.iter().zip(&case.deviations);
        for ((mean, deviation), (expected_mean, expected)) in found.into_iter().zip(expected) {
            let off = ((mean - expected_mean) / expected).abs();
            let ratio = deviation / expected;
            assert!(
                off < TOLERANCE && (ratio - 1.0).abs() < TOLERANCE,
                "{} of {}: the mean is off by {off:.3} deviations, {ratio:.3} times as large",
                case.dropout,
                case.model
            );
        }
    }
}
