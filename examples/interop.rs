//! One side of the exchange of adapters with Python's PEFT; `scripts/peft_interop.py` is the other.
//!
//! ```text
//! cargo run --release --example interop -- write CASE --config adapter_config.json --out DIR
//! cargo run --release --example interop -- read CASE --adapter DIR --out DIR
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use burn_lora_examples::golden::Case;
use burn_lora_examples::golden::model::ParityModel;
use clap::{Parser, Subcommand};
use lora_core::state::{ParameterInfo, Role, load_state, values};
use lora_core::tensor_file::{Precision, write_tensors};
use lora_core::{
    Combination, CombinationType, DEFAULT_ADAPTER, FactorizeConfig, InitLoraWeights, LoraConfig,
    LoraError, LoraModule,
};
use lora_models::bert::SequenceClassification;

/// Writes an adapter for PEFT to read, or reads one that PEFT wrote, with the logits it gives on a
/// parity case's inputs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes an adapter by a configuration, moves its values, and writes OUT/adapter.
    Write {
        /// The parity case with the base model and the inputs.
        case: PathBuf,
        /// The adapter's configuration.
        #[arg(long)]
        config: PathBuf,
        /// The folder to write to.
        #[arg(long)]
        out: PathBuf,
        /// Write plain LoRA for the original base, whatever the adapter started from.
        #[arg(long)]
        as_lora: bool,
        /// Write a combination of two such adapters: PEFT's `combination_type`.
        #[arg(long, value_name = "TYPE", value_parser = combination_type)]
        combine: Option<CombinationType>,
    },
    /// Writes the factors that take the place of all linear layers' weights to OUT/adapter.
    Factorize {
        /// The parity case with the base model and the inputs.
        case: PathBuf,
        /// The rank of the factors.
        #[arg(long)]
        rank: usize,
        /// The folder to write to.
        #[arg(long)]
        out: PathBuf,
    },
    /// Reads an adapter.
    Read {
        /// The parity case with the base model and the inputs.
        case: PathBuf,
        /// The adapter's folder.
        #[arg(long)]
        adapter: PathBuf,
        /// The folder to write to.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    burn_lora_examples::run(|| match arguments.command {
        Command::Write {
            case,
            config,
            out,
            as_lora,
            combine,
        } => write(&case, &config, &out, as_lora, combine),
        Command::Factorize { case, rank, out } => factorize(&case, rank, &out),
        Command::Read { case, adapter, out } => read(&case, &adapter, &out),
    })
}

fn combination_type(name: &str) -> Result<CombinationType, String> {
    use CombinationType::{Cat, Linear, MagnitudePrune, Svd, Ties};
    let all = [Cat, Linear, MagnitudePrune, Svd, Ties];
    let found = all.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| {
        format!(
            "expected one of {}",
            all.map(CombinationType::name).join(", ")
        )
    })
}

fn write(
    case: &Path,
    config: &Path,
    out: &Path,
    as_lora: bool,
    combine: Option<CombinationType>,
) -> Result<(), Box<dyn Error>> {
    let device = lora_core::default_device();
    device.seed(1);
    let case = Case::open(case)?;
    let config = LoraConfig::from_file(config)?;
    let base = SequenceClassification::load(&case.base(), &device)?.model;
    let mut model = config.inject(base)?;
    if config.init_lora_weights == InitLoraWeights::Eva {
        let batches = std::iter::repeat_n(case.inputs(&device)?.encoder()?, 20);
        model = model.initialize_eva(DEFAULT_ADAPTER, batches, |model, input| {
            let positions = input.attention_mask.clone().map(|mask| mask.bool());
            model.forward(input);
            positions
        })?;
    }
    model = moved(model)?;
    let mut name = DEFAULT_ADAPTER;
    if let Some(kind) = combine {
        model = moved(
            model
                .add_adapter("second", &config)?
                .set_active(&["second"])?,
        )?;
        let mut combination = Combination::new(kind);
        if matches!(
            kind,
            CombinationType::MagnitudePrune | CombinationType::Ties
        ) {
            combination = combination.with_density(0.6);
        }
        let parts = [(DEFAULT_ADAPTER, 0.7), ("second", -0.4)];
        name = "combined";
        model = model
            .add_weighted_adapter(name, &parts, &combination)?
            .set_active(&[name])?;
    }
    match as_lora {
        true => model.save_adapter_as_lora(name, out.join("adapter"), false)?,
        false => model.save_adapter(name, out.join("adapter"), false)?,
    }
    write_logits(&model, &case, &device, out)
}

fn factorize(case: &Path, rank: usize, out: &Path) -> Result<(), Box<dyn Error>> {
    let device = lora_core::default_device();
    let case = Case::open(case)?;
    // What PEFT does not read must not be moved.
    let base = SequenceClassification::load(&case.base(), &device)?
        .model
        .no_grad();
    let model = moved(FactorizeConfig::new(rank).factorize(base)?)?;
    model.save_adapter(DEFAULT_ADAPTER, out.join("adapter"), false)?;
    write_logits(&model, &case, &device, out)
}

fn read(case: &Path, adapter: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let device = lora_core::default_device();
    let case = Case::open(case)?;
    let base = SequenceClassification::load(&case.base(), &device)?.model;
    let model = base.load_adapter(DEFAULT_ADAPTER, adapter)?;
    std::fs::create_dir_all(out)?;
    write_logits(&model, &case, &device, out)
}

fn write_logits(
    model: &SequenceClassification,
    case: &Case,
    device: &Device,
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    let outputs = model.outputs(&case.inputs(device)?)?;
    let logits = outputs.logits.into_iter();
    let tensors = logits
        .map(|(name, data)| (name.to_string(), data))
        .collect();
    Ok(write_tensors(
        &out.join("logits.safetensors"),
        tensors,
        Precision::F32,
    )?)
}

/// The model after something like training: everything that is trained is a little different.
fn moved<M: Module>(model: M) -> Result<M, LoraError> {
    let trained = |info: &ParameterInfo| info.trainable;
    let mut values = values(&model, trained).into_iter();
    let mut step = 0u32;
    load_state(model, |info| {
        if !trained(info) {
            return Ok(None);
        }
        let Some((_, data)) = values.next() else {
            return Ok(None);
        };
        // DoRA's magnitudes are norms: they grow or shrink by a part of themselves.
        let relative = info.role == Role::Magnitude;
        let moved = data.iter::<f32>().map(|value| {
            step += 1;
            let by = 0.1 * (step as f32).sin();
            if relative {
                value * (1.0 + by)
            } else {
                value + by
            }
        });
        Ok(Some(TensorData::new(
            moved.collect::<Vec<_>>(),
            info.shape.clone(),
        )))
    })
}
