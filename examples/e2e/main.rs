//! Fine-tunes a GPT-2 to put restaurant records into sentences, as in the E2E NLG challenge, and
//! scores what it then writes.

mod arguments;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use arguments::Arguments;
use burn_lora_examples::fine_tuning::FineTuning;
use burn_lora_examples::{asset, named, run};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lora_core::file::write_atomically;
use lora_models::generation::GenerationConfig;
use lora_models::gpt2::CausalLm;
use lora_models::{PretrainedModel, Tokenizer};
use lora_train::data::{
    PromptResponse, TokenizedDataset, encode_prompts, group_by_prompt, read_e2e,
};
use lora_train::text_metrics::score;
use lora_train::{EvaluationRecord, RunNames};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Where a run goes that is told nothing else.
const DEFAULT_OUT: &str = "out/e2e";
const GENERATED: &str = "generated.txt";
const REFERENCES: &str = "references.txt";
const SCORES: &str = "scores.json";
/// How many records are shown with what is written about them.
const SHOWN: usize = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(|| fine_tune(&arguments))
}

fn fine_tune(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut config = arguments.training.config(arguments.usual())?;
    let mut generation = arguments.generation.config();
    generation.validate()?;
    let files = [GENERATED, REFERENCES, SCORES];
    let out = arguments.out.prepare(DEFAULT_OUT, &files)?;
    let (device_name, devices) = arguments.out.open_devices()?;
    let device = &devices[0];

    let model_name = named(&arguments.model, "gpt2-tiny");
    device.seed(config.seed);
    let quantization = arguments.method.quantization(device)?;
    let quantization = quantization.as_ref();
    let loaded = CausalLm::from_pretrained_quantized(&model_name, |c| c, quantization, device)?;
    println!("model: {model_name}: {}", loaded.report);
    let tokenizer = Tokenizer::from_folder(&loaded.folder)?;
    let shape = loaded.model.config().clone();
    arguments
        .training
        .fit_max_len(&mut config, shape.n_positions);
    // Records in a batch differ in length; padding is masked, so that any token will do.
    let pad = shape.pad_token_id.unwrap_or(shape.eos_token_id);
    generation.pad_token_id = Some(pad as u32);

    let data = Data::read(arguments, config.seed)?;
    let encode = |pairs: &[PromptResponse]| {
        TokenizedDataset::pairs(pairs, &tokenizer, &shape, config.max_len)
    };
    let (train_data, dev_data) = (encode(&data.train)?, encode(&data.dev)?);
    let (records, references) = group_by_prompt(&data.test);
    let limit = arguments.limit_records.unwrap_or(records.len());
    let (records, references) = (
        &records[..limit.min(records.len())],
        &references[..limit.min(references.len())],
    );
    println!(
        "data: {}: {} sentences to train on, {} to measure on, {} records to write about",
        data.name,
        data.train.len(),
        data.dev.len(),
        records.len()
    );

    let steps = config.steps(data.train.len());
    if let Some(warmup) = config.warmup_steps.filter(|warmup| *warmup >= steps) {
        eprintln!(
            "warning: the learning rate rises for {warmup} steps and the run has {steps}: it never \
             gets to {}; see --warmup-steps",
            config.learning_rate
        );
    }
    let method = arguments
        .method
        .causal_method(arguments.adapters(), &shape)?;
    let shown = &records[..SHOWN.min(records.len())];
    let writer = Writer {
        tokenizer: &tokenizer,
        generation: &generation,
        batch_size: arguments.generation.generation_batch_size,
    };
    // What cannot be written about is an error now and not after the training.
    writer.check(&loaded.model, records)?;
    let before = writer.write(&loaded.model, shown, false)?;
    let run = FineTuning {
        method,
        config: &config,
        out: &out,
        resume: arguments.out.resume,
        devices: &devices,
        train: &train_data,
        dev: &dev_data,
        tokenizer: &tokenizer,
        names: RunNames {
            model: &model_name,
            data: &data.name,
            device: &device_name,
        },
    };
    let Some(trained) = run.run(loaded.model)? else {
        return Ok(());
    };
    let tokens: usize = train_data.examples().iter().map(|e| e.ids().len()).sum();
    let of_each = |of: fn(&EvaluationRecord) -> f64| -> f64 {
        trained.history.evaluations.iter().map(of).sum()
    };
    let examples = of_each(|record| record.seconds * record.examples_per_second);
    let seconds = of_each(|record| record.seconds).max(1e-9);
    let tokens_per_example = tokens as f64 / train_data.examples().len() as f64;
    println!(
        "{:.0} tokens/s in training",
        examples * tokens_per_example / seconds
    );

    let start = Instant::now();
    let texts = writer.write(&trained.model, records, true)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} records written about in {seconds:.1} s, {:.1} a second",
        records.len(),
        records.len() as f64 / seconds.max(1e-9)
    );
    for (index, record) in shown.iter().enumerate() {
        println!("\n{record}");
        println!("  before:    {}", before[index]);
        println!("  after:     {}", texts[index]);
        println!("  reference: {}", references[index][0]);
    }
    let scores = score(&texts, references)?;
    println!("\n{scores}");
    let write = |name: &str, text: String| write_atomically(&out.path.join(name), text.as_bytes());
    write(GENERATED, texts.join("\n") + "\n")?;
    let blocks: Vec<String> = references.iter().map(|block| block.join("\n")).collect();
    write(REFERENCES, blocks.join("\n\n") + "\n")?;
    write(SCORES, format!("{:#}\n", serde_json::json!(scores)))?;
    println!(
        "written to {}: {GENERATED}, {REFERENCES}, {SCORES}",
        out.path.display()
    );
    Ok(())
}

/// The records and sentences of a run.
struct Data {
    name: String,
    train: Vec<PromptResponse>,
    dev: Vec<PromptResponse>,
    test: Vec<PromptResponse>,
}

impl Data {
    /// E2E's `train.txt`, `valid.txt` (or `dev.txt`) and `test.txt`; without the last, what is
    /// measured on is written about.
    fn read(arguments: &Arguments, seed: u64) -> Result<Self, Box<dyn Error>> {
        let folder = arguments
            .data
            .clone()
            .unwrap_or_else(|| asset("restaurants"));
        let mut train = read_e2e(&folder.join("train.txt"))?;
        if let Some(limit) = arguments.limit {
            train.shuffle(&mut StdRng::seed_from_u64(seed));
            train.truncate(limit);
        }
        let dev = match folder.join("valid.txt").exists() {
            true => read_e2e(&folder.join("valid.txt"))?,
            false => read_e2e(&folder.join("dev.txt"))?,
        };
        let test = match folder.join("test.txt").exists() {
            true => read_e2e(&folder.join("test.txt"))?,
            false => dev.clone(),
        };
        Ok(Self {
            name: folder.display().to_string(),
            train,
            dev,
            test,
        })
    }
}

/// What writes about records.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    generation: &'a GenerationConfig,
    batch_size: usize,
}

impl Writer<'_> {
    /// Checks that every record leaves room for a sentence.
    fn check(&self, model: &CausalLm, records: &[String]) -> Result<(), Box<dyn Error>> {
        if records.is_empty() {
            return Err("there are no records to write about: see --limit-records".into());
        }
        let texts: Vec<&str> = records.iter().map(String::as_str).collect();
        let positions = model.config().n_positions;
        let new = self.generation.max_new_tokens;
        let prompts = encode_prompts(&texts, self.tokenizer, model.config())?;
        for (record, prompt) in records.iter().zip(prompts) {
            if prompt.len() + new > positions {
                return Err(format!(
                    "the record {record:?} has {} tokens, which with --max-new-tokens {new} are \
                     more than the model's {positions} positions",
                    prompt.len()
                )
                .into());
            }
        }
        Ok(())
    }

    /// A sentence for each record.
    fn write(
        &self,
        model: &CausalLm,
        records: &[String],
        progress: bool,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let bar = match progress {
            true => ProgressBar::new(records.len() as u64),
            false => ProgressBar::hidden(),
        };
        bar.set_style(ProgressStyle::with_template(
            "writing {bar:40} {pos}/{len} {elapsed}<{eta}",
        )?);
        let prompts: Vec<&str> = records.iter().map(String::as_str).collect();
        let prompts = encode_prompts(&prompts, self.tokenizer, model.config())?;
        let mut texts = Vec::with_capacity(records.len());
        for batch in prompts.chunks(self.batch_size.max(1)) {
            for text in model.generate(batch, self.generation)? {
                let text = self.tokenizer.decode(&text.tokens, true)?;
                // One line each: a model that is not trained yet writes anything.
                texts.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            bar.inc(batch.len() as u64);
        }
        bar.finish_and_clear();
        Ok(texts)
    }
}
