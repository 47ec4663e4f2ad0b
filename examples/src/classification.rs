//! Fine-tuning a model to sort texts into classes: what `sst2` and `imdb` do.

use std::error::Error;

use clap::Args;
use lora_models::{SequenceClassifier, TextConfig, Tokenizer, bert, gpt2};
use lora_train::data::{DataFiles, TokenizedDataset, TokenizedExample, read_examples, sample};
use lora_train::{Prediction, RunNames, Task, TrainingConfig, predict};

use crate::fine_tuning::{FineTuning, OutArguments};
use crate::method_arguments::{Kind, MethodArguments, UsualAdapters};
use crate::named;
use crate::training_arguments::TrainingArguments;

/// What a program that classifies is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder with a checkpoint, or a model's id on the hub [default: the small one in the
    /// repository]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<String>,
    /// Folder with train.tsv and dev.tsv (or csv, jsonl, parquet), or a data set's id on the hub,
    /// such as stanfordnlp/sst2 or stanfordnlp/imdb [default: assets/reviews]
    #[arg(long, value_name = "DIR|ID")]
    data: Option<String>,
    /// Train on this many of the examples, drawn at random
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 2)]
    labels: usize,
    #[command(flatten)]
    out: OutArguments,
    #[command(flatten)]
    method: MethodArguments,
    #[command(flatten)]
    training: TrainingArguments,
}

/// What tells one of these programs from another.
#[derive(Debug)]
pub struct Program {
    /// Where a run goes that is told nothing else.
    pub out: &'static str,
    /// The embedded model.
    pub model: &'static str,
    /// The adapters.
    pub adapters: UsualAdapters<'static>,
    /// The longest sequence in tokens.
    pub max_len: usize,
}

/// RoBERTa or BERT on sentences.
pub const SST2: Program = Program {
    out: "out/sst2",
    model: "roberta-tiny",
    adapters: UsualAdapters {
        rank: 8,
        alpha: 16.0,
        targets: "query,value",
        dropout: 0.0,
    },
    max_len: 128,
};

/// GPT-2 on reviews.
pub const IMDB: Program = Program {
    out: "out/imdb",
    model: "gpt2-tiny",
    adapters: UsualAdapters {
        rank: 4,
        alpha: 16.0,
        targets: r"transformer\.h\..*\.attn\.c_.*",
        dropout: 0.0,
    },
    max_len: 256,
};

/// A model that these programs can train.
pub trait Classifier: SequenceClassifier + Task<Example = TokenizedExample> {
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
    let mut config = arguments.training.config(arguments.usual(program))?;
    let out = arguments.out.prepare(program.out, &[])?;
    let (device_name, device) = arguments.out.device.open()?;

    let model_name = named(&arguments.model, program.model);
    device.seed(config.seed);
    let loaded = M::from_pretrained_with(
        &model_name,
        |config| M::configure(config, arguments.labels),
        &device,
    )?;
    println!("model: {model_name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    if arguments.training.max_len.is_none() {
        config.max_len = config.max_len.min(loaded.model.config().max_tokens());
    }
    let method = arguments
        .method
        .method(program.adapters, loaded.model.config())?;

    let data_name = named(&arguments.data, "reviews");
    let files = DataFiles::find(&data_name)?;
    let examples = read_examples(&files.train, arguments.labels)?;
    let examples = sample(examples, arguments.limit.unwrap_or(usize::MAX), config.seed);
    let encode = |examples: &[_]| {
        TokenizedDataset::encode(examples, &tokenizer, loaded.model.config(), config.max_len)
    };
    let train = encode(&examples)?;
    let dev = encode(&read_examples(&files.dev, arguments.labels)?)?;
    let (train_count, dev_count) = (train.examples().len(), dev.examples().len());
    println!("data: {data_name}: {train_count} examples to train on, {dev_count} to measure on");

    let run = FineTuning {
        method,
        config: &config,
        out: &out,
        resume: arguments.out.resume,
        train: &train,
        dev: &dev,
        tokenizer: &tokenizer,
        names: RunNames {
            model: &model_name,
            data: &data_name,
            device: &device_name,
        },
    };
    let Some(trained) = run.run(loaded.model)? else {
        return Ok(());
    };
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

impl Arguments {
    /// How it is trained if nothing else is said. The embedded model is so small that it takes, and
    /// needs, larger steps than a real one.
    fn usual(&self, program: &Program) -> TrainingConfig {
        let embedded = self.model.is_none();
        let rate = match embedded && self.method.method != Kind::Full {
            true => 3e-3,
            false => 5e-4,
        };
        TrainingConfig::new()
            .with_epochs(if embedded { 4 } else { 3 })
            .with_learning_rate(rate)
            .with_max_len(program.max_len)
    }
}

/// The model's name for a class, if it has one of its own.
fn label(prediction: &Prediction) -> &str {
    match (prediction.label.starts_with("LABEL_"), prediction.class) {
        (true, 0) => "negative",
        (true, 1) => "positive",
        _ => &prediction.label,
    }
}
