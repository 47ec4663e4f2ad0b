//! What the unit tests share.

use std::io::Write;
use std::sync::{Arc, Mutex};

use lora_core::{LoraConfig, ParameterReport};
use lora_models::Tokenizer;
use lora_models::bert::BertConfig;
use lora_models::tokenizer::train_byte_level_bpe;

use crate::data::{Example, Label};
use crate::{Evaluation, EvaluationRecord, History, RunMetrics, StepRecord, TrainingConfig};

/// A RoBERTa that trains in no time; its longest sequence is 32 tokens.
pub(crate) fn tiny_config() -> BertConfig {
    BertConfig {
        vocab_size: 300,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 34,
        ..BertConfig::roberta_base()
    }
}

/// A tokenizer that fits [`tiny_config`].
pub(crate) fn tokenizer() -> Tokenizer {
    let texts = [
        "a good film",
        "a bad film",
        "the plot of this film is good and bad and dull",
    ];
    train_byte_level_bpe(texts.into_iter(), 300, 1).unwrap()
}

pub(crate) fn example(text: &str, class: usize) -> Example {
    Example {
        text: text.to_string(),
        pair: None,
        label: Label::Class(class),
    }
}

/// An output whose clones write to the same place.
#[derive(Clone, Default)]
pub(crate) struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl SharedOutput {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Checks that every tag of an SVG or HTML text is closed, in order, and that no other `<` or `>` is
/// in it.
#[track_caller]
pub(crate) fn assert_well_formed(text: &str) {
    let text = match text.split_once("<style>") {
        Some((head, rest)) => {
            let (_, tail) = rest.split_once("</style>").expect("the style ends");
            format!("{head}{tail}")
        }
        None => text.to_string(),
    };
    let mut open = Vec::new();
    for part in text.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text:?}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag:?}");
        let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed)),
            None if tag.ends_with('/') || tag.starts_with(['?', '!']) || name == "meta" => {}
            None => open.push(name.to_string()),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// A run of ten steps and two measurements, the last with this accuracy.
pub(crate) fn history(accuracy: f64) -> History {
    let step = |index: usize| StepRecord {
        loss: 0.7 / (1.0 + index as f64),
        learning_rate: 1e-3 / (1.0 + index as f64),
        grad_norm: 2.0,
        losses: 8,
    };
    let record = |index: usize, accuracy: f64| EvaluationRecord {
        step: 5 * index,
        epoch: index as f64,
        train_loss: 0.7 / index as f64,
        dev: [("loss", 0.6 / index as f64), ("accuracy", accuracy)].into(),
        seconds: 2.0,
        examples_per_second: 20.0,
    };
    History {
        steps: (0..10).map(step).collect(),
        evaluations: vec![record(1, 0.5), record(2, accuracy)],
    }
}

/// The numbers of such a run of a model with that name.
pub(crate) fn run_metrics(model: &str, accuracy: f64) -> RunMetrics {
    let history = history(accuracy);
    let measures = history.evaluations[1].dev.clone();
    RunMetrics {
        method: "lora".into(),
        lora: Some(LoraConfig::new().with_r(4)),
        factorization: None,
        model: model.into(),
        data: "reviews".into(),
        device: "flex".into(),
        training: TrainingConfig::new(),
        train_examples: 40,
        parameters: ParameterReport {
            lora: 1000,
            saved: 500,
            bias: 0,
            frozen: 8500,
            replaced: 500,
        },
        step_losses: history.steps.iter().map(|step| step.loss).collect(),
        evaluations: history.evaluations,
        evaluation: Some(Evaluation::new(measures, 16, "examples")),
        best_step: Some(10),
        ended: "2026-02-03T04:05:06Z".into(),
        seconds: 12.5,
        examples_per_second: 20.0,
        peak_rss_mb: Some(321.5),
        stopped: None,
    }
}
