//! Pre-trains a small RoBERTa (masked language modelling) or GPT-2 (causal language modelling) from
//! scratch, tokenizer included.
//!
//! This is the program that made `assets/roberta-tiny` and `assets/gpt2-tiny`; their model cards
//! have the commands.

mod causal;
mod corpus;
mod masked;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use burn_lora_examples::{DeviceArgument, run};
use clap::{Parser, ValueEnum};
use corpus::Corpus;
use indicatif::{ProgressBar, ProgressStyle};
use lora_core::file::prepare_folder;
use lora_models::bert::MaskedLm;
use lora_models::gpt2::CausalLm;
use lora_models::{Precision, PretrainedModel, Tokenizer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Pre-train a small RoBERTa (Liu et al. 2019) or GPT-2 (Radford et al. 2019) from scratch.
#[derive(Parser)]
struct Arguments {
    /// Text files, one document a line
    #[arg(required = true)]
    text: Vec<PathBuf>,
    /// What to train: masked language modelling with RoBERTa, or causal with GPT-2
    #[arg(long, value_enum, default_value_t = Architecture::Roberta)]
    architecture: Architecture,
    /// Folder for the model and its tokenizer
    #[arg(long)]
    out: PathBuf,
    /// Write into the folder though it exists
    #[arg(long)]
    overwrite: bool,
    /// Go on from the model in this folder, with its tokenizer
    #[arg(long, value_name = "DIR")]
    init: Option<PathBuf>,
    /// Parts of a batch to compute at the same time: a small model's operations are too short to
    /// keep several cores busy
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// Size of the byte-level BPE vocabulary
    #[arg(long, default_value_t = 8000)]
    vocabulary: usize,
    /// Width of the hidden states
    #[arg(long, default_value_t = 160)]
    hidden: usize,
    /// Number of layers
    #[arg(long, default_value_t = 5)]
    layers: usize,
    /// Number of attention heads
    #[arg(long, default_value_t = 5)]
    heads: usize,
    /// Longest sequence, special tokens included
    #[arg(long, default_value_t = 128)]
    max_len: usize,
    /// Optimizer steps
    #[arg(long, default_value_t = 10_000)]
    steps: usize,
    /// Tokens in a batch
    #[arg(long, default_value_t = 4096)]
    batch_tokens: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 1e-3)]
    lr: f64,
    /// Share of the tokens to predict, with RoBERTa
    #[arg(long, default_value_t = 0.15)]
    mask: f64,
    /// Seed of initialisation, batches and masks
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgument,
}

impl Arguments {
    fn check(&self) -> Result<(), String> {
        let at_least = |option: &str, value: usize, least: usize| match value >= least {
            true => Ok(()),
            false => Err(format!("{option} is {value}, expected at least {least}")),
        };
        at_least("--parallel", self.parallel, 1)?;
        // The shortest sequences are a quarter of this, with two special tokens and one to predict.
        at_least("--max-len", self.max_len, 12)?;
        at_least("--heads", self.heads, 1)?;
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!(
                "--heads is {}, expected a divisor of --hidden, {}",
                self.heads, self.hidden
            ));
        }
        match self.mask > 0.0 && self.mask <= 1.0 {
            true => Ok(()),
            false => Err(format!(
                "--mask is {}, expected more than 0 and at most 1",
                self.mask
            )),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Architecture {
    Roberta,
    Gpt2,
}

/// One of this many documents is held out to measure the model on.
const HELD_OUT: usize = 100;
/// Steps between two measurements, each followed by a save.
const MEASURE_EVERY: usize = 1000;

/// A language model that is trained from scratch.
trait LanguageModel: PretrainedModel {
    /// A tokenizer for the texts.
    fn train_tokenizer(
        documents: &[String],
        vocabulary: usize,
    ) -> Result<Tokenizer, Box<dyn Error>>;

    /// The shape of the model.
    fn shape(arguments: &Arguments, tokenizer: &Tokenizer) -> Result<Self::Config, Box<dyn Error>>;

    /// The ids of a document as they follow the one before it.
    fn document(ids: Vec<u32>, tokenizer: &Tokenizer) -> Vec<u32>;

    /// Draws a part of a batch, sequences of `length` tokens from random places of `text`.
    fn draw(
        corpus: &Corpus,
        text: &[u32],
        length: usize,
        arguments: &Arguments,
        rng: &mut StdRng,
    ) -> Batch;

    /// The logits of the tokens that are to be predicted, `[targets, vocabulary]`.
    fn predict(&self, batch: &Batch, device: &Device) -> Tensor<2>;
}

/// Sequences, and what is to be predicted in them.
struct Batch {
    ids: Vec<i32>,
    shape: [usize; 2],
    /// Where, as indices into `ids`.
    positions: Vec<i32>,
    targets: Vec<i32>,
}

impl Batch {
    /// The mean loss of what is to be predicted, and how much of it is right.
    fn loss<M: LanguageModel>(&self, model: &M, device: &Device) -> (Tensor<1>, i64) {
        let targets = corpus::vector(&self.targets, device);
        let logits = model.predict(self, device);
        let guess = logits.clone().argmax(1).reshape([-1]);
        let right = guess.equal(targets.clone()).int().sum();
        let loss = lora_train::loss::cross_entropy(logits, targets, None);
        (loss, right.into_scalar())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| match arguments.architecture {
        Architecture::Roberta => pretrain::<MaskedLm>(&arguments),
        Architecture::Gpt2 => pretrain::<CausalLm>(&arguments),
    })
}

fn pretrain<M: LanguageModel>(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    arguments.check()?;
    let (_, device) = arguments.device.open()?;
    prepare_folder(&arguments.out, arguments.overwrite)?;
    let documents = corpus::read(&arguments.text)?;
    println!("{} documents", documents.len());

    let tokenizer = match &arguments.init {
        Some(folder) => Tokenizer::from_folder(folder)?,
        None => M::train_tokenizer(&documents, arguments.vocabulary)?,
    };
    tokenizer.save(&arguments.out)?;
    let corpus = Corpus::new::<M>(&tokenizer, &documents)?;
    println!(
        "{} tokens of {} kinds to train on, {} held out",
        corpus.train.len(),
        tokenizer.vocab_size(),
        corpus.held_out.len()
    );

    if corpus.train.len().min(corpus.held_out.len()) <= arguments.max_len {
        return Err(format!(
            "there is too little text: one document of {HELD_OUT} is held out, and both parts have \
             to be longer than --max-len {}",
            arguments.max_len
        )
        .into());
    }

    device.seed(arguments.seed);
    let training_device = device.clone().autodiff();
    let model = match &arguments.init {
        Some(folder) => M::from_pretrained(&folder.to_string_lossy(), &training_device)?.model,
        None => M::new(&M::shape(arguments, &tokenizer)?, &training_device),
    };
    lora_core::state::initialize(&model);
    println!("{} parameters", model.num_params());
    train(model, &corpus, arguments, &device)
}

fn train<M: LanguageModel>(
    mut model: M,
    corpus: &Corpus,
    arguments: &Arguments,
    device: &Device,
) -> Result<(), Box<dyn Error>> {
    let mut optimizer = AdamWConfig::new()
        .with_beta_2(0.98)
        .with_weight_decay(0.01)
        .init();
    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let training_device = device.clone().autodiff();
    let bar = ProgressBar::new(arguments.steps as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} {elapsed}<{eta} {msg}",
    )?);
    let start = Instant::now();
    let mut tokens = 0;
    let mut smooth = 0.0;
    for step in 1..=arguments.steps {
        // Short and long sequences in turn: every position is trained, and short inputs are
        // not strange to the model.
        let length = arguments.max_len >> rng.random_range(0..3);
        let parts: Vec<Batch> = (0..arguments.parallel)
            .map(|_| M::draw(corpus, &corpus.train, length, arguments, &mut rng))
            .collect();
        tokens += parts.iter().map(|part| part.ids.len()).sum::<usize>();
        let (value, gradients) = backward(&model, parts, &training_device);
        smooth = if step == 1 {
            value
        } else {
            0.98 * smooth + 0.02 * value
        };
        model = optimizer.step(rate(step, arguments), model, gradients);
        bar.set_position(step as u64);
        bar.set_message(format!("loss {smooth:.3}"));
        if step % MEASURE_EVERY == 0 || step == arguments.steps {
            let (loss, accuracy) = measure(&model.valid(), corpus, arguments, device);
            let speed = tokens as f64 / start.elapsed().as_secs_f64();
            println!(
                "step {step}: training loss {smooth:.3}, held-out loss {loss:.3} (perplexity \
                 {:.1}), accuracy {:.1} %, {speed:.0} tokens/s",
                loss.exp(),
                100.0 * accuracy
            );
            model
                .valid()
                .save_pretrained(&arguments.out, Precision::F16, true)?;
        }
    }
    bar.finish();
    Ok(())
}

/// The mean loss of the parts of a batch and its gradients, the parts computed side by side.
fn backward<M: LanguageModel>(
    model: &M,
    parts: Vec<Batch>,
    device: &Device,
) -> (f32, GradientsParams) {
    let share = 1.0 / parts.len() as f32;
    let results: Vec<(f32, GradientsParams)> = std::thread::scope(|scope| {
        let workers: Vec<_> = parts
            .into_iter()
            .map(|part| {
                // A fork has leaves of its own under the same ids: two backward passes over one
                // set of leaves would meet in one graph.
                let model = model.clone().fork(device);
                scope.spawn(move || {
                    let loss = part.loss(&model, device).0.mul_scalar(share);
                    let gradients = GradientsParams::from_grads(loss.backward(), &model);
                    (loss.into_scalar::<f32>(), gradients)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker panicked"))
            .collect()
    });
    let mut accumulator = GradientsAccumulator::new();
    let mut sum = 0.0;
    for (loss, gradients) in results {
        sum += loss;
        accumulator.accumulate(model, gradients);
    }
    (sum, accumulator.grads())
}

/// Linear warm-up over 5 % of the steps, then linear decay.
fn rate(step: usize, arguments: &Arguments) -> f64 {
    let (step, steps) = (step as f64, arguments.steps as f64);
    let warmup = 0.05 * steps;
    arguments.lr
        * (step / warmup)
            .min((steps - step) / (steps - warmup))
            .max(0.0)
}

/// The loss and the accuracy on the same tokens of the held-out text each time.
fn measure<M: LanguageModel>(
    model: &M,
    corpus: &Corpus,
    arguments: &Arguments,
    device: &Device,
) -> (f64, f64) {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut loss, mut right, mut count) = (0.0, 0, 0);
    for _ in 0..20 {
        let held_out = &corpus.held_out;
        let batch = M::draw(corpus, held_out, arguments.max_len, arguments, &mut rng);
        let (batch_loss, batch_right) = batch.loss(model, device);
        loss += batch_loss.into_scalar::<f32>() as f64 * batch.targets.len() as f64;
        right += batch_right;
        count += batch.targets.len();
    }
    (loss / count as f64, right as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |text: &str| {
            let words = ["pretrain", "text.txt", "--out", "out"];
            let words = words.into_iter().chain(text.split_whitespace());
            Arguments::try_parse_from(words).unwrap().check()
        };
        assert_eq!(check(""), Ok(()));
        for (options, expected) in [
            ("--heads 0", "--heads is 0, expected at least 1"),
            (
                "--heads 7",
                "--heads is 7, expected a divisor of --hidden, 160",
            ),
            ("--mask 0", "--mask is 0, expected more than 0"),
            ("--mask 1.5", "--mask is 1.5, expected more than 0"),
            ("--max-len 11", "--max-len is 11, expected at least 12"),
        ] {
            let error = check(options).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
