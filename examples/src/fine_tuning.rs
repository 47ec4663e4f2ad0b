//! A fine-tuning run from a prepared model to the files it leaves: what all these programs share.

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use burn::train::Interrupter;
use clap::Args;
use lora_core::quantization::quantized;
use lora_core::{InitLoraWeights, LoraError, ParameterReport};
use lora_models::{PretrainedModel, Tokenizer};
use lora_train::data::{LengthSummary, TokenizedDataset};
use lora_train::{
    CONFIG_NAME, Classes, Evaluation, LoraFa, METRICS_NAME, Method, Progress, REPORT_NAME, Report,
    RunLock, RunMetrics, RunNames, RunSettings, Stopped, Task, Trained, Trainer, TrainingConfig,
    plot,
};

use crate::run_folder::{HEAD, OutFolder, PLOT, prepare_out, save, saved_as};
use crate::{DeviceArgument, interrupt};

/// Where a run goes.
#[derive(Debug, Clone, Args)]
pub struct OutArguments {
    /// Folder for the adapter (or model), checkpoints, metrics and plot [default: in out]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write into the folder though there is something in it
    #[arg(long)]
    pub overwrite: bool,
    /// Go on from the last checkpoint in the folder, if there is one
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Where it computes.
    #[command(flatten)]
    pub device: DeviceArgument,
    /// Several devices that share each batch, such as `cuda:0,cuda:1`
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "device"
    )]
    pub devices: Vec<String>,
}

impl OutArguments {
    /// Opens the devices and says on standard output which they are; the first one holds the model.
    ///
    /// # Errors
    ///
    /// [`LoraError::Device`] if a backend is not compiled in or has no such device;
    /// [`LoraError::MatmulPrecision`].
    pub fn open_devices(&self) -> Result<(String, Vec<Device>), LoraError> {
        if self.devices.is_empty() {
            let (name, device) = self.device.open()?;
            return Ok((name, vec![device]));
        }
        let devices = self.devices.iter().map(|name| lora_core::device(name));
        let devices = devices.collect::<Result<Vec<_>, _>>()?;
        let names = self.devices.join(", ");
        let precision = self.device.set_precision(&devices)?;
        println!("devices: {names}{precision}");
        Ok((names + &precision, devices))
    }

    /// The folder, ready to be written into. Besides what every run writes there may be `more` in it.
    ///
    /// # Errors
    ///
    /// Those of [`prepare_out`].
    pub fn prepare(&self, default: &str, more: &[&str]) -> Result<OutFolder, LoraError> {
        let folder = self.out.as_deref();
        if !self.resume {
            return prepare_out(folder, default, self.overwrite, more);
        }
        Ok(OutFolder {
            path: folder.unwrap_or(Path::new(default)).to_path_buf(),
            overwrite: false,
        })
    }
}

/// What a run is made of.
pub struct FineTuning<'a, T: Task> {
    /// What is trained.
    pub method: Method,
    /// How.
    pub config: &'a TrainingConfig,
    /// The folder.
    pub out: &'a OutFolder,
    /// Whether to go on where the run stopped.
    pub resume: bool,
    /// Where it computes.
    pub devices: &'a [Device],
    /// What it is trained on.
    pub train: &'a TokenizedDataset<T::Example>,
    /// What it is measured on.
    pub dev: &'a TokenizedDataset<T::Example>,
    /// The model's.
    pub tokenizer: &'a Tokenizer,
    /// How model, data and device were named.
    pub names: RunNames<'a>,
}

/// Another way to measure a trained model.
type Measure<'a, T> = Box<dyn FnOnce(&T) -> Result<Evaluation, Box<dyn Error>> + 'a>;

/// What the page on a run shows besides the run itself.
#[derive(Debug, Default)]
pub struct Shown<'a> {
    /// The lengths of the data sets, each with a name.
    pub lengths: Vec<(&'a str, LengthSummary)>,
    /// What a classifier is about.
    pub classes: Option<Classes<'a>>,
}

impl<T: Task + PretrainedModel> FineTuning<'_, T> {
    /// Trains, saves, and writes `metrics.json`, the plot and the page; `None` if the run was
    /// interrupted. `config.json` is there from the start.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way.
    pub fn run(&self, model: T) -> Result<Option<Trained<T>>, Box<dyn Error>> {
        self.run_and_show(model, &Shown::default())
    }

    /// As [`run`](Self::run), with more on the page.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way.
    pub fn run_and_show(
        &self,
        model: T,
        shown: &Shown<'_>,
    ) -> Result<Option<Trained<T>>, Box<dyn Error>> {
        self.run_stages(model, shown, None)
    }

    /// As [`run_and_show`](Self::run_and_show), where the trained model is measured in another way than
    /// it was in training.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way.
    pub fn run_and_measure(
        &self,
        model: T,
        shown: &Shown<'_>,
        measure: impl FnOnce(&T) -> Result<Evaluation, Box<dyn Error>>,
    ) -> Result<Option<Trained<T>>, Box<dyn Error>> {
        self.run_stages(model, shown, Some(Box::new(measure)))
    }

    fn run_stages(
        &self,
        model: T,
        shown: &Shown<'_>,
        measure: Option<Measure<'_, T>>,
    ) -> Result<Option<Trained<T>>, Box<dyn Error>> {
        let method = &self.method.clone().with_base_model(self.names.model);
        let settings = RunSettings {
            names: self.names,
            method,
            training: self.config,
        };
        require_outside(&self.out.path, self.names.model)?;
        require_no_data(method)?;
        // What another run is about to write is none of ours to write over.
        let lock = Arc::new(RunLock::take(&self.out.path)?);
        self.write_settings(settings)?;
        let interrupter = interrupt::on_signal();
        let stages = method.stages();
        let mut model = model;
        let mut seconds = 0.0;
        for stage in &stages[..stages.len() - 1] {
            println!("first: {}", stage.name());
            let first = Arc::new(RunLock::take(&self.out.path.join(HEAD))?);
            let (trained, _) = self.train(stage, model, first, &interrupter, true)?;
            if self.says_that_it_was_interrupted(&trained) {
                return Ok(None);
            }
            seconds += trained.seconds;
            model = trained.model;
        }
        let last = &stages[stages.len() - 1];
        let (mut trained, parameters) =
            self.train(last, model, lock.clone(), &interrupter, measure.is_none())?;
        if self.says_that_it_was_interrupted(&trained) {
            return Ok(None);
        }
        trained.seconds += seconds;
        // Weights in fewer bits are not those of the checkpoint to begin with.
        if quantized(&trained.model).is_empty() {
            let frozen = trained.model.verify_frozen(self.names.model)?;
            if !frozen.parameters.is_empty() {
                println!("{frozen}");
            }
        }
        save(&self.out.path, method, &trained.model, self.tokenizer)?;
        if let Some(measure) = measure {
            trained.evaluation = Some(measure(&trained.model)?);
        }
        let count = self.train.examples().len();
        let metrics = RunMetrics::of(settings, count, parameters, &trained);
        metrics.write(&self.out.path)?;
        plot(&trained.history, &self.out.path.join(PLOT))?;
        let report = Report {
            metrics: &metrics,
            history: &trained.history,
            lengths: &shown.lengths,
            classes: shown.classes,
        };
        report.write(&self.out.path)?;
        println!(
            "written to {}: {}, {METRICS_NAME}, {PLOT}, {REPORT_NAME}",
            self.out.path.display(),
            saved_as(method)
        );
        Ok(Some(trained))
    }

    /// A run that goes on keeps the settings that it was begun with.
    fn write_settings(&self, settings: RunSettings<'_>) -> Result<(), Box<dyn Error>> {
        let folder = &self.out.path;
        if self.resume && folder.join(CONFIG_NAME).exists() {
            return Ok(settings.check_resumed(folder)?);
        }
        Ok(settings.write(folder)?)
    }

    /// One stage, in a folder of its own.
    fn train(
        &self,
        method: &Method,
        model: T,
        lock: Arc<RunLock>,
        interrupter: &Interrupter,
        evaluate_at_end: bool,
    ) -> Result<(Trained<T>, ParameterReport), Box<dyn Error>> {
        if let Some(lora) = method.adapters() {
            println!("{}", lora.plan(&model)?);
        }
        let mut model = method.prepare(model)?;
        let mut config = self.config.clone();
        if method.adapters().is_none() && self.method.adapters().is_some() {
            // The stage before there are adapters.
            config.lora_fa = false;
            config.loraplus_lr_ratio = None;
            config.loraplus_lr_embedding = TrainingConfig::new().loraplus_lr_embedding;
        }
        if config.lora_fa {
            // What the report counts is what trains.
            model = LoraFa::freeze(model)?;
        }
        let parameters = ParameterReport::of(&model);
        println!("{parameters}");
        let trained = Trainer::new(config)
            .locked_folder(lock)
            .resume(self.resume)
            .overwrite(self.out.overwrite)
            .devices(self.devices)
            .evaluate_at_end(evaluate_at_end)
            .progress(Progress::Auto)
            .interrupter(interrupter.clone())
            .train(model, self.train, self.dev)?;
        if std::io::stdout().is_terminal() {
            // The dashboard takes its numbers with it when it closes.
            for record in &trained.history.evaluations {
                println!("{record}");
            }
        }
        if trained.stopped == Some(Stopped::Early) {
            let patience = self.config.early_stopping_patience.unwrap_or_default();
            println!("stopped early: {patience} measurements without a better one");
        }
        if let (true, Some(step)) = (self.config.load_best_at_end, trained.best_step) {
            println!("the weights are those after step {step}, which measured best");
        }
        if let Some(evaluation) = &trained.evaluation {
            println!("{evaluation} in {:.1} s", trained.seconds);
        }
        Ok((trained, parameters))
    }

    fn says_that_it_was_interrupted(&self, trained: &Trained<T>) -> bool {
        let interrupted = matches!(trained.stopped, Some(Stopped::Interrupted { .. }));
        if interrupted {
            println!(
                "interrupted after step {}: the same command with --resume goes on from there",
                trained.history.steps.len()
            );
        }
        interrupted
    }
}

/// Refuses a folder to write to that the model lies in: the run would replace what it starts from.
fn require_outside(out: &Path, model: &str) -> Result<(), Box<dyn Error>> {
    let (Ok(out), Ok(model)) = (out.canonicalize(), Path::new(model).canonicalize()) else {
        // One of them is not there, or is a name on the hub.
        return Ok(());
    };
    match model.starts_with(&out) {
        false => Ok(()),
        true => Err(format!(
            "the model to start from, {}, lies in the folder to write to, {}, where the run would \
             replace it: name another folder with --out",
            model.display(),
            out.display()
        )
        .into()),
    }
}

/// Refuses adapters whose start depends on data, which the trainer does not gather.
fn require_no_data(method: &Method) -> Result<(), Box<dyn Error>> {
    let init = method.adapters().map(|config| config.init_lora_weights);
    match init {
        Some(InitLoraWeights::Eva) => Err("`init_lora_weights` is eva, for which this program gathers \
             no data: start from it in one of your own (`LoraModule::initialize_eva`), or leave it out"
            .into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named;
    use lora_core::default_device;
    use lora_models::bert::SequenceClassification;
    use lora_train::TrainError;
    use lora_train::data::{Example, Label};

    #[test]
    fn a_run_does_not_write_where_its_model_lies() {
        let folder = tempfile::tempdir().unwrap();
        let (out, model) = (folder.path().join("out"), folder.path().join("out/model"));
        std::fs::create_dir_all(&model).unwrap();
        let refused = |out: &Path, model: &str| require_outside(out, model).is_err();
        assert!(refused(&out, model.to_str().unwrap()));
        assert!(refused(&out, out.to_str().unwrap()));
        assert!(!refused(&model, out.to_str().unwrap()));
        assert!(!refused(&out, "owner/name"));
        assert!(!refused(
            &folder.path().join("new"),
            model.to_str().unwrap()
        ));
    }

    #[test]
    fn settings_of_a_run_that_goes_on_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let device = default_device();
        let name = named(&None, "roberta-tiny");
        let loaded = SequenceClassification::from_pretrained(&name, &device).unwrap();
        let tokenizer = Tokenizer::from_folder(&loaded.folder).unwrap();
        let example = Example {
            text: "a film".to_string(),
            pair: None,
            label: Label::Class(1),
        };
        let shape = loaded.model.config().clone();
        let data = TokenizedDataset::encode(&[example], &tokenizer, &shape, 16).unwrap();
        let out = OutFolder {
            path: folder.path().to_path_buf(),
            overwrite: true,
        };
        let run = FineTuning {
            method: Method::Head,
            config: &TrainingConfig::new(),
            out: &out,
            resume: false,
            devices: &[device],
            train: &data,
            dev: &data,
            tokenizer: &tokenizer,
            names: RunNames {
                model: "a",
                data: "b",
                device: "c",
            },
        };
        let settings = folder.path().join(CONFIG_NAME);
        std::fs::write(&settings, "another's").unwrap();
        let lock = RunLock::take(folder.path()).unwrap();
        let error = run.run(loaded.model).unwrap_err();
        let error = error.downcast::<TrainError>().unwrap();
        assert!(matches!(*error, TrainError::FolderInUse { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&settings).unwrap(), "another's");
        drop(lock);
    }
}
