//! What an adapter has learnt: spectra, directions and amplification of its updates.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::TensorData;
use burn_lora_examples::run;
use clap::Parser;
use lora_core::analysis::ModuleUpdate;
use lora_core::{LoraConfig, LoraError, adapter_file::CONFIG_NAME};
use lora_models::checkpoint::Checkpoint;
use lora_train::Anatomy;

/// Look into an adapter (Hu et al. 2021, section 7): the singular values and the effective rank of each
/// module's update, how similar its directions are to another adapter's, and what of the base's weights
/// it amplifies.
#[derive(Parser)]
#[command(name = "anatomy")]
struct Arguments {
    /// An adapter's folder in PEFT's format, or loralib's checkpoint (.bin, .pt)
    #[arg(value_name = "DIR|FILE")]
    adapter: PathBuf,
    /// Another one to compare with, of another rank or seed
    #[arg(long, value_name = "DIR|FILE")]
    other: Option<PathBuf>,
    /// Folder with the base's checkpoint, for the amplification
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// The α of loralib's checkpoints, which do not have it
    #[arg(long, value_name = "ALPHA", default_value_t = 16.0)]
    lora_alpha: f64,
    /// Seed of the directions at random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for anatomy.json, spectra.svg and similarities.svg, whose earlier versions are replaced
    /// [default: the current one]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| analyse(&arguments))
}

fn analyse(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let updates = |path: &Path| match path.is_dir() {
        true => ModuleUpdate::from_adapter(path),
        false => ModuleUpdate::from_loralib(path, arguments.lora_alpha),
    };
    let found = updates(&arguments.adapter)?;
    let other = arguments.other.as_deref().map(updates).transpose()?;
    let base = arguments.base.as_deref().map(Base::open).transpose()?;
    let fan_in_fan_out = match arguments.adapter.is_dir() {
        true => LoraConfig::from_file(arguments.adapter.join(CONFIG_NAME))?.fan_in_fan_out,
        false => false,
    };
    let mut weight = |module: &str, shape: [usize; 2]| match &base {
        None => Ok(None),
        Some(base) => base.weight(module, shape, fan_in_fan_out),
    };
    let other = other.unwrap_or_default();
    let anatomy = Anatomy::of(&found, &other, &mut weight, arguments.seed)?;
    print!("{}", anatomy.table());

    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("."));
    std::fs::create_dir_all(&out).map_err(|e| LoraError::io("create", &out, e))?;
    let mut written = vec!["anatomy.json", "spectra.svg"];
    anatomy.write_json(&out.join(written[0]))?;
    anatomy.write_spectra(&out.join(written[1]))?;
    if !anatomy.similarities.is_empty() {
        written.push("similarities.svg");
        anatomy.write_similarities(&out.join("similarities.svg"))?;
    }
    println!("written to {}: {}", out.display(), written.join(", "));
    Ok(())
}

/// A checkpoint whose names may lack the first part of the adapter's, as those of a model without a head
/// do, or have more.
struct Base {
    checkpoint: Checkpoint,
}

impl Base {
    fn open(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let checkpoint = Checkpoint::open(folder)?;
        Ok(Self { checkpoint })
    }

    /// The weight of a module, `[outputs, inputs]`; as GPT-2 has it the other way round if
    /// `fan_in_fan_out`.
    fn weight(
        &self,
        module: &str,
        [outputs, inputs]: [usize; 2],
        fan_in_fan_out: bool,
    ) -> Result<Option<TensorData>, LoraError> {
        let full = format!("{module}.weight");
        let is_same = |name: &&str| {
            let ends = |long: &str, short: &str| {
                long.strip_suffix(short)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            ends(&full, name) || ends(name, &full)
        };
        let Some(name) = self.checkpoint.names().find(is_same) else {
            return Ok(None);
        };
        if !fan_in_fan_out {
            return self.checkpoint.read(name, &[outputs, inputs]);
        }
        let found = self.checkpoint.read(name, &[inputs, outputs])?;
        Ok(found.map(|data| {
            let values: Vec<f32> = data.iter().collect();
            let turned = (0..outputs).flat_map(|o| (0..inputs).map(move |i| i * outputs + o));
            TensorData::new(
                turned.map(|at| values[at]).collect::<Vec<_>>(),
                [outputs, inputs],
            )
        }))
    }
}
