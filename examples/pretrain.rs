//! Pre-trains a small RoBERTa from scratch by masked language modelling, tokenizer included.
//!
//! This is the program that made `assets/roberta-tiny`; its model card has the command.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_lora_examples::{DeviceArgument, run};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lora_core::file::prepare_folder;
use lora_models::bert::{BertConfig, EncoderInput, MaskedLm};
use lora_models::tokenizer::{Tokenizer, train_byte_level_bpe};
use lora_models::{Precision, PretrainedModel};
use lora_train::loss::cross_entropy;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Pre-train a small RoBERTa from scratch by masked language modelling (Liu et al. 2019).
#[derive(Parser)]
struct Arguments {
    /// Text files, one document a line
    #[arg(required = true)]
    text: Vec<PathBuf>,
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
    /// Share of the tokens to predict
    #[arg(long, default_value_t = 0.15)]
    mask: f64,
    /// Seed of initialisation, batches and masks
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgument,
}

/// One of this many documents is held out to measure the model on.
const HELD_OUT: usize = 100;
/// Steps between two measurements, each followed by a save.
const MEASURE_EVERY: usize = 1000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| pretrain(&arguments))
}

fn pretrain(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (_, device) = arguments.device.open()?;
    prepare_folder(&arguments.out, arguments.overwrite)?;
    let mut documents = Vec::new();
    for path in &arguments.text {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        documents.extend(
            text.lines()
                .filter(|l| !l.trim().is_empty())
                .map(String::from),
        );
    }
    println!("{} documents", documents.len());

    let tokenizer = match &arguments.init {
        Some(folder) => Tokenizer::from_folder(folder)?,
        None => train_byte_level_bpe(documents.iter(), arguments.vocabulary, 2)?,
    };
    tokenizer.save(&arguments.out)?;
    let corpus = Corpus::new(&tokenizer, &documents)?;
    println!(
        "{} tokens of {} kinds to train on, {} held out",
        corpus.train.len(),
        tokenizer.vocab_size(),
        corpus.held_out.len()
    );

    device.seed(arguments.seed);
    let training_device = device.clone().autodiff();
    let model = match &arguments.init {
        Some(folder) => {
            MaskedLm::from_pretrained(&folder.to_string_lossy(), &training_device)?.model
        }
        None => MaskedLm::new(&config(arguments, &tokenizer), &training_device),
    };
    lora_core::state::initialize(&model);
    println!("{} parameters", model.num_params());
    train(model, &corpus, arguments, &device)
}

fn config(arguments: &Arguments, tokenizer: &Tokenizer) -> BertConfig {
    BertConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: arguments.hidden,
        num_hidden_layers: arguments.layers,
        num_attention_heads: arguments.heads,
        intermediate_size: 4 * arguments.hidden,
        max_position_embeddings: arguments.max_len + 2,
        // A model this small underfits: dropout would only slow it down.
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..BertConfig::roberta_base()
    }
}

fn train(
    mut model: MaskedLm,
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
            .map(|_| corpus.batch(&corpus.train, length, arguments, &mut rng))
            .collect();
        tokens += parts.iter().map(|part| part.tokens).sum::<usize>();
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
                "step {step}: training loss {smooth:.3}, held-out loss {loss:.3}, \
                 accuracy {:.1} %, {speed:.0} tokens/s",
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
fn backward(model: &MaskedLm, parts: Vec<Batch>, device: &Device) -> (f32, GradientsParams) {
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

/// The loss and the accuracy on the same masked tokens of the held-out text each time.
fn measure(
    model: &MaskedLm,
    corpus: &Corpus,
    arguments: &Arguments,
    device: &Device,
) -> (f64, f64) {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut loss, mut right, mut count) = (0.0, 0, 0);
    for _ in 0..20 {
        let batch = corpus.batch(&corpus.held_out, arguments.max_len, arguments, &mut rng);
        let masked = batch.targets.len();
        let (batch_loss, batch_right) = batch.loss(model, device);
        loss += batch_loss.into_scalar::<f32>() as f64 * masked as f64;
        right += batch_right.into_scalar::<i64>();
        count += masked;
    }
    (loss / count as f64, right as f64 / count as f64)
}

/// The tokens of all documents, one after the other.
struct Corpus {
    train: Vec<u32>,
    held_out: Vec<u32>,
    mask: u32,
    vocabulary: u32,
}

impl Corpus {
    fn new(tokenizer: &Tokenizer, documents: &[String]) -> Result<Self, Box<dyn Error>> {
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        // Documents are separated by `</s>`, without the `<s>` that starts each.
        for (first, chunk) in (0..).step_by(1024).zip(documents.chunks(1024)) {
            for (i, encoding) in tokenizer
                .encode_batch(chunk, usize::MAX)?
                .into_iter()
                .enumerate()
            {
                let side = match (first + i) % HELD_OUT {
                    0 => &mut held_out,
                    _ => &mut train,
                };
                side.extend_from_slice(&encoding.ids[1..]);
            }
        }
        let mask = tokenizer
            .mask_id()
            .ok_or("the tokenizer has no mask token")?;
        Ok(Self {
            train,
            held_out,
            mask,
            vocabulary: tokenizer.vocab_size() as u32,
        })
    }

    /// Sequences from random places of the text, with 80 % of the chosen tokens masked, 10 %
    /// replaced and 10 % kept (Devlin et al. 2018, section 3.1).
    fn batch(&self, text: &[u32], length: usize, arguments: &Arguments, rng: &mut StdRng) -> Batch {
        const SPECIAL: u32 = 5;
        let rows = (arguments.batch_tokens / arguments.parallel / length).max(1);
        let mut ids = Vec::with_capacity(rows * length);
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let start = rng.random_range(0..text.len() - length);
            ids.push(0);
            for &token in &text[start..start + length - 2] {
                let chosen = token >= SPECIAL && rng.random_bool(arguments.mask);
                if !chosen {
                    ids.push(token as i32);
                    continue;
                }
                positions.push(ids.len() as i32);
                targets.push(token as i32);
                ids.push(match rng.random_range(0..10) {
                    0 => token,
                    1 => rng.random_range(SPECIAL..self.vocabulary),
                    _ => self.mask,
                } as i32);
            }
            ids.push(2);
        }
        Batch {
            tokens: rows * length,
            ids,
            shape: [rows, length],
            positions,
            targets,
        }
    }
}

struct Batch {
    tokens: usize,
    ids: Vec<i32>,
    shape: [usize; 2],
    positions: Vec<i32>,
    targets: Vec<i32>,
}

impl Batch {
    /// The mean loss of the masked tokens, and how many are predicted right.
    fn loss(self, model: &MaskedLm, device: &Device) -> (Tensor<1>, Tensor<1, Int>) {
        let ids = Tensor::<2, Int>::from_data(TensorData::new(self.ids, self.shape), device);
        let vector = |values: Vec<i32>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device)
        };
        let targets = vector(self.targets);
        let logits = model.forward_at(EncoderInput::new(ids), vector(self.positions));
        let guess = logits.clone().argmax(1).reshape([-1]);
        let right = guess.equal(targets.clone()).int().sum();
        (cross_entropy(logits, targets, None), right)
    }
}
