//! Classifying with a trained model, and measuring how well it does.

use lora_core::device_of;
use lora_models::{SequenceClassifier, TextConfig, Tokenizer};
use serde::Serialize;

use crate::data::{ClassificationBatcher, Label, TokenizedDataset, Tokens, encode_checked};
use crate::metric::{Average, ConfusionMatrix, pearson, spearman};
use crate::{Evaluation, Measures, Outcome, TrainError};

/// What a model says about one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The class with the highest probability; of several, the first.
    pub class: usize,
    /// The model's name for it.
    pub label: String,
    /// Its probability.
    pub probability: f64,
}

/// Classifies texts, `batch_size` at once, each cut to `max_len` tokens.
///
/// Dropout is off, whatever mode the model is in.
///
/// # Errors
///
/// [`TrainError::Regression`] for a model with one label; [`TrainError::MaxLen`],
/// [`TrainError::TokenizerMismatch`], [`TrainError::Tokenizer`] as for a data set;
/// [`TrainError::Device`].
pub fn predict<M: SequenceClassifier, S: AsRef<str>>(
    model: &M,
    tokenizer: &Tokenizer,
    texts: &[S],
    max_len: usize,
    batch_size: usize,
) -> Result<Vec<Prediction>, TrainError> {
    let config = model.config();
    if config.id2label().len() < 2 {
        return Err(TrainError::Regression);
    }
    let texts: Vec<_> = texts.iter().map(|text| (text.as_ref(), None)).collect();
    let encoded = encode_checked(&texts, tokenizer, config, max_len)?;
    let rows: Vec<&Tokens> = encoded.iter().collect();
    let prediction = |logits: Vec<f32>| {
        let class = best(&logits);
        let label = config.id2label().get(&class).cloned();
        Prediction {
            class,
            label: label.unwrap_or_else(|| format!("LABEL_{class}")),
            probability: (-loss(&logits, class)).exp(),
        }
    };
    Ok(all_logits(model, &rows, batch_size)?
        .into_iter()
        .map(prediction)
        .collect())
}

pub(crate) fn evaluate_classifier<M: SequenceClassifier>(
    model: &M,
    data: &TokenizedDataset,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    let examples = data.examples();
    let rows: Vec<&Tokens> = examples.iter().map(|example| &example.tokens).collect();
    let logits = all_logits(model, &rows, batch_size)?;
    let labelled = examples.iter().map(|example| example.label).zip(&logits);
    let (measures, outcomes) = match model.config().id2label().len() {
        0 | 1 => (of_values(labelled), Vec::new()),
        labels => of_classes(labelled, labels)?,
    };
    let evaluation = Evaluation::new(measures, examples.len(), "examples");
    Ok(Evaluation {
        outcomes,
        ..evaluation
    })
}

/// The measures of a classifier, those of its metrics, and what it said about each example.
fn of_classes<'a>(
    labelled: impl ExactSizeIterator<Item = (Label, &'a Vec<f32>)>,
    labels: usize,
) -> Result<(Measures, Vec<Outcome>), TrainError> {
    let count = labelled.len() as f64;
    let mut total = 0.0;
    let mut matrix = ConfusionMatrix::default();
    let mut outcomes = Vec::with_capacity(labelled.len());
    for (label, logits) in labelled {
        let right = label.class().ok_or(TrainError::Regression)?;
        let said = best(logits);
        matrix.add(said, right);
        total += loss(logits, right);
        outcomes.push(Outcome {
            right,
            said,
            probability: (-loss(logits, said)).exp(),
        });
    }
    let (name, average) = match labels {
        2 => ("f1", Average::Binary),
        _ => ("f1_macro", Average::Macro),
    };
    let measures = [
        ("accuracy", matrix.accuracy()),
        ("loss", total / count),
        (name, matrix.f1(average)),
        ("f1_weighted", matrix.f1(Average::Weighted)),
        ("matthews_correlation", matrix.matthews()),
    ];
    Ok((measures.into(), outcomes))
}

/// The measures of a model that predicts numbers.
fn of_values<'a>(labelled: impl ExactSizeIterator<Item = (Label, &'a Vec<f32>)>) -> Measures {
    let count = labelled.len() as f64;
    let value = |label| match label {
        Label::Class(class) => class as f64,
        Label::Value(value) => f64::from(value),
    };
    let said = |logits: &[f32]| f64::from(logits.first().copied().unwrap_or(f32::NAN));
    let pairs: Vec<(f64, f64)> = labelled
        .map(|(label, logits)| (said(logits), value(label)))
        .collect();
    let squares = pairs.iter().map(|(said, right)| (said - right).powi(2));
    [
        ("pearson_correlation", pearson(&pairs)),
        ("spearman_correlation", spearman(&pairs)),
        ("loss", squares.sum::<f64>() / count),
    ]
    .into()
}

/// The logits of each row, in order.
fn all_logits<M: SequenceClassifier>(
    model: &M,
    rows: &[&Tokens],
    batch_size: usize,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let model = model.valid();
    let device = device_of(&model);
    let batcher = ClassificationBatcher::new(model.config());
    // Rows of like lengths side by side leave little to pad.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&index| rows[index].ids.len());
    let mut logits = vec![Vec::new(); rows.len()];
    for chunk in order.chunks(batch_size.max(1)) {
        let chosen: Vec<_> = chunk.iter().map(|&index| rows[index]).collect();
        let output = model.logits(batcher.input(&chosen, &device));
        let [_, classes] = output.dims();
        let values = output
            .try_into_vec_as::<f32>()
            .map_err(|e| TrainError::Device(e.to_string()))?;
        for (&index, row) in chunk.iter().zip(values.chunks(classes)) {
            logits[index] = row.to_vec();
        }
    }
    Ok(logits)
}

fn best(logits: &[f32]) -> usize {
    let above = |best: usize, (index, value): (usize, &f32)| match *value > logits[best] {
        true => index,
        false => best,
    };
    logits.iter().enumerate().fold(0, above)
}

/// The cross-entropy of one example, `log Σ exp(logits) - logits[class]`.
fn loss(logits: &[f32], class: usize) -> f64 {
    let highest = f64::from(logits[best(logits)]);
    let sum: f64 = logits
        .iter()
        .map(|logit| (f64::from(*logit) - highest).exp())
        .sum();
    highest + sum.ln() - f64::from(logits[class])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate;
    use crate::testing::{example, tiny_config, tokenizer};
    use lora_core::default_device;
    use lora_models::bert::SequenceClassification;

    fn model() -> SequenceClassification {
        SequenceClassification::new(&tiny_config(), &default_device())
    }

    #[test]
    fn probabilities_come_from_the_logits() {
        assert_eq!(best(&[0.0, 3.0, 3.0]), 1);
        assert!((loss(&[0.0, 0.0], 1) - 2f64.ln()).abs() < 1e-12);
        assert!((loss(&[1000.0, 0.0], 1) - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn neither_batch_size_nor_order_matters() {
        let (model, tokenizer) = (model(), tokenizer());
        let texts = [
            "a good film",
            "bad",
            "the plot of this film is bad and dull",
            "good",
        ];
        let all = predict(&model, &tokenizer, &texts, 32, 4).unwrap();
        for (text, together) in texts.iter().zip(&all) {
            let alone = &predict(&model, &tokenizer, &[text], 32, 1).unwrap()[0];
            assert_eq!(
                (alone.class, &alone.label),
                (together.class, &together.label)
            );
            assert!((alone.probability - together.probability).abs() < 1e-6);
        }
        assert!(
            all.iter()
                .all(|p| p.probability >= 0.5 && p.label == format!("LABEL_{}", p.class))
        );
    }

    #[test]
    fn evaluation_counts_every_example_once() {
        let (model, tokenizer) = (model(), tokenizer());
        let texts = ["a good film", "bad", "the plot of this film is dull"];
        let found = predict(&model, &tokenizer, &texts, 32, 8).unwrap();
        // The first is labelled as the model has it, the others are not.
        let labelled: Vec<_> = texts
            .iter()
            .zip(&found)
            .enumerate()
            .map(|(i, (text, p))| example(text, if i == 0 { p.class } else { 1 - p.class }))
            .collect();
        let data = TokenizedDataset::encode(&labelled, &tokenizer, &tiny_config(), 32).unwrap();
        let expected: f64 = found
            .iter()
            .enumerate()
            .map(|(i, p)| {
                -(if i == 0 {
                    p.probability
                } else {
                    1.0 - p.probability
                })
                .ln()
            })
            .sum();
        for batch_size in [1, 2, 3] {
            let evaluation = evaluate(&model, &data, batch_size).unwrap();
            assert_eq!(
                (evaluation.get("accuracy"), evaluation.count),
                (1.0 / 3.0, 3)
            );
            assert!((evaluation.measures.loss() - expected / 3.0).abs() < 1e-6);
            let wrong: Vec<usize> = evaluation.mistakes().iter().map(|(i, _)| *i).collect();
            assert!(wrong == [1, 2] || wrong == [2, 1], "{wrong:?}");
            for (outcome, prediction) in evaluation.outcomes.iter().zip(&found) {
                assert_eq!(outcome.said, prediction.class);
                assert!((outcome.probability - prediction.probability).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn regression_is_refused() {
        let config = tiny_config().with_num_labels(1);
        let model = SequenceClassification::new(&config, &default_device());
        let error = predict(&model, &tokenizer(), &["good"], 32, 1).unwrap_err();
        assert!(
            error.to_string().contains("a number and no class"),
            "{error}"
        );
    }
}
