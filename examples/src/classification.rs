//! Fine-tuning a model to sort texts into classes: what `sst2` and `imdb` do.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use lora_models::{SequenceClassifier, TextConfig, Tokenizer, bert, gpt2};
use lora_train::data::{
    DataFiles, EncodeOptions, EncodeProgress, Example, TokenizedDataset, TokenizedExample,
    read_examples, sample,
};
use lora_train::{Classes, Prediction, RunNames, Task, TrainingConfig, predict};

use crate::fine_tuning::{FineTuning, OutArguments, Shown};
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
    /// Folder that keeps the token ids for the next time
    #[arg(long, value_name = "DIR")]
    token_cache: Option<PathBuf>,
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
    let (device_name, devices) = arguments.out.open_devices()?;
    let device = &devices[0];

    let model_name = named(&arguments.model, program.model);
    device.seed(config.seed);
    let loaded = M::from_pretrained_quantized(
        &model_name,
        |config| M::configure(config, arguments.labels),
        arguments.method.quantization(device)?.as_ref(),
        device,
    )?;
    println!("model: {model_name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    let longest = loaded.model.config().max_tokens();
    arguments.training.fit_max_len(&mut config, longest);
    let method = arguments
        .method
        .method(program.adapters, loaded.model.config())?;

    let data_name = named(&arguments.data, "reviews");
    let files = DataFiles::find(&data_name)?;
    let examples = read_examples(&files.train, arguments.labels)?;
    let examples = sample(examples, arguments.limit.unwrap_or(usize::MAX), config.seed);
    let encode = |examples: &[_]| {
        let mut options = EncodeOptions::new(config.max_len).with_progress(EncodeProgress::Bar);
        options.cache = arguments.token_cache.clone();
        TokenizedDataset::encode_with(examples, &tokenizer, loaded.model.config(), &options)
    };
    let train = encode(&examples)?;
    let dev_examples = read_examples(&files.dev, arguments.labels)?;
    let dev = encode(&dev_examples)?;
    let (train_count, dev_count) = (train.examples().len(), dev.examples().len());
    println!("data: {data_name}: {train_count} examples to train on, {dev_count} to measure on");

    let run = FineTuning {
        method,
        config: &config,
        out: &out,
        resume: arguments.out.resume,
        devices: &devices,
        train: &train,
        dev: &dev,
        tokenizer: &tokenizer,
        names: RunNames {
            model: &model_name,
            data: &data_name,
            device: &device_name,
        },
    };
    let names = class_names(loaded.model.config());
    let texts: Vec<String> = dev_examples.iter().map(whole_text).collect();
    let shown = shown(&train, &dev, &names, &texts);
    let Some(trained) = run.run_and_show(loaded.model, &shown)? else {
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
        for (
            sentence,
            Prediction {
                class, probability, ..
            },
        ) in sentences.iter().zip(&said)
        {
            println!("{:>8} {probability:.3}  {sentence}", names[*class]);
        }
    }
    Ok(())
}

/// What the page on a classifier's run shows: its `texts` are the development examples.
pub fn shown<'a>(
    train: &TokenizedDataset,
    dev: &TokenizedDataset,
    names: &'a [String],
    texts: &'a [String],
) -> Shown<'a> {
    // About twenty bars, however long the texts are.
    let width = train.lengths(1).longest.div_ceil(20);
    Shown {
        lengths: vec![
            ("Training", train.lengths(width)),
            ("Development", dev.lengths(width)),
        ],
        classes: (names.len() > 1).then_some(Classes { names, texts }),
    }
}

impl Arguments {
    /// How it is trained if nothing else is said. The embedded model is so small that it takes, and
    /// needs, larger steps than a real one.
    fn usual(&self, program: &Program) -> TrainingConfig {
        let embedded = self.model.is_none();
        let whole = matches!(self.method.method, Kind::Full | Kind::Factorized);
        let rate = match embedded && !whole {
            true => 3e-3,
            false => 5e-4,
        };
        TrainingConfig::new()
            .with_epochs(if embedded { 4 } else { 3 })
            .with_learning_rate(rate)
            .with_max_len(program.max_len)
    }
}

/// The model's names for its classes; of two that have none, what they usually are.
pub fn class_names(config: &impl TextConfig) -> Vec<String> {
    let names: Vec<String> = config.id2label().values().cloned().collect();
    match names == ["LABEL_0", "LABEL_1"] {
        true => ["negative", "positive"].map(String::from).to_vec(),
        false => names,
    }
}

/// Both texts of a pair.
pub fn whole_text(example: &Example) -> String {
    match &example.pair {
        Some(pair) => format!("{}\n{pair}", example.text),
        None => example.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lora_models::bert::BertConfig;
    use lora_train::data::Label;

    #[test]
    fn only_two_classes_without_names_are_given_some() {
        let names = |labels| class_names(&BertConfig::roberta_base().with_num_labels(labels));
        assert_eq!(names(2), ["negative", "positive"]);
        assert_eq!(names(3), ["LABEL_0", "LABEL_1", "LABEL_2"]);
    }

    #[test]
    fn a_pair_is_shown_whole() {
        let example = |pair: Option<&str>| Example {
            text: "one".into(),
            pair: pair.map(String::from),
            label: Label::Class(0),
        };
        assert_eq!(whole_text(&example(None)), "one");
        assert_eq!(whole_text(&example(Some("two"))), "one\ntwo");
    }
}
