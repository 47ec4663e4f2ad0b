//! Text from a GPT-2, with or without an adapter.

use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use burn_lora_examples::{DeviceArgument, named, run};
use clap::Parser;
use lora_core::LoraModule;
use lora_models::generation::{GenerationConfig, TextStream};
use lora_models::gpt2::CausalLm;
use lora_models::{PretrainedModel, Tokenizer};

/// Continue a text with GPT-2, and with each adapter that is given.
///
/// Samples by default, and writes as it goes; with --beams it searches and writes at the end.
#[derive(Parser)]
#[command(name = "generate")]
struct Arguments {
    /// Text to continue
    #[arg(default_value = "One day, a little girl")]
    prompt: String,
    /// Folder with a checkpoint, or a model's id on the hub, such as openai-community/gpt2
    /// [default: the small one in the repository]
    #[arg(long, value_name = "DIR|ID")]
    model: Option<String>,
    /// Folder with an adapter, by PEFT or by this project; may be given several times
    #[arg(long = "adapter", value_name = "DIR")]
    adapters: Vec<PathBuf>,
    /// Put the model's start token behind the prompt, as the e2e example trains it
    #[arg(long)]
    start_token: bool,
    /// Most tokens to add
    #[arg(long, value_name = "N", default_value_t = 60)]
    max_new_tokens: usize,
    /// Take the likeliest token each time
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "seed"])]
    greedy: bool,
    /// Divide scores by this before a draw: below 1 is more cautious
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f64,
    /// Draw among so many of the likeliest tokens (0: all of them)
    #[arg(long, value_name = "K", default_value_t = 50)]
    top_k: usize,
    /// Draw among the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Divide the scores of tokens that were there already
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// No sequence of so many tokens occurs twice
    #[arg(long, value_name = "N", default_value_t = 0)]
    no_repeat_ngram_size: usize,
    /// Number of beams
    #[arg(long, value_name = "N", conflicts_with_all = ["greedy", "temperature", "top_k", "top_p", "seed"])]
    beams: Option<usize>,
    /// With beams: above 0 favours long texts, below 0 short ones
    #[arg(long, value_name = "P", default_value_t = 1.0, requires = "beams")]
    length_penalty: f64,
    /// Seed of the draws [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceArgument,
}

impl Arguments {
    fn config(&self) -> GenerationConfig {
        let config = GenerationConfig {
            max_new_tokens: self.max_new_tokens,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            num_beams: self.beams.unwrap_or(1),
            length_penalty: self.length_penalty,
            ..GenerationConfig::default()
        };
        if self.greedy || self.beams.is_some() {
            return config;
        }
        GenerationConfig {
            do_sample: true,
            temperature: self.temperature,
            top_k: Some(self.top_k).filter(|&k| k > 0),
            top_p: self.top_p,
            seed: self.seed,
            ..config
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| generate(&arguments))
}

fn generate(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let config = arguments.config();
    config.validate()?;
    let (_, device) = arguments.device.open()?;
    let name = named(&arguments.model, "gpt2-tiny");
    let loaded = CausalLm::from_pretrained(&name, &device)?;
    println!("model: {name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    let mut prompt = tokenizer.encode(&arguments.prompt, None, usize::MAX)?.ids;
    if arguments.start_token {
        prompt.push(loaded.model.config().bos_token_id as u32);
    }

    // An adapter that does not fit is an error before anything is written.
    let base = loaded.model;
    let mut model = base.clone();
    for (index, folder) in arguments.adapters.iter().enumerate() {
        model = model.load_adapter(&adapter_name(index), folder)?;
    }
    println!("\nbase model");
    write(&base, &tokenizer, &prompt, arguments, &config)?;
    for (index, folder) in arguments.adapters.iter().enumerate() {
        model = model.set_active(&[&adapter_name(index)])?;
        println!("\n{}", folder.display());
        write(&model, &tokenizer, &prompt, arguments, &config)?;
    }
    Ok(())
}

fn adapter_name(index: usize) -> String {
    format!("adapter{index}")
}

/// Writes the prompt and what follows, token by token where that is possible.
fn write(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    arguments: &Arguments,
    config: &GenerationConfig,
) -> Result<(), Box<dyn Error>> {
    print!("{}", arguments.prompt);
    if config.num_beams > 1 {
        let texts = model.generate(&[prompt], config)?;
        println!("{}", tokenizer.decode(&texts[0].tokens, true)?);
        return Ok(());
    }
    let mut text = TextStream::new(tokenizer, true);
    let mut failed = None;
    model.generate_with(&[prompt], config, |step| {
        let written = text.push(step.token).map_err(Box::<dyn Error>::from);
        match written.and_then(|piece| show(&piece)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => {
            println!("{}", text.finish()?);
            Ok(())
        }
    }
}

fn show(piece: &str) -> Result<(), Box<dyn Error>> {
    let mut output = std::io::stdout();
    output.write_all(piece.as_bytes())?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GenerationConfig, clap::Error> {
        let words = std::iter::once("generate").chain(text.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.config())
    }

    #[test]
    fn sampling_is_the_default_and_others_exclude_it() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
        let sampling = parse("").unwrap();
        assert!(sampling.do_sample && sampling.temperature == 0.8);
        let top_k = |text: &str| parse(text).unwrap().top_k;
        assert_eq!((top_k(""), top_k("--top-k 0")), (Some(50), None));
        let greedy = parse("--greedy").unwrap();
        assert_eq!((greedy.do_sample, greedy.temperature), (false, 1.0));
        let beams = parse("--beams 4 --length-penalty 2").unwrap();
        assert_eq!((beams.num_beams, beams.length_penalty), (4, 2.0));
        for bad in [
            "--greedy --top-k 5",
            "--beams 2 --seed 1",
            "--length-penalty 2",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
