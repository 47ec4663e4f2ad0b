//! Fine-tunes a BERT or RoBERTa on a task of GLUE.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use burn_lora_examples::classification::{class_names, shown, whole_text};
use burn_lora_examples::fine_tuning::{FineTuning, OutArguments};
use burn_lora_examples::method_arguments::{MethodArguments, UsualAdapters};
use burn_lora_examples::run;
use burn_lora_examples::training_arguments::TrainingArguments;
use clap::{Parser, ValueEnum};
use lora_models::bert::{BertConfig, SequenceClassification};
use lora_models::{PretrainedModel, Tokenizer};
use lora_train::data::{EncodeOptions, EncodeProgress, Example, TokenizedDataset, sample};
use lora_train::glue::{GLUE_ID, GlueTask, RobertaSize};
use lora_train::{RunNames, TrainingConfig, evaluate};

/// Fine-tune a BERT or RoBERTa on a task of GLUE, and report the benchmark's metrics.
#[derive(Debug, Parser)]
#[command(name = "glue")]
struct Arguments {
    /// cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte or wnli
    task: GlueTask,
    /// Folder with a checkpoint, or a model's id on the hub
    #[arg(long, value_name = "DIR|ID", default_value = "FacebookAI/roberta-base")]
    model: String,
    /// Folder with the task's files in GLUE's format, or a data set's id on the hub
    #[arg(long, value_name = "DIR|ID", default_value = GLUE_ID)]
    data: String,
    /// Train on this many of the examples, drawn at random
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Measure on the first so many development examples only
    #[arg(long, value_name = "N")]
    limit_dev: Option<usize>,
    /// The LoRA paper's settings for RoBERTa of that size (Hu et al. 2021, table 9); options go
    /// before
    #[arg(long, value_name = "SIZE")]
    paper: Option<Size>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    Base,
    Large,
}

impl Size {
    fn roberta(self) -> RobertaSize {
        match self {
            Self::Base => RobertaSize::Base,
            Self::Large => RobertaSize::Large,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| fine_tune(&arguments))
}

fn fine_tune(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let task = arguments.task;
    let (usual, adapters) = arguments.usual()?;
    let mut config = arguments.training.config(usual)?;
    let out = arguments.out.prepare(&format!("out/glue-{task}"), &[])?;
    let (device_name, devices) = arguments.out.open_devices()?;
    let device = &devices[0];

    device.seed(config.seed);
    let model_name = arguments.model.as_str();
    let configure = |config: BertConfig| config.with_labels(task.label_names());
    let quantization = arguments.method.quantization(device)?;
    let loaded = SequenceClassification::from_pretrained_quantized(
        model_name,
        configure,
        quantization.as_ref(),
        device,
    )?;
    println!("model: {model_name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    let shape = loaded.model.config().clone();
    arguments
        .training
        .fit_max_len(&mut config, shape.max_tokens());

    let splits = task.load(&arguments.data)?;
    let encode = |examples: &[Example]| {
        let mut options = EncodeOptions::new(config.max_len).with_progress(EncodeProgress::Bar);
        options.cache = arguments.token_cache.clone();
        TokenizedDataset::encode_with(examples, &tokenizer, &shape, &options)
    };
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let train = encode(&sample(splits.train, limit, config.seed))?;
    let limit = arguments.limit_dev.unwrap_or(usize::MAX);
    let mut dev = Vec::new();
    for (name, examples) in &splits.dev {
        dev.push((*name, encode(&examples[..limit.min(examples.len())])?));
    }
    let counts: Vec<String> = dev
        .iter()
        .map(|(name, data)| format!("{} in {name}", data.examples().len()))
        .collect();
    println!(
        "data: {} from {}: {} examples to train on; to measure on: {}",
        task.title(),
        arguments.data,
        train.examples().len(),
        counts.join(", ")
    );

    let run = FineTuning {
        method: arguments.method.method(adapters, &shape)?,
        config: &config,
        out: &out,
        resume: arguments.out.resume,
        devices: &devices,
        train: &train,
        dev: &dev[0].1,
        tokenizer: &tokenizer,
        names: RunNames {
            model: model_name,
            data: &arguments.data,
            device: &device_name,
        },
    };
    let names = class_names(&shape);
    let texts: Vec<String> = splits.dev[0].1.iter().take(limit).map(whole_text).collect();
    let shown = shown(&train, &dev[0].1, &names, &texts);
    let Some(trained) = run.run_and_show(loaded.model, &shown)? else {
        return Ok(());
    };
    for (index, (name, data)) in dev.iter().enumerate() {
        let evaluation = match (index, &trained.evaluation) {
            (0, Some(evaluation)) => evaluation.clone(),
            _ => evaluate(&trained.model, data, config.batch_size)?,
        };
        let metrics: Vec<String> = task
            .metrics()
            .iter()
            .map(|metric| format!("{metric} {:.4}", evaluation.get(metric)))
            .collect();
        println!("{} {name}: {}", task.title(), metrics.join(", "));
    }
    Ok(())
}

impl Arguments {
    /// How it is trained, and with which adapters, if nothing else is said.
    fn usual(&self) -> Result<(TrainingConfig, UsualAdapters<'static>), Box<dyn Error>> {
        let adapters = |alpha| UsualAdapters {
            rank: 8,
            alpha,
            targets: "query,value",
            dropout: 0.0,
        };
        let (training, adapters) = match self.paper {
            None => (TrainingConfig::new(), adapters(16.0)),
            Some(size) => {
                let settings = self.task.paper_settings(size.roberta());
                let settings =
                    settings.ok_or("the LoRA paper leaves WNLI out: it has no settings")?;
                if settings.starts_from_mnli {
                    println!("note: the paper starts this task from its adapter for MNLI");
                }
                (settings.training, adapters(settings.lora.lora_alpha))
            }
        };
        let best = self.task.main_metric().to_string();
        Ok((training.with_metric_for_best_model(best), adapters))
    }
}
