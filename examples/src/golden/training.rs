//! Five steps of AdamW and the merge after them, and how much of the outcome is rounding.

use std::collections::BTreeMap;
use std::error::Error;

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::TensorData;
use lora_core::state::{load_state, state};
use lora_core::{LoraError, LoraModule};

use super::case::Inputs;
use super::model::ParityModel;
use super::snapshot::snapshots;

/// A model after training, with everything a case has results for, by the case's names.
#[derive(Debug)]
pub struct Trained<M> {
    /// The model, with its adapters.
    pub model: M,
    /// `train.losses`, `trained.*` and `merged.*`.
    pub results: BTreeMap<String, TensorData>,
}

/// Trains `model` for five steps as PyTorch's AdamW does, and merges it.
///
/// # Errors
///
/// An input is missing, or the merge failed.
pub fn train<M: ParityModel>(
    mut model: M,
    inputs: &Inputs<'_>,
) -> Result<Trained<M>, Box<dyn Error>> {
    let mut optimizer = AdamWConfig::new()
        .with_beta_1(0.9)
        .with_beta_2(0.999)
        .with_epsilon(1e-8)
        .with_weight_decay(0.01)
        .init();
    let mut losses = Vec::new();
    for _ in 0..5 {
        let loss = model.outputs(inputs)?.loss;
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-2, model, gradients);
    }
    let count = losses.len();
    let losses = TensorData::new(losses, [count]);
    let mut results = BTreeMap::from([("train.losses".to_string(), losses)]);
    collect("trained", &model, inputs, &mut results)?;
    collect(
        "merged",
        &model.clone().merge_and_unload()?,
        inputs,
        &mut results,
    )?;
    Ok(Trained { model, results })
}

fn collect<M: ParityModel>(
    stage: &str,
    model: &M,
    inputs: &Inputs<'_>,
    results: &mut BTreeMap<String, TensorData>,
) -> Result<(), Box<dyn Error>> {
    let outputs = model.outputs(inputs)?;
    results.insert(format!("{stage}.loss"), outputs.loss.into_data());
    results.extend(
        outputs
            .logits
            .into_iter()
            .map(|(name, data)| (format!("{stage}.{name}"), data)),
    );
    let parameters = snapshots(model, None).into_iter();
    results.extend(parameters.map(|p| (format!("{stage}.param.{}", p.name), p.value)));
    Ok(())
}

/// How far each result of [`train`] moves when every weight the training starts from is changed
/// in its last bits, by a relative ±2⁻²¹.
///
/// Two programs that compute in 32 bits and are both right agree as well as one of them agrees
/// with itself under such a change. AdamW divides each gradient by its own size: where one is zero
/// but for rounding, the step is up to the learning rate in either direction.
///
/// # Errors
///
/// As [`train`].
pub fn sensitivity<M: ParityModel>(
    model: &M,
    inputs: &Inputs<'_>,
    results: &BTreeMap<String, TensorData>,
) -> Result<BTreeMap<String, Vec<f32>>, Box<dyn Error>> {
    let mut moved: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for seed in 1..=8 {
        let other = train(nudge(model.clone(), seed)?, inputs)?.results;
        for (name, data) in results {
            let Some(other) = other.get(name) else {
                continue;
            };
            let moved = moved
                .entry(name.clone())
                .or_insert_with(|| vec![0.0; data.num_elements()]);
            let pairs = data.iter::<f32>().zip(other.iter::<f32>());
            for (most, (value, other)) in moved.iter_mut().zip(pairs) {
                *most = most.max((value - other).abs());
            }
        }
    }
    Ok(moved)
}

fn nudge<M: ParityModel>(model: M, seed: u64) -> Result<M, LoraError> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut factor = || {
        // Xorshift (Marsaglia 2003) is enough to flip coins.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let step = 0.5f32.powi(21);
        if random >> 63 == 0 {
            1.0 + step
        } else {
            1.0 - step
        }
    };
    let mut values = state(&model, |_| true).into_iter();
    load_state(model, |info| {
        let nudged = values.next().map(|(_, data)| {
            let values: Vec<f32> = data.iter::<f32>().map(|value| value * factor()).collect();
            TensorData::new(values, info.shape.clone())
        });
        Ok(nudged)
    })
}
