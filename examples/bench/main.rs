//! The time of one training step (forward, backward, AdamW) with random weights and no padding: the
//! same models, batches and numbers as `peft_step.py` measures with transformers and PEFT.
//!
//! ```text
//! cargo run --release --example bench -- --arch roberta-base --batch 16 --seq 64
//! ```
//!
//! Prints one JSON line. `step_s` and `forward_s` are medians over the steps after two warm-ups;
//! `peak_rss_mb` is the process's.

mod burn_encoder;
mod products;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use burn::module::{Lora, Module, ParamGroup};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_lora_examples::base_arguments::BaseArguments;
use clap::{Parser, ValueEnum};
use lora_core::quantization::quantized;
use lora_core::{LoraConfig, ParameterReport, TargetModules};
use lora_models::bert::{BertConfig, EncoderInput};
use lora_models::gpt2::{CausalLm, Gpt2Config, Gpt2Input};
use lora_models::{PretrainedModel, SequenceClassifier, bert};
use lora_train::{Method, loss, peak_rss_mb};
use serde_json::json;

use burn_encoder::BurnEncoder;
use products::Products;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    /// RoBERTa-base with two classes.
    RobertaBase,
    /// BERT with 6 layers of width 384 and two classes.
    Minilm,
    /// GPT-2 (124M) as a language model.
    Gpt2,
    /// Burn's own transformer encoder in RoBERTa-base's shape, for `apply_lora` and all weights.
    BurnEncoder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// This crate's adapters.
    Lora,
    /// Burn's own `apply_lora` on the same weights.
    #[value(name = "apply_lora")]
    ApplyLora,
    /// All weights.
    Full,
    /// Nothing: the products with the weights of an encoder's linear layers alone.
    Products,
}

/// Times training steps.
#[derive(Debug, Parser)]
struct Arguments {
    /// The model
    #[arg(long, default_value = "roberta-base")]
    arch: Arch,
    /// Sequences in a batch
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 64)]
    seq: usize,
    /// Layers of the model [default: those of the architecture]
    #[arg(long, conflicts_with = "model")]
    layers: Option<usize>,
    /// Folder of a checkpoint of the architecture, in any size [default: random weights]
    #[arg(long, value_name = "DIR")]
    model: Option<String>,
    /// The adapters' rank
    #[arg(long, default_value_t = 8)]
    rank: usize,
    /// The adapters' alpha
    #[arg(long, default_value_t = 16.0)]
    alpha: f64,
    /// Adapted modules, or `all-linear` [default: query,value or c_attn]
    #[arg(long)]
    targets: Option<String>,
    /// What is trained
    #[arg(long, default_value = "lora")]
    mode: Mode,
    #[command(flatten)]
    base: BaseArguments,
    /// Compute again for the backward pass what is cheap to compute, instead of keeping it
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Steps that are timed
    #[arg(long, default_value_t = 8)]
    steps: usize,
    /// Threads [default: one for each core]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    device: burn_lora_examples::DeviceArgument,
}

fn main() -> ExitCode {
    burn_lora_examples::run(|| bench(&Arguments::parse()))
}

fn bench(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    let device = match &arguments.device.device {
        Some(name) => lora_core::device(name)?,
        None => lora_core::best_device()?.1,
    };
    arguments
        .device
        .set_precision(std::slice::from_ref(&device))?;
    let device = match arguments.gradient_checkpointing {
        true => device.autodiff().gradient_checkpointing(),
        false => device.autodiff(),
    };
    device.seed(0);
    let config = match arguments.arch {
        Arch::RobertaBase | Arch::BurnEncoder => BertConfig::roberta_base(),
        Arch::Minilm => BertConfig {
            hidden_size: 384,
            num_hidden_layers: 6,
            intermediate_size: 1536,
            ..BertConfig::bert_base()
        },
        Arch::Gpt2 => return language_model(arguments, &device),
    };
    let config = BertConfig {
        num_hidden_layers: arguments.layers.unwrap_or(config.num_hidden_layers),
        ..config
    };
    match (arguments.mode, arguments.arch) {
        (Mode::Products, _) => products(arguments, &config, &device),
        (_, Arch::BurnEncoder) => burns(arguments, &config, &device),
        _ => classify(arguments, &config, &device),
    }
}

fn classify(
    arguments: &Arguments,
    config: &BertConfig,
    device: &Device,
) -> Result<(), Box<dyn Error>> {
    let model = base(arguments, device, || {
        bert::SequenceClassification::new(config, device)
    })?;
    let targets = arguments.targets.as_deref().unwrap_or("query,value");
    let lora = |config: LoraConfig| Method::lora(config, model.config());
    let model = match method(arguments, targets, lora) {
        Some(method) => method.prepare(model.clone())?,
        None => apply_lora(model.clone(), targets, arguments),
    };
    let (input, mask) = tokens(arguments, model.config().vocab_size, device);
    let classes = classes(arguments, device);
    time(arguments, targets, model, |model| {
        let input = EncoderInput {
            attention_mask: Some(mask.clone()),
            ..EncoderInput::new(input.clone())
        };
        loss::cross_entropy(model.logits(input), classes.clone(), None)
    })
}

/// Burn's own encoder.
fn burns(
    arguments: &Arguments,
    config: &BertConfig,
    device: &Device,
) -> Result<(), Box<dyn Error>> {
    let model = BurnEncoder::new(config, device);
    let targets = arguments.targets.as_deref().unwrap_or("query,value");
    let model = match arguments.mode {
        Mode::ApplyLora => apply_lora(model, targets, arguments),
        Mode::Full => model,
        _ => return Err("--arch burn-encoder is for --mode apply_lora and full".into()),
    };
    let (input, _) = tokens(arguments, config.vocab_size, device);
    let classes = classes(arguments, device);
    time(arguments, targets, model, |model| {
        loss::cross_entropy(model.logits(input.clone()), classes.clone(), None)
    })
}

/// The products alone, as often as steps.
fn products(
    arguments: &Arguments,
    config: &BertConfig,
    device: &Device,
) -> Result<(), Box<dyn Error>> {
    let products = Products::new(
        config,
        arguments.batch * arguments.seq,
        &device.clone().inner(),
    );
    let mut seconds: Vec<f64> = (0..arguments.steps + 2)
        .map(|_| products.seconds())
        .skip(2)
        .collect();
    let step = median(&mut seconds);
    let line = json!({
        "arch": name(arguments.arch),
        "mode": name(arguments.mode),
        "batch": arguments.batch,
        "seq": arguments.seq,
        "step_s": rounded(step, 4),
        "gflop": rounded(products.gflop(), 1),
        "gflop_per_s": rounded(products.gflop() / step, 1),
        "peak_rss_mb": peak_rss_mb().map(|peak| peak.round()),
    });
    println!("{line}");
    Ok(())
}

fn language_model(arguments: &Arguments, device: &Device) -> Result<(), Box<dyn Error>> {
    if arguments.mode == Mode::Products {
        return Err("--mode products is for encoders".into());
    }
    let small = Gpt2Config::small();
    let config = Gpt2Config {
        n_layer: arguments.layers.unwrap_or(small.n_layer),
        ..small
    };
    let model = base(arguments, device, || CausalLm::new(&config, device))?;
    let targets = arguments.targets.as_deref().unwrap_or("c_attn");
    let lora = |config: LoraConfig| Method::causal_lora(config, model.config());
    let model = match method(arguments, targets, lora) {
        Some(method) => method.prepare(model.clone())?,
        None => apply_lora(model.clone(), targets, arguments),
    };
    let (ids, mask) = tokens(arguments, model.config().vocab_size, device);
    let (batch, seq) = (arguments.batch, arguments.seq);
    let next = ids.clone().slice([0..batch, 1..seq]);
    let next = next.reshape([batch * (seq - 1)]);
    let places = Tensor::<1, Int>::arange(0..(batch * seq) as i64, device);
    let places = places.reshape([batch, seq]).slice([0..batch, 0..seq - 1]);
    let places = places.reshape([batch * (seq - 1)]);
    time(arguments, targets, model, |model| {
        let input = Gpt2Input {
            attention_mask: Some(mask.clone()),
            ..Gpt2Input::new(ids.clone())
        };
        let logits = model.forward_at(input, places.clone(), None);
        loss::cross_entropy(logits, next.clone(), None)
    })
}

/// The model of `--model`, or a `fresh` one, with its weights as `--base` says.
fn base<M: PretrainedModel>(
    arguments: &Arguments,
    device: &Device,
    fresh: impl FnOnce() -> M,
) -> Result<M, Box<dyn Error>> {
    let quantization = arguments.base.quantization(device)?;
    if quantization.is_some() && arguments.mode != Mode::Lora {
        return Err("--base is for --mode lora".into());
    }
    match (&arguments.model, quantization) {
        (None, None) => Ok(fresh()),
        (None, Some(quantization)) => Ok(quantization.quantize(fresh())?),
        (Some(model), quantization) => {
            let read = M::from_pretrained_quantized(model, |c| c, quantization.as_ref(), device)?;
            Ok(read.model)
        }
    }
}

/// What is trained, by this crate's methods; `None` for Burn's `apply_lora`.
fn method(
    arguments: &Arguments,
    targets: &str,
    lora: impl Fn(LoraConfig) -> Method,
) -> Option<Method> {
    let config = || {
        let config = LoraConfig::new()
            .with_r(arguments.rank)
            .with_lora_alpha(arguments.alpha);
        config.with_target_modules(target_modules(targets))
    };
    match arguments.mode {
        Mode::Lora => Some(lora(config())),
        Mode::ApplyLora | Mode::Products => None,
        Mode::Full => Some(Method::Full),
    }
}

fn target_modules(targets: &str) -> TargetModules {
    match targets {
        "all-linear" => targets.into(),
        names => names
            .split(',')
            .map(String::from)
            .collect::<Vec<_>>()
            .into(),
    }
}

/// Burn's own adapters on the weights of `targets`, and a head that is trained.
fn apply_lora<M: Module>(model: M, targets: &str, arguments: &Arguments) -> M {
    let weights = targets.split(',').map(|name| format!("{name}.weight"));
    let weights = ParamGroup::from_any_predicates(weights.collect());
    let head = ParamGroup::from_predicate("classifier");
    model
        .apply_lora(Lora::new(arguments.rank, arguments.alpha).set_param_group(weights))
        .unfreeze_group(head)
}

fn classes(arguments: &Arguments, device: &Device) -> Tensor<1, Int> {
    let classes = (0..arguments.batch as i32).map(|i| i % 2);
    Tensor::from_data(&classes.collect::<Vec<_>>()[..], device)
}

/// A batch of random tokens, and the mask that has all of them.
fn tokens(arguments: &Arguments, ids: usize, device: &Device) -> (Tensor<2, Int>, Tensor<2, Int>) {
    let shape = [arguments.batch, arguments.seq];
    let range = Distribution::Uniform(5.0, ids as f64);
    let tokens = Tensor::<2, Int>::random(shape, range, device);
    (tokens, Tensor::ones(shape, device))
}

fn time<M: Module>(
    arguments: &Arguments,
    targets: &str,
    mut model: M,
    loss: impl Fn(&M) -> Tensor<1>,
) -> Result<(), Box<dyn Error>> {
    let trainable = ParameterReport::of(&model).trainable();
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    let (mut steps, mut forwards) = (Vec::new(), Vec::new());
    for step in 0..arguments.steps + 2 {
        let start = Instant::now();
        let loss = loss(&model);
        let value = loss.clone().into_scalar::<f32>();
        let forward = start.elapsed().as_secs_f64();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(5e-4, model, gradients);
        if !value.is_finite() {
            return Err(format!("the loss of step {step} is {value}").into());
        }
        if step >= 2 {
            steps.push(start.elapsed().as_secs_f64());
            forwards.push(forward);
        }
    }
    let packed: Vec<_> = quantized(&model).into_iter().map(|w| w.weight).collect();
    let few_bits: usize = packed.iter().map(|weight| weight.bytes()).sum();
    let dense: usize = packed
        .iter()
        .map(|w| 4 * w.shape().iter().product::<usize>())
        .sum();
    let tokens = (arguments.batch * arguments.seq) as f64;
    let best = steps.iter().copied().fold(f64::INFINITY, f64::min);
    let step = median(&mut steps);
    let line = json!({
        "arch": name(arguments.arch),
        "mode": name(arguments.mode),
        "base": name(arguments.base.base),
        "activations": arguments.base.activations.to_string(),
        "matmul_precision": arguments.device.matmul_precision.to_string(),
        "gradient_checkpointing": arguments.gradient_checkpointing,
        "batch": arguments.batch,
        "seq": arguments.seq,
        "rank": arguments.rank,
        "targets": targets,
        "trainable": trainable,
        "step_s": rounded(step, 4),
        "forward_s": rounded(median(&mut forwards), 4),
        "best_step_s": rounded(best, 4),
        "layers": arguments.layers,
        "weights_mb": (dense > 0).then(|| rounded(few_bits as f64 / 1e6, 2)),
        "weights_of_f32": (dense > 0).then(|| rounded(few_bits as f64 / dense as f64, 4)),
        "tokens_per_s": rounded(tokens / step, 1),
        "peak_rss_mb": peak_rss_mb().map(|peak| peak.round()),
    });
    println!("{line}");
    Ok(())
}

fn name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_string())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}
