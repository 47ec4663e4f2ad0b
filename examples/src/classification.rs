//! Fine-tuning a model to sort texts into classes: what `sst2` and `imdb` do.

mod arguments;

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use arguments::Kind;
use lora_core::file::prepare_folder;
use lora_core::{DEFAULT_ADAPTER, LoraModule, ParameterReport};
use lora_models::{Precision, SequenceClassifier, TextConfig, Tokenizer, bert, gpt2};
use lora_train::data::{DataFiles, TokenizedDataset, TokenizedExample, read_examples, sample};
use lora_train::{
    CHECKPOINT_FOLDER, Evaluation, LoraFa, METRICS_NAME, Method, Prediction, Progress, RunMetrics,
    RunNames, Task, plot, predict, train,
};

pub use arguments::{Arguments, targets};

use crate::{asset, holds_only};

const ADAPTER: &str = "adapter";
const MODEL: &str = "model";
const PLOT: &str = "plot.svg";

/// What tells one of these programs from another.
#[derive(Debug)]
pub struct Program {
    /// Where a run goes that is told nothing else.
    pub out: &'static str,
    /// The embedded model.
    pub model: &'static str,
    /// The rank of the adapters.
    pub rank: usize,
    /// Where they go.
    pub targets: &'static str,
    /// The longest sequence in tokens.
    pub max_len: usize,
}

/// RoBERTa or BERT on sentences.
pub const SST2: Program = Program {
    out: "out/sst2",
    model: "roberta-tiny",
    rank: 8,
    targets: "query,value",
    max_len: 128,
};

/// GPT-2 on reviews.
pub const IMDB: Program = Program {
    out: "out/imdb",
    model: "gpt2-tiny",
    rank: 4,
    targets: r"transformer\.h\..*\.attn\.c_.*",
    max_len: 256,
};

/// A model that these programs can train.
pub trait Classifier:
    SequenceClassifier + Task<Example = TokenizedExample, Evaluation = Evaluation>
{
    /// The checkpoint's configuration for so many classes.
    fn configure(config: Self::Config, labels: usize) -> Self::Config;
}

impl Classifier for bert::SequenceClassification {
    fn configure(config: Self::Config, labels: usize) -> Self::Config {
        config.with_num_labels(labels)
    }
}

impl Classifier for gpt2::SequenceClassification {
    /// GPT-2's files have no padding token: any will do, as the mask tells it from text.
    fn configure(config: Self::Config, labels: usize) -> Self::Config {
        let pad = config.pad_token_id.unwrap_or(config.eos_token_id);
        config.with_num_labels(labels).with_pad_token_id(pad)
    }
}

/// Trains, measures and saves, and classifies a few sentences.
///
/// # Errors
///
/// Whatever stands in the way, with the file or option that it is about.
pub fn fine_tune<M: Classifier>(
    program: &Program,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let mut config = arguments.training_config(program);
    config.validate()?;
    let out = prepare_out(program, arguments)?;
    let (device_name, device) = arguments.device.open()?;

    let model_name = named(&arguments.model, program.model);
    device.seed(config.seed);
    let loaded = M::from_pretrained_with(
        &model_name,
        |config| M::configure(config, arguments.labels),
        &device,
    )?;
    println!("model: {model_name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    let max_tokens = loaded.model.config().max_tokens();
    if arguments.training.max_len.is_none() {
        config.max_len = config.max_len.min(max_tokens);
    }

    let data_name = named(&arguments.data, "reviews");
    let files = DataFiles::find(&data_name)?;
    let examples = read_examples(&files.train, arguments.labels)?;
    let examples = sample(examples, arguments.limit.unwrap_or(usize::MAX), config.seed);
    let encode = |examples: &[_]| {
        TokenizedDataset::encode(examples, &tokenizer, loaded.model.config(), config.max_len)
    };
    let train_data = encode(&examples)?;
    let dev_data = encode(&read_examples(&files.dev, arguments.labels)?)?;
    let (train_count, dev_count) = (train_data.examples().len(), dev_data.examples().len());
    println!("data: {data_name}: {train_count} examples to train on, {dev_count} to measure on");

    let method = match arguments.method.lora(program)? {
        Some(lora) => Method::lora(lora, loaded.model.config()),
        None if arguments.method.method == Kind::Full => Method::Full,
        None => Method::Head,
    };
    let plan = match &method {
        Method::Lora(lora) => Some(lora.plan(&loaded.model)?),
        _ => None,
    };
    let mut model = method.prepare(loaded.model)?;
    if config.lora_fa {
        // What the report counts is what trains.
        model = LoraFa::freeze(model)?;
    }
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
fn prepare_out(program: &Program, arguments: &Arguments) -> Result<PathBuf, Box<dyn Error>> {
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(program.out));
    let ours = arguments.out.is_none() && holds_only_a_run(&out);
    prepare_folder(&out, arguments.overwrite || ours)?;
    Ok(out)
}

fn holds_only_a_run(folder: &Path) -> bool {
    holds_only(
        folder,
        &[ADAPTER, MODEL, CHECKPOINT_FOLDER, METRICS_NAME, PLOT],
    )
}

fn saved_as(method: &Method) -> &'static str {
    match method {
        Method::Lora(_) => ADAPTER,
        Method::Full | Method::Head => MODEL,
    }
}

/// Writes the adapter or the model, over that of an earlier run.
fn save<M: SequenceClassifier>(
    out: &Path,
    method: &Method,
    model: &M,
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
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn only_our_own_default_run_is_overwritten() {
        let folder = std::env::temp_dir().join(format!("sst2-test-{}", std::process::id()));
        std::fs::create_dir_all(folder.join(CHECKPOINT_FOLDER)).unwrap();
        assert!(holds_only_a_run(&folder));
        std::fs::write(folder.join("notes.txt"), b"").unwrap();
        assert!(!holds_only_a_run(&folder));
        let given = ["sst2", "--out", folder.to_str().unwrap()];
        let prepare = |arguments: &[&str]| {
            let line = Line::try_parse_from(arguments).unwrap();
            prepare_out(&SST2, &line.arguments)
        };
        let error = prepare(&given).unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
        prepare(&[&given[..], &["--overwrite"]].concat()).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
