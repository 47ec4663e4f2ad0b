//! Fine-tunes a BERT or RoBERTa to tell positive from negative sentences, as in GLUE's SST-2.

mod arguments;

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arguments::{Arguments, Kind};
use burn_lora_examples::{asset, run};
use clap::Parser;
use lora_core::file::prepare_folder;
use lora_core::{DEFAULT_ADAPTER, LoraModule, ParameterReport};
use lora_models::bert::SequenceClassification;
use lora_models::{Precision, PretrainedModel, Tokenizer};
use lora_train::data::{DataFiles, TokenizedDataset, read_examples, sample};
use lora_train::{
    CHECKPOINT_FOLDER, METRICS_NAME, Method, Prediction, Progress, RunMetrics, RunNames, plot,
    predict, train,
};

/// Where a run goes that is told nothing else.
const DEFAULT_OUT: &str = "out/sst2";
const ADAPTER: &str = "adapter";
const MODEL: &str = "model";
const PLOT: &str = "plot.svg";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| fine_tune(&arguments))
}

fn fine_tune(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut config = arguments.training_config();
    config.validate()?;
    let out = prepare_out(arguments)?;
    let (device_name, device) = arguments.device.open()?;

    let model_name = named(&arguments.model, "roberta-tiny");
    device.seed(config.seed);
    let loaded = SequenceClassification::from_pretrained_with(
        &model_name,
        |config| config.with_num_labels(arguments.labels),
        &device,
    )?;
    println!("model: {model_name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    let shape = loaded.model.config().clone();
    if arguments.training.max_len.is_none() {
        config.max_len = config.max_len.min(shape.max_tokens());
    }

    let data_name = named(&arguments.data, "reviews");
    let files = DataFiles::find(&data_name)?;
    let examples = read_examples(&files.train, arguments.labels)?;
    let examples = sample(examples, arguments.limit.unwrap_or(usize::MAX), config.seed);
    let encode =
        |examples: &[_]| TokenizedDataset::encode(examples, &tokenizer, &shape, config.max_len);
    let train_data = encode(&examples)?;
    let dev_data = encode(&read_examples(&files.dev, arguments.labels)?)?;
    let (train_count, dev_count) = (train_data.examples().len(), dev_data.examples().len());
    println!("data: {data_name}: {train_count} examples to train on, {dev_count} to measure on");

    let method = match arguments.method.lora()? {
        Some(lora) => Method::lora(lora, &shape),
        None if arguments.method.method == Kind::Full => Method::Full,
        None => Method::Head,
    };
    let plan = match &method {
        Method::Lora(lora) => Some(lora.plan(&loaded.model)?),
        _ => None,
    };
    let model = method.prepare(loaded.model)?;
    if let Some(plan) = plan {
        println!("{plan}");
        for warning in &plan.warnings {
            eprintln!("warning: {warning}");
        }
    }
    let parameters = ParameterReport::of(&model);
    println!("{parameters}");

    let trained = train(
        model,
        &config,
        &train_data,
        &dev_data,
        Some(&out),
        Progress::Auto,
    )?;
    if std::io::stdout().is_terminal() {
        // The dashboard takes its numbers with it when it closes.
        for epoch in &trained.history.epochs {
            println!("epoch {}/{}: {epoch}", epoch.epoch, config.epochs);
        }
    }
    if trained.interrupted {
        println!("stopped after {} epochs", trained.history.epochs.len());
    }
    println!("{} in {:.1} s", trained.evaluation, trained.seconds);

    save(&out, &method, &trained.model, &tokenizer)?;
    let names = RunNames {
        model: &model_name,
        data: &data_name,
        device: &device_name,
    };
    RunMetrics::of(names, &method, &config, train_count, parameters, &trained).write(&out)?;
    plot(&trained.history, &out.join(PLOT))?;
    println!(
        "written to {}: {}, {METRICS_NAME}, {PLOT}",
        out.display(),
        saved_as(&method)
    );

    if arguments.labels == 2 {
        let sentences = [
            "A warm and funny film with a great cast.",
            "I was bored from the first minute to the last.",
            "The story is thin, but the acting makes up for it.",
            "Not worth the price of the ticket.",
        ];
        let said = predict(&trained.model, &tokenizer, &sentences, config.max_len, 8)?;
        for (sentence, prediction) in sentences.iter().zip(&said) {
            println!(
                "{:>8} {:.3}  {sentence}",
                label(prediction),
                prediction.probability
            );
        }
    }
    Ok(())
}

/// What was asked for, or else an embedded folder.
fn named(given: &Option<String>, embedded: &str) -> String {
    given
        .clone()
        .unwrap_or_else(|| asset(embedded).display().to_string())
}

/// The folder to write to, which is empty or may be overwritten.
///
/// The default folder may be if all that lies in it is what this program writes.
fn prepare_out(arguments: &Arguments) -> Result<PathBuf, Box<dyn Error>> {
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(DEFAULT_OUT));
    let ours = arguments.out.is_none() && holds_only_a_run(&out);
    prepare_folder(&out, arguments.overwrite || ours)?;
    Ok(out)
}

fn holds_only_a_run(folder: &Path) -> bool {
    let written = [ADAPTER, MODEL, CHECKPOINT_FOLDER, METRICS_NAME, PLOT];
    let known = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| written.iter().any(|name| entry.file_name() == *name))
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(known))
}

fn saved_as(method: &Method) -> &'static str {
    match method {
        Method::Lora(_) => ADAPTER,
        Method::Full | Method::Head => MODEL,
    }
}

/// Writes the adapter or the model, over that of an earlier run.
fn save(
    out: &Path,
    method: &Method,
    model: &SequenceClassification,
    tokenizer: &Tokenizer,
) -> Result<(), Box<dyn Error>> {
    let folder = out.join(saved_as(method));
    match method {
        Method::Lora(_) => model.save_adapter(DEFAULT_ADAPTER, &folder, true)?,
        Method::Full | Method::Head => {
            model.save_pretrained(&folder, Precision::F32, true)?;
            tokenizer.save(&folder)?;
        }
    }
    for other in [ADAPTER, MODEL].map(|name| out.join(name)) {
        // It would not belong to the metrics beside it.
        if other != folder && other.is_dir() {
            std::fs::remove_dir_all(&other)?;
        }
    }
    Ok(())
}

/// The model's name for a class, if it has one of its own.
fn label(prediction: &Prediction) -> &str {
    match (prediction.label.starts_with("LABEL_"), prediction.class) {
        (true, 0) => "negative",
        (true, 1) => "positive",
        _ => &prediction.label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_default_run_is_overwritten() {
        let folder = std::env::temp_dir().join(format!("sst2-test-{}", std::process::id()));
        std::fs::create_dir_all(folder.join(CHECKPOINT_FOLDER)).unwrap();
        assert!(holds_only_a_run(&folder));
        std::fs::write(folder.join("notes.txt"), b"").unwrap();
        assert!(!holds_only_a_run(&folder));
        let given = ["sst2", "--out", folder.to_str().unwrap()];
        let error = prepare_out(&Arguments::try_parse_from(given).unwrap()).unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
        let overwrite = Arguments::try_parse_from(given.into_iter().chain(["--overwrite"]));
        prepare_out(&overwrite.unwrap()).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
