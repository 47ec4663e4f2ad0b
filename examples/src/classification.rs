//! Fine-tuning a model to sort texts into classes: what `sst2` and `imdb` do.

mod arguments;

use std::error::Error;
use std::io::IsTerminal;

use arguments::Kind;
use lora_core::ParameterReport;
use lora_models::{SequenceClassifier, TextConfig, Tokenizer, bert, gpt2};
use lora_train::data::{DataFiles, TokenizedDataset, TokenizedExample, read_examples, sample};
use lora_train::{
    Evaluation, LoraFa, METRICS_NAME, Method, Prediction, Progress, RunMetrics, RunNames, Task,
    plot, predict, train,
};

pub use arguments::{Arguments, targets};

use crate::named;
use crate::run_folder::{PLOT, prepare_out, save, saved_as};

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
    let out = prepare_out(
        arguments.out.as_deref(),
        program.out,
        arguments.overwrite,
        &[],
    )?;
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

/// The model's name for a class, if it has one of its own.
fn label(prediction: &Prediction) -> &str {
    match (prediction.label.starts_with("LABEL_"), prediction.class) {
        (true, 0) => "negative",
        (true, 1) => "positive",
        _ => &prediction.label,
    }
}
