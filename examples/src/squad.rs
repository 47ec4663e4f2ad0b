//! Fine-tuning a model to answer questions, and measuring what it answers: what `squad` does.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use lora_models::bert::QuestionAnswering;
use lora_models::{PretrainedModel, Tokenizer};
use lora_train::data::{EncodeOptions, EncodeProgress, TokenizedDataset};
use lora_train::squad::{
    AnswerOptions, NBEST_NAME, NULL_ODDS_NAME, PREDICTIONS_NAME, Question, SquadFiles, SquadReport,
    Windows, has_unanswerable, read_squad,
};
use lora_train::{RunNames, TrainingConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::fine_tuning::{FineTuning, OutArguments, Shown};
use crate::method_arguments::{Kind, MethodArguments, UsualAdapters};
use crate::named;
use crate::training_arguments::TrainingArguments;

/// Where a run goes that is told nothing else.
const DEFAULT_OUT: &str = "out/squad";
/// How many questions are shown with their answers.
const SHOWN: usize = 4;
/// The adapters, if nothing else is said.
const ADAPTERS: UsualAdapters<'static> = UsualAdapters {
    rank: 8,
    alpha: 16.0,
    targets: "query,value",
    dropout: 0.0,
};

/// What the program is told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder with a checkpoint, or a model's id on the hub [default: the small one in the
    /// repository]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<String>,
    /// Folder with train.json and dev.json (or train-v1.1.json.gz, …), or a data set's id on the hub:
    /// rajpurkar/squad or rajpurkar/squad_v2 [default: assets/questions]
    #[arg(long, value_name = "DIR|ID", conflicts_with_all = ["train", "dev"])]
    data: Option<String>,
    /// File with the questions to train on
    #[arg(long, value_name = "FILE", requires = "dev")]
    train: Option<PathBuf>,
    /// File with the questions to measure on
    #[arg(long, value_name = "FILE", requires = "train")]
    dev: Option<PathBuf>,
    /// Train on this many of the questions, drawn at random
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Measure on the first so many of the questions
    #[arg(long, value_name = "N")]
    limit_dev: Option<usize>,
    /// Tokens of a text that two of its windows share [default: 128, or a third of the
    /// longest sequence]
    #[arg(long, value_name = "N")]
    doc_stride: Option<usize>,
    /// Folder that keeps the token ids for the next time
    #[arg(long, value_name = "DIR")]
    token_cache: Option<PathBuf>,
    #[command(flatten)]
    answers: AnswerArguments,
    #[command(flatten)]
    out: OutArguments,
    #[command(flatten)]
    method: MethodArguments,
    #[command(flatten)]
    training: TrainingArguments,
}

/// How answers are chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "How to answer")]
struct AnswerArguments {
    /// There may be no answer, as in SQuAD 2.0 [default: if a question of the data has none]
    #[arg(long)]
    version_2: bool,
    /// Best first and last tokens that are combined, and best answers that are kept
    #[arg(long, value_name = "N", default_value_t = 20)]
    n_best_size: usize,
    /// Longest answer in tokens
    #[arg(long, value_name = "N", default_value_t = 30)]
    max_answer_length: usize,
    /// By how much the score of no answer has to be higher than that of the best one
    #[arg(
        long,
        value_name = "DIFFERENCE",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    null_score_diff_threshold: f64,
}

/// Trains, saves, answers the questions that are measured on, and measures the answers.
///
/// # Errors
///
/// Whatever stands in the way, with the file or option that it is about.
pub fn fine_tune(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut config = arguments.training.config(arguments.usual())?;
    let mut answers = arguments.answers.options();
    answers.validate()?;
    let files = [PREDICTIONS_NAME, NBEST_NAME, NULL_ODDS_NAME];
    let out = arguments.out.prepare(DEFAULT_OUT, &files)?;
    let (device_name, devices) = arguments.out.open_devices()?;
    let device = &devices[0];

    let model_name = named(&arguments.model, "roberta-tiny");
    device.seed(config.seed);
    let quantization = arguments.method.quantization(device)?;
    let quantization = quantization.as_ref();
    let loaded =
        QuestionAnswering::from_pretrained_quantized(&model_name, |c| c, quantization, device)?;
    println!("model: {model_name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    let shape = loaded.model.config().clone();
    arguments
        .training
        .fit_max_len(&mut config, shape.max_tokens());
    let windows = Windows {
        max_len: config.max_len,
        doc_stride: arguments.doc_stride(config.max_len),
    };

    let data = Data::read(arguments, config.seed)?;
    answers.version_2 |= has_unanswerable(&data.train) || has_unanswerable(&data.dev);
    let mut options = EncodeOptions::new(windows.max_len).with_progress(EncodeProgress::Bar);
    options.cache = arguments.token_cache.clone();
    let encode = |questions: &[_]| {
        let stride = windows.doc_stride;
        TokenizedDataset::questions_with(questions, &tokenizer, &shape, stride, &options)
    };
    let (train, dev) = (encode(&data.train)?, encode(&data.dev)?);
    println!(
        "data: {}: {} questions to train on ({} features), {} to measure on ({} features){}",
        data.name,
        data.train.len(),
        train.examples().len(),
        data.dev.len(),
        dev.examples().len(),
        if answers.version_2 {
            ", of which some may have no answer"
        } else {
            ""
        }
    );

    let run = FineTuning {
        method: arguments
            .method
            .question_answering_method(ADAPTERS, &shape)?,
        config: &config,
        out: &out,
        resume: arguments.out.resume,
        devices: &devices,
        train: &train,
        dev: &dev,
        tokenizer: &tokenizer,
        names: RunNames {
            model: &model_name,
            data: &data.name,
            device: &device_name,
        },
    };
    let batch_size = config.batch_size;
    let finished = run.run_and_measure(loaded.model, &Shown::default(), |model| {
        let start = Instant::now();
        let report = SquadReport::of(model, &data.dev, &dev, &answers, batch_size)?;
        let seconds = start.elapsed().as_secs_f64();
        for (question, (_, prediction)) in data.dev.iter().zip(&report.answers).take(SHOWN) {
            let right: Vec<&str> = question.answers.iter().map(|a| a.text.as_str()).collect();
            println!("{}", question.question);
            println!("  {:?}, expected {right:?}", prediction.text);
        }
        println!("{report} in {seconds:.1} s");
        report.write(&out.path)?;
        Ok(report.evaluation())
    })?;
    if finished.is_none() {
        return Ok(());
    }
    println!(
        "written to {}: {PREDICTIONS_NAME}, {NBEST_NAME}{}",
        out.path.display(),
        match answers.version_2 {
            true => format!(", {NULL_ODDS_NAME}"),
            false => String::new(),
        }
    );
    Ok(())
}

impl Arguments {
    /// How it is trained if nothing else is said. The embedded model is so small that it takes, and
    /// needs, larger steps than a real one.
    fn usual(&self) -> TrainingConfig {
        let rate = match (self.method.method, self.model.is_none()) {
            (Kind::Full, false) => 3e-5,
            (_, false) => 5e-4,
            (Kind::Full, true) => 5e-4,
            (_, true) => 3e-3,
        };
        TrainingConfig::new()
            .with_epochs(if self.model.is_none() { 8 } else { 2 })
            .with_batch_size(16)
            .with_learning_rate(rate)
            .with_max_len(Windows::default().max_len)
    }

    /// The stride, which has to be shorter than a window, also of a model with few positions.
    fn doc_stride(&self, max_len: usize) -> usize {
        let usual = Windows::default().doc_stride.min(max_len / 3);
        self.doc_stride.unwrap_or(usual)
    }
}

impl AnswerArguments {
    fn options(&self) -> AnswerOptions {
        AnswerOptions {
            n_best_size: self.n_best_size,
            max_answer_length: self.max_answer_length,
            version_2: self.version_2,
            null_score_diff_threshold: self.null_score_diff_threshold,
        }
    }
}

/// The questions of a run.
struct Data {
    name: String,
    train: Vec<Question>,
    dev: Vec<Question>,
}

impl Data {
    fn read(arguments: &Arguments, seed: u64) -> Result<Self, Box<dyn Error>> {
        let (name, files) = match (&arguments.train, &arguments.dev) {
            (Some(train), Some(dev)) => {
                let files = SquadFiles {
                    train: vec![train.clone()],
                    dev: vec![dev.clone()],
                };
                (train.display().to_string(), files)
            }
            _ => {
                let name = named(&arguments.data, "questions");
                let files = SquadFiles::find(&name)?;
                (name, files)
            }
        };
        let read = |paths: &[PathBuf]| -> Result<Vec<Question>, Box<dyn Error>> {
            let mut questions = Vec::new();
            for path in paths {
                questions.extend(read_squad(path)?);
            }
            Ok(questions)
        };
        let (mut train, mut dev) = (read(&files.train)?, read(&files.dev)?);
        if let Some(limit) = arguments.limit.filter(|limit| *limit < train.len()) {
            train.shuffle(&mut StdRng::seed_from_u64(seed));
            train.truncate(limit);
        }
        dev.truncate(arguments.limit_dev.unwrap_or(usize::MAX));
        Ok(Self { name, train, dev })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(text: &str) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("squad").chain(text.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    #[test]
    fn a_real_model_is_trained_as_run_qa_trains_it() {
        <Line as clap::CommandFactory>::command().debug_assert();
        let usual = |text: &str| {
            let arguments = parse(text).unwrap();
            let config = arguments.usual();
            let stride = arguments.doc_stride(config.max_len);
            let size = (config.epochs, config.batch_size, config.max_len, stride);
            (config.learning_rate, size)
        };
        let size = (2, 16, 384, 128);
        assert_eq!(usual("--model m --method full"), (3e-5, size));
        assert_eq!(usual("--model m --doc-stride 96").1, (2, 16, 384, 96));
        let answers = parse("--model m").unwrap().answers.options();
        assert_eq!(answers, AnswerOptions::new());
        let given = "--version-2 --null-score-diff-threshold -1.5 --n-best-size 5";
        let answers = parse(given).unwrap().answers.options();
        assert_eq!(
            (answers.version_2, answers.null_score_diff_threshold),
            (true, -1.5)
        );
    }

    #[test]
    fn files_come_in_pairs() {
        assert!(parse("--train a.json").is_err());
        assert!(parse("--train a.json --dev b.json --data c").is_err());
        let files = parse("--train a.json --dev b.json").unwrap();
        let error = Data::read(&files, 0).err().unwrap().to_string();
        assert!(error.starts_with("cannot read a.json"), "{error}");
    }

    #[test]
    fn the_embedded_questions_are_read() {
        let data = Data::read(&parse("--limit 5 --limit-dev 3").unwrap(), 1).unwrap();
        assert_eq!((data.train.len(), data.dev.len()), (5, 3));
        let again = Data::read(&parse("--limit 5").unwrap(), 1).unwrap();
        assert_eq!(again.train, data.train);
        assert_eq!(again.dev[..3], data.dev);
        assert!(!has_unanswerable(&again.dev));
    }
}
