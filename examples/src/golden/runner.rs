//! Running one case: every comparison, from the base model to the merged one.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use burn::tensor::Device;
use lora_core::{DEFAULT_ADAPTER, LoraConfig, LoraError, LoraModule, ParameterReport};
use lora_models::bert::{MaskedLm, QuestionAnswering, SequenceClassification};
use lora_models::gpt2;

use super::case::{Case, Head, Inputs};
use super::files::{Scratch, compare_adapters};
use super::model::ParityModel;
use super::report::{Report, differences, largest_difference};
use super::snapshot::{Snapshot, snapshots};
use super::training::{Trained, sensitivity, train};

/// Logits and losses of one forward pass.
const FORWARD: f32 = 2e-5;
/// Gradients of one backward pass.
const GRADIENT: f32 = 1e-4;
/// Losses, logits and parameters after five optimizer steps, and after merging what they trained.
const TRAINED: f32 = 1e-4;
/// The same model's logits before and after merging.
const MERGING: f32 = 1e-5;

/// Runs `case` on `device`, which has to track gradients.
///
/// Everything that goes wrong is in the report.
pub fn run(case: &Case, device: &Device) -> Report {
    if let Some(reason) = unsupported(case) {
        return Report::skip(&case.name, reason);
    }
    let mut report = Report {
        case: case.name.clone(),
        ..Report::default()
    };
    let gpt2 = case.description.arch == "gpt2";
    let result = match (case.description.head, gpt2) {
        (Head::SeqCls, false) => compare::<SequenceClassification>(case, device, &mut report),
        (Head::SeqCls, true) => compare::<gpt2::SequenceClassification>(case, device, &mut report),
        (Head::Mlm, false) => compare::<MaskedLm>(case, device, &mut report),
        (Head::Qa, false) => compare::<QuestionAnswering>(case, device, &mut report),
        (Head::Lm, true) => compare::<gpt2::CausalLm>(case, device, &mut report),
        (head, _) => Err(format!("{} has no head {head:?}", case.description.arch).into()),
    };
    if let Err(error) = result {
        report.problems.push(error.to_string());
    }
    report
}

/// Why the case is outside of what this workspace supports, if it is.
fn unsupported(case: &Case) -> Option<String> {
    let arch = &case.description.arch;
    if !["bert", "roberta", "gpt2"].contains(&arch.as_str()) {
        return Some(format!("architecture {arch}"));
    }
    case.description.lora.as_ref()?;
    match LoraConfig::from_file(case.adapter()) {
        Err(error @ LoraError::ConfigUnsupported { .. }) => Some(error.to_string()),
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
    report.equal(
        "freshly initialised parameters",
        &Vec::new(),
        &loaded.report.fresh,
    );
    let base = loaded.model;
    compare_outputs(case, &base, &inputs, "base", report)?;
    if case.description.lora.is_none() {
        return Ok(());
    }

    let config = LoraConfig::from_file(case.adapter())?;
    let injected = config.inject(base.clone())?;
    compare_outputs(case, &injected, &inputs, "init", report)?;
    let counts = ParameterReport::of(&injected);
    report.equal(
        "trainable",
        &case.description.trainable,
        &Some(counts.trainable()),
    );
    report.equal("total", &case.description.total, &Some(counts.peft_all()));

    let model = base.load_adapter(DEFAULT_ADAPTER, case.adapter())?;
    compare_outputs(case, &model, &inputs, "lora", report)?;
    let scratch = Scratch::new()?;
    model.save_adapter(DEFAULT_ADAPTER, scratch.folder("loaded"), false)?;
    compare_adapters(&case.adapter(), &scratch.folder("loaded"), report)?;
    let gradients = model.outputs(&inputs)?.loss.backward();
    compare_gradients(case, &snapshots(&model, Some(&gradients)), report);

    let trained = train(model.clone(), &inputs)?;
    compare_trained(case, &model, &trained, &inputs, report)?;
    reload(&trained.model, injected, &scratch.folder("trained"), report)
}

/// Compares logits and loss of one forward pass with the case's, under `stage`.
fn compare_outputs<M: ParityModel>(
    case: &Case,
    model: &M,
    inputs: &Inputs<'_>,
    stage: &'static str,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let outputs = model.outputs(inputs)?;
    let loss = ("loss", outputs.loss.into_data());
    for (name, data) in outputs.logits.into_iter().chain([loss]) {
        let what = format!("{stage}.{name}");
        let expected = case
            .io
            .get(&what)
            .ok_or_else(|| format!("the case has no {what}"))?;
        report.compare(stage, &what, expected, &data, FORWARD);
    }
    Ok(())
}

/// Compares every gradient; what is frozen must have none.
fn compare_gradients(case: &Case, found: &[Snapshot], report: &mut Report) {
    let expected = case.results("grad.");
    let names = |s: &mut dyn Iterator<Item = String>| s.collect::<BTreeSet<String>>();
    let wanted = names(&mut expected.iter().map(|(name, _)| name.to_string()));
    let with = found.iter().filter(|p| p.gradient.is_some());
    report.equal(
        "parameters with a gradient",
        &wanted,
        &names(&mut with.map(|p| p.name.clone())),
    );
    let trainable = found.iter().filter(|p| p.trainable);
    report.equal(
        "trained parameters",
        &wanted,
        &names(&mut trainable.map(|p| p.name.clone())),
    );
    for (name, expected) in expected {
        let gradient = found
            .iter()
            .find(|p| p.name == name)
            .and_then(|p| p.gradient.as_ref());
        if let Some(gradient) = gradient {
            report.compare(
                "grad",
                &format!("grad.{name}"),
                expected,
                gradient,
                GRADIENT,
            );
        }
    }
}

/// Compares what five optimizer steps and the merge gave.
///
/// Losses and logits have to be within [`TRAINED`]. A value of a parameter may be off by more only
/// by as much as changes in the last bits of the weights move it in our own run; the report says
/// which parameters needed that.
fn compare_trained<M: ParityModel>(
    case: &Case,
    start: &M,
    trained: &Trained<M>,
    inputs: &Inputs<'_>,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    if let Some(name) = M::FREE_BIAS {
        report.notes.push(format!(
            "{name} shifts all logits of a kind and not the loss: its gradient is rounding, so it \
             is not compared after training, and logits only up to a constant"
        ));
    }
    let trainable = snapshots(start, None).into_iter().filter(|p| p.trainable);
    let trainable: Vec<_> = trainable.collect();
    if trainable.iter().any(|p| is_key_bias(&p.name)) {
        report.notes.push(
            "a bias of attention keys shifts all scores of a query alike, which softmax undoes: its \
             gradient is rounding, so it is not compared after training"
                .to_string(),
        );
    }
    let trainable: BTreeSet<_> = trainable
        .iter()
        .map(|p| format!("trained.param.{}", p.name))
        .collect();
    for name in trained.results.keys() {
        let required = !name.contains(".param.") || trainable.contains(name);
        if required && !case.io.contains_key(name) {
            report.problems.push(format!("the case has no {name}"));
        }
    }
    let mut moved = None;
    let stages = ["train.", "trained.", "merged."].into_iter();
    let of_stage = |stage| {
        case.io
            .iter()
            .filter(move |(name, _)| name.starts_with(stage))
    };
    for (what, expected) in stages.flat_map(of_stage) {
        let parameter = what.split_once(".param.").map(|(_, name)| name);
        if parameter.is_some_and(|name| Some(name) == M::FREE_BIAS || is_key_bias(name)) {
            continue;
        }
        let part = part(what);
        let Some(found) = trained.results.get(what) else {
            report.problems.push(format!("there is no {what}"));
            continue;
        };
        let free = M::FREE_BIAS.is_some() && what.ends_with("logits");
        let differences = match differences(expected, found, free) {
            Ok(differences) => differences,
            Err(problem) => {
                report.problems.push(format!("{what} {problem}"));
                continue;
            }
        };
        let largest = differences.iter().copied().fold(0.0, f32::max);
        if largest <= TRAINED || parameter.is_none() {
            report.measure(part, what, largest, TRAINED);
            continue;
        }
        if moved.is_none() {
            moved = Some(sensitivity(start, inputs, &trained.results)?);
        }
        let moved = moved
            .as_ref()
            .and_then(|moved| moved.get(what))
            .map_or(&[][..], Vec::as_slice);
        report.measure_against_rounding(part, what, &differences, TRAINED, moved);
    }
    for (before, after) in logits(trained, "trained.")
        .into_iter()
        .zip(logits(trained, "merged."))
    {
        let difference = largest_difference(&before.1, &after.1);
        report.measure(
            "merging",
            &format!("{} against {}", after.0, before.0),
            difference,
            MERGING,
        );
    }
    Ok(())
}

/// Whether a parameter is the bias of an attention layer's keys.
fn is_key_bias(name: &str) -> bool {
    name.ends_with("attention.self.key.bias")
}

fn part(result: &str) -> &'static str {
    match (result.starts_with("merged"), result.contains(".param.")) {
        _ if result == "train.losses" => "losses",
        (false, false) => "trained",
        (false, true) => "trained.param",
        (true, false) => "merged",
        (true, true) => "merged.param",
    }
}

fn logits<'a, M>(trained: &'a Trained<M>, stage: &str) -> Vec<(&'a str, Vec<f32>)> {
    let of_stage = |name: &&String| name.starts_with(stage) && name.ends_with("logits");
    let all = trained.results.iter().filter(|(name, _)| of_stage(name));
    all.map(|(name, data)| (name.as_str(), data.iter().collect()))
        .collect()
}

/// Saves what was trained and loads it into the injected base: nothing may change.
fn reload<M: ParityModel>(
    trained: &M,
    injected: M,
    folder: &Path,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    trained.save_adapter(DEFAULT_ADAPTER, folder, false)?;
    let loaded = injected.hotswap_adapter(DEFAULT_ADAPTER, folder)?;
    for (before, after) in snapshots(trained, None)
        .iter()
        .zip(snapshots(&loaded, None))
    {
        if before.value != after.value {
            report
                .problems
                .push(format!("{} changes when saved and loaded", before.name));
        }
    }
    Ok(())
}
