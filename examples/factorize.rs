//! A model whose linear layers have no weights, but products of thin matrices: LoRA over nothing.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Tensor;
use burn_lora_examples::method_arguments::targets;
use burn_lora_examples::{named, run};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lora_core::analysis::reconstruction_errors;
use lora_core::state::{parameters, values};
use lora_core::{FactorizeConfig, LoraError, LoraModule, default_device};
use lora_models::{Precision, PretrainedModel, Tokenizer, bert, gpt2};
use lora_train::{Reconstruction, ReconstructionAtRank};
use serde::Deserialize;

/// What a BERT, RoBERTa or GPT-2 loses when each linear layer's weight becomes the product of two thin
/// matrices, by the largest singular values: the errors of the weights and of the layers' outputs, from
/// rank 1 to the full one, beside the number of parameters that are left.
///
/// The example sst2 trains such a model: --method factorized --rank 64.
#[derive(Parser)]
#[command(name = "factorize")]
struct Arguments {
    /// Folder with a checkpoint, or a model's id on the hub [default: the small RoBERTa in the
    /// repository]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<String>,
    /// Ranks, with commas between them [default: powers of 2, and the full rank]
    #[arg(long, value_name = "R,R", value_delimiter = ',')]
    ranks: Option<Vec<usize>>,
    /// Linear layers to replace: names with commas between them, or a regular expression for whole
    /// paths [default: all]
    #[arg(long, value_name = "NAMES")]
    targets: Option<String>,
    /// Write the model of this rank, with plain weights again
    #[arg(long, value_name = "R")]
    save: Option<usize>,
    /// Seed of the inputs that the outputs are computed for
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for factorize.json, factorize.svg and the model, whose earlier versions are replaced
    #[arg(long, value_name = "DIR", default_value = "out/factorize")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| {
        let name = named(&arguments.model, "roberta-tiny");
        match is_gpt2(&name)? {
            true => factorize::<gpt2::CausalLm>(&name, &arguments),
            false => factorize::<bert::SequenceClassification>(&name, &arguments),
        }
    })
}

/// By the configuration in the folder; what is on the hub by its name.
fn is_gpt2(name: &str) -> Result<bool, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: String,
    }
    let path = Path::new(name).join("config.json");
    if !path.is_file() {
        return Ok(name.contains("gpt2"));
    }
    let text = std::fs::read(&path).map_err(|e| LoraError::io("read", &path, e))?;
    let kind: Kind = serde_json::from_slice(&text)?;
    Ok(kind.model_type == "gpt2")
}

fn factorize<M: PretrainedModel>(name: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let loaded = M::from_pretrained(name, &default_device())?;
    println!("model: {name}: {}", loaded.report);
    let model = loaded.model;
    let config = |rank| {
        let targets = arguments.targets.as_deref().map(|text| targets(text).0);
        FactorizeConfig::new(rank).with_target_modules(targets)
    };
    // What a weight of full rank would get is its smaller side.
    let all = config(usize::MAX).plan(&model)?;
    let full = all.iter().map(|weight| weight.rank).max().unwrap_or(1);
    let mut ranks = arguments.ranks.clone().unwrap_or_else(|| {
        let powers = (0..).map(|power| 1 << power);
        powers
            .take_while(|rank| *rank < full)
            .chain([full])
            .collect()
    });
    ranks.sort_unstable();
    ranks.dedup();

    let bar = ProgressBar::new(all.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{pos}/{len} weights [{bar:30}] {eta} left",
    )?);
    let mut errors: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for weight in &all {
        for (info, data) in values(&model, |info| info.path == weight.path) {
            let data = match info.transposed {
                true => data,
                false => Tensor::<2>::from_data(data, &default_device())
                    .transpose()
                    .into_data(),
            };
            for error in reconstruction_errors(&info.name, &data, &ranks, arguments.seed)? {
                errors.entry(error.rank).or_default().push(error);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let total: usize = parameters(&model).iter().map(|info| info.count()).sum();
    let dense: usize = all
        .iter()
        .map(|weight| weight.dims[0] * weight.dims[1])
        .sum();
    let mut found = Reconstruction {
        parameters: total,
        ranks: Vec::new(),
    };
    for (rank, errors) in &errors {
        let thin: usize = config(*rank)
            .plan(&model)?
            .iter()
            .map(|weight| weight.count())
            .sum();
        found
            .ranks
            .extend(ReconstructionAtRank::of(total - dense + thin, errors));
    }
    print!("{}", found.table());

    let out = &arguments.out;
    std::fs::create_dir_all(out).map_err(|e| LoraError::io("create", out, e))?;
    found.write_json(&out.join("factorize.json"))?;
    found.write_svg(&out.join("factorize.svg"))?;
    if let Some(rank) = arguments.save {
        let folder = out.join("model");
        let plain = config(rank).factorize(model)?.merge_and_unload()?;
        plain.save_pretrained(&folder, Precision::F32, true)?;
        if let Ok(tokenizer) = Tokenizer::from_folder(&loaded.folder) {
            tokenizer.save(&folder)?;
        }
    }
    println!("written to {}", out.display());
    Ok(())
}
