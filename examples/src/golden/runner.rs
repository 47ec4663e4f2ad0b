//! Running one case: every comparison, from the base model to the merged one.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use lora_core::{LoraConfig, ParameterReport, load_adapter, merge_and_unload, save_adapter};
use lora_models::bert::{MaskedLm, QuestionAnswering, SequenceClassification};

use super::case::{Case, Head, Inputs};
use super::files::{Scratch, compare_adapters};
use super::model::ParityModel;
use super::report::{Report, largest_difference, paired};
use super::snapshot::{Snapshot, snapshots};
use super::tolerance::{FORWARD, GRADIENT, MERGING, TRAINED};

/// Runs `case` on `device`, which has to track gradients.
///
/// Everything that goes wrong is in the report.
pub fn run(case: &Case, device: &Device) -> Report {
    if let Some(reason) = unsupported(case) {
        return Report::skip(&case.name, reason);
    }
    let mut report = Report { case: case.name.clone(), ..Report::default() };
    let result = match case.description.head {
        Head::SeqCls => compare::<SequenceClassification>(case, device, &mut report),
        Head::Mlm => compare::<MaskedLm>(case, device, &mut report),
        Head::Qa => compare::<QuestionAnswering>(case, device, &mut report),
        Head::Lm => Err("no model here has a causal language modelling head".into()),
    };
    if let Err(error) = result {
        report.problems.push(error.to_string());
    }
    report
}

/// Why the case is outside of what this workspace supports, if it is.
fn unsupported(case: &Case) -> Option<String> {
    let arch = &case.description.arch;
    if !["bert", "roberta"].contains(&arch.as_str()) {
        return Some(format!("architecture {arch}"));
    }
    case.description.lora.as_ref()?;
    match LoraConfig::from_file(case.adapter()) {
        Err(error @ lora_core::LoraError::ConfigUnsupported { .. }) => Some(error.to_string()),
        _ => None,
    }
}

fn compare<M: ParityModel>(
    case: &Case,
    device: &Device,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let inputs = case.inputs(device)?;
    let loaded = M::load(&case.base(), device)?;
    report.equal("freshly initialised parameters", &Vec::new(), &loaded.report.fresh);
    let base = loaded.model;
    outputs(case, &base, &inputs, "base", FORWARD, report)?;
    if case.description.lora.is_none() {
        return Ok(());
    }

    let config = LoraConfig::from_file(case.adapter())?;
    let injected = config.inject(base)?;
    outputs(case, &injected, &inputs, "init", FORWARD, report)?;
    let counts = ParameterReport::of(&injected);
    report.equal("trainable", &case.description.trainable, &Some(counts.trainable()));
    report.equal("total", &case.description.total, &Some(counts.peft_all()));

    let model = load_adapter(injected.clone(), &config, case.adapter())?;
    outputs(case, &model, &inputs, "lora", FORWARD, report)?;
    let scratch = Scratch::new()?;
    let written = scratch.folder("loaded");
    save_adapter(&model, &config, &written, false)?;
    compare_adapters(&case.adapter(), &written, report)?;

    let gradients = model.outputs(&inputs)?.loss.backward();
    compare_gradients(case, &snapshots(&model, Some(&gradients)), report);

    let trained = train(case, model, &inputs, report)?;
    outputs(case, &trained, &inputs, "trained", TRAINED, report)?;
    compare_parameters::<M>(case, "trained.param.", &snapshots(&trained, None), report);
    reload(&trained, injected, &config, &scratch.folder("trained"), report)?;

    let merged = merge_and_unload(trained.clone())?;
    outputs(case, &merged, &inputs, "merged", TRAINED, report)?;
    compare_parameters::<M>(case, "merged.param.", &snapshots(&merged, None), report);
    let unmerged = trained.outputs(&inputs)?;
    for ((name, before), (_, after)) in unmerged.logits.iter().zip(merged.outputs(&inputs)?.logits) {
        let (before, after): (Vec<f32>, Vec<f32>) = (before.iter().collect(), after.iter().collect());
        let difference = largest_difference(&before, &after);
        report.measure("unmerged", &format!("{name} by merging"), difference, MERGING);
    }
    Ok(())
}

/// Compares logits and loss with the case's, under `stage`.
fn outputs<M: ParityModel>(
    case: &Case,
    model: &M,
    inputs: &Inputs<'_>,
    stage: &'static str,
    tolerance: f32,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let outputs = model.outputs(inputs)?;
    let mut found = outputs.logits;
    found.push(("loss", outputs.loss.into_data()));
    // After training, the free bias is arbitrary, and so is one constant in each kind of logits.
    let shifted = M::FREE_BIAS.is_some() && tolerance == TRAINED;
    for (name, data) in found {
        let what = format!("{stage}.{name}");
        let expected = case.io.get(&what).ok_or_else(|| format!("the case has no {what}"))?;
        if !(shifted && name.ends_with("logits")) {
            report.compare(stage, &what, expected, &data, tolerance);
            continue;
        }
        match paired(expected, &data) {
            Ok((expected, found)) => {
                let difference = largest_difference(&centred(expected), &centred(&found));
                report.measure(stage, &what, difference, tolerance);
            }
            Err(problem) => report.problems.push(format!("{what} {problem}")),
        }
    }
    Ok(())
}

fn centred(values: &[f32]) -> Vec<f32> {
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|v| v - mean as f32).collect()
}

/// Compares every gradient; what is frozen must have none.
fn compare_gradients(case: &Case, found: &[Snapshot], report: &mut Report) {
    let expected = case.results("grad.");
    let names = |s: &mut dyn Iterator<Item = String>| s.collect::<BTreeSet<String>>();
    let wanted = names(&mut expected.iter().map(|(name, _)| name.to_string()));
    let with = found.iter().filter(|p| p.gradient.is_some());
    report.equal("parameters with a gradient", &wanted, &names(&mut with.map(|p| p.name.clone())));
    let trainable = found.iter().filter(|p| p.trainable);
    report.equal("trained parameters", &wanted, &names(&mut trainable.map(|p| p.name.clone())));
    for (name, expected) in expected {
        let gradient = found.iter().find(|p| p.name == name).and_then(|p| p.gradient.as_ref());
        if let Some(gradient) = gradient {
            report.compare("grad", &format!("grad.{name}"), expected, gradient, GRADIENT);
        }
    }
}

/// Five steps of AdamW, as PyTorch takes them; the losses before each are compared.
fn train<M: ParityModel>(
    case: &Case,
    mut model: M,
    inputs: &Inputs<'_>,
    report: &mut Report,
) -> Result<M, Box<dyn Error>> {
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
    let difference = largest_difference(case.floats("train.losses")?, &losses);
    report.measure("losses", "train.losses", difference, TRAINED);
    Ok(model)
}

/// Compares the parameters whose results start with `prefix`.
fn compare_parameters<M: ParityModel>(
    case: &Case,
    prefix: &'static str,
    found: &[Snapshot],
    report: &mut Report,
) {
    for (name, expected) in case.results(prefix) {
        if Some(name) == M::FREE_BIAS {
            continue;
        }
        let what = format!("{prefix}{name}");
        match found.iter().find(|p| p.name == name) {
            Some(parameter) => {
                report.compare(prefix.trim_end_matches('.'), &what, expected, &parameter.value, TRAINED);
            }
            None => report.problems.push(format!("there is no parameter {name}")),
        }
    }
}

/// Saves what was trained and loads it into the injected base: nothing may change.
fn reload<M: ParityModel>(
    trained: &M,
    injected: M,
    config: &LoraConfig,
    folder: &Path,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    save_adapter(trained, config, folder, false)?;
    let loaded = load_adapter(injected, config, folder)?;
    for (before, after) in snapshots(trained, None).iter().zip(snapshots(&loaded, None)) {
        if before.value != after.value {
            report.problems.push(format!("{} changes when saved and loaded", before.name));
        }
    }
    Ok(())
}
