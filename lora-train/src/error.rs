//! The error type of this crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::train::TrainingError;
use lora_core::LoraError;
use lora_models::hub::HubError;
use lora_models::tokenizer::TokenizerError;

/// Everything that can go wrong in `lora-train`.
///
/// Each message names the file, the line or the setting, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted: `read`, `write`, ….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A folder or a repository lacks the files of a data set.
    #[error("{place} has no {split} data: expected {expected}")]
    NoData {
        /// The folder, or the hub id.
        place: String,
        /// `train` or `dev`.
        split: &'static str,
        /// The names that are looked for, and where.
        expected: String,
    },
    /// A data file, or what is left of it, has no examples.
    #[error("{place} has no examples")]
    Empty {
        /// The file, or what the data set is for.
        place: String,
    },
    /// A line of a text file cannot be used.
    #[error("{path}, line {line}: {message}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was found and what was expected, with the column.
        message: String,
    },
    /// A row of a parquet file cannot be used.
    #[error("{path}, row {row}: {message}", path = path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        row: usize,
        /// What was found and what was expected, with the column.
        message: String,
    },
    /// A file is not parquet, or has other columns.
    #[error("{path}: {message}", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Sequences may become longer than the model has positions for.
    #[error(
        "a maximum length of {max_len} tokens is more than the model's {max_tokens} positions: \
         set it to {max_tokens} or less"
    )]
    MaxLen {
        /// The length asked for.
        max_len: usize,
        /// The longest the model takes.
        max_tokens: usize,
    },
    /// The tokenizer makes ids that the model has no embedding for.
    #[error(
        "the tokenizer does not fit the model: it gives {what} {id} in {text:?}, the model has \
         {count} (0 to {})", count.saturating_sub(1)
    )]
    TokenizerMismatch {
        /// `token` or `segment`.
        what: &'static str,
        /// The id.
        id: u32,
        /// The text it occurs in.
        text: String,
        /// How many the model has.
        count: usize,
    },
    /// The tokenizer makes nothing of a text.
    #[error("text {index} ({text:?}) has no tokens: expected at least one")]
    NoTokens {
        /// The text, counted from 0.
        index: usize,
        /// The text.
        text: String,
    },
    /// An example of a language model has nothing to see or nothing to predict.
    #[error(
        "an example of {tokens} tokens, of which {prompt} are given: expected at least one that is \
         given and one that is to be predicted"
    )]
    CausalExample {
        /// The tokens of the example.
        tokens: usize,
        /// How many are given.
        prompt: usize,
    },
    /// An example's label is no class of the model.
    #[error("example {index} ({text:?}) has label {label}, expected 0 to {}", num_labels - 1)]
    Label {
        /// The example, counted from 0.
        index: usize,
        /// Its text.
        text: String,
        /// The label.
        label: usize,
        /// How many classes the model has.
        num_labels: usize,
    },
    /// An example has a class where the model predicts numbers, or the other way round.
    #[error(
        "example {index} ({text:?}) has {found}, and the model has {num_labels} label(s): \
         {expected}"
    )]
    LabelKind {
        /// The example, counted from 0.
        index: usize,
        /// Its text.
        text: String,
        /// Its label.
        found: String,
        /// How many labels the model has.
        num_labels: usize,
        /// What to do.
        expected: &'static str,
    },
    /// The names of classes cannot be used, or not be found in the data.
    #[error("label names: {message}")]
    LabelNames {
        /// What was found and what was expected.
        message: String,
    },
    /// There is no GLUE task of this name.
    #[error(
        "there is no GLUE task {found:?}: expected cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte or \
         wnli"
    )]
    GlueTask {
        /// The name.
        found: String,
    },
    /// A file of SQuAD's questions cannot be used.
    #[error("{path}, {place}: {message}", path = path.display())]
    Squad {
        /// The file.
        path: PathBuf,
        /// The question by its id, or where in the file it is.
        place: String,
        /// What was found and what was expected.
        message: String,
    },
    /// Answers were asked for with logits of other features, or features of other questions.
    #[error(
        "{message}: expected the logits of these features, and the features of these questions"
    )]
    Spans {
        /// What does not fit.
        message: String,
    },
    /// A data set failed to give an example.
    #[error("example {index} of the data set cannot be had: {message}")]
    Dataset {
        /// The example, counted from 0.
        index: usize,
        /// The data set's message.
        message: String,
    },
    /// A cache of token ids cannot be written.
    #[error(
        "cannot keep token ids in {path}: {message}; give another folder for the cache, or none at \
         all", path = path.display()
    )]
    TokenCache {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        message: String,
    },
    /// A model that predicts numbers was asked for classes.
    #[error(
        "the model has one label, so it predicts a number and no class: use a model with two \
         labels or more"
    )]
    Regression,
    /// The label of an example is none that the model can learn.
    #[error(
        "example {index} has the label {label:?}, the model {num_labels} labels: expected a number \
         for a model with one label, else a class below {num_labels}"
    )]
    UnfitLabel {
        /// The example, counted from 0.
        index: usize,
        /// Its label.
        label: crate::data::Label,
        /// How many labels the model has.
        num_labels: usize,
    },
    /// A batch would have to be padded, and the model has no id for that.
    #[error(
        "the model's configuration has no `pad_token_id`, which batches of several texts need: \
         set it (GPT-2 is usually padded with its `eos_token_id`), or use a batch size of 1"
    )]
    NoPadToken,
    /// A prompt leaves no room for a response.
    #[error(
        "the prompt {text:?} has {tokens} tokens, which leaves no room for a response in {max_len}: \
         shorten the prompt or raise the maximum length"
    )]
    Prompt {
        /// The prompt.
        text: String,
        /// The tokens of the prompt, with the separator behind it.
        tokens: usize,
        /// The longest sequence.
        max_len: usize,
    },
    /// A language model has no head of its own.
    #[error(
        "a language model has no head to train alone (its output layer is the table of token \
         embeddings): train adapters, or everything"
    )]
    NoHead,
    /// A file with settings says something that cannot be used.
    #[error("{path}: `{field}`: {message}", path = path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// The setting.
        field: String,
        /// What is wrong, and what is accepted.
        message: String,
    },
    /// A setting has a value that cannot be used.
    #[error("training configuration: `{field}` is {value}, expected {expected}")]
    Setting {
        /// The field.
        field: &'static str,
        /// The value found.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// Training stopped on an error.
    #[error("training stopped: {0}")]
    Training(Arc<TrainingError>),
    /// A number became infinite or NaN.
    #[error(
        "the training {what} became {value} at step {step}, with the examples {}: the weights are \
         as they were before that step, and so are the checkpoints; look at these examples, or \
         try a smaller learning rate",
        numbers(examples)
    )]
    Diverged {
        /// `loss` or `norm of the gradient`.
        what: &'static str,
        /// What it became.
        value: f64,
        /// The step, counted from 1.
        step: usize,
        /// The numbers of the examples in the training data, counted from 0, as far as the step had
        /// seen them.
        examples: Vec<usize>,
    },
    /// The measure that tells which weights are best is not measured.
    #[error("`metric_for_best_model` is {name:?}, expected one of what is measured: {known}")]
    UnknownMeasure {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Another process trains in the folder.
    #[error(
        "{path} is in use by another run: wait for it to end, or choose another folder",
        path = path.display()
    )]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// A new run would mix its checkpoints with those of an earlier one.
    #[error(
        "{path} is the checkpoint of an earlier run: resume that run, remove its checkpoints, or \
         choose another folder", path = path.display()
    )]
    CheckpointsExist {
        /// The last checkpoint.
        path: PathBuf,
    },
    /// A checkpoint could not be written.
    #[error(
        "cannot write the checkpoint {path}: {source}; those before it are still there: remove \
         the cause and resume", path = path.display()
    )]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// Why.
        source: Box<TrainError>,
    },
    /// The state of the optimizer in a checkpoint does not fit.
    #[error(
        "{path}: the state of the optimizer is of another model or damaged ({message}): remove \
         this checkpoint to go on from the one before", path = path.display()
    )]
    OptimizerState {
        /// The file, or the checkpoint's folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The state of the run in a checkpoint cannot be read.
    #[error(
        "{path}: {message}: remove this checkpoint to go on from the one before",
        path = path.display()
    )]
    TrainerState {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A checkpoint is of a run with other settings or data.
    #[error(
        "{path} is of another run: its {field} is {expected}, this run's is {found}; to resume \
         it, all that makes a difference to the weights has to be the same", path = path.display()
    )]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        field: String,
        /// This run's.
        found: String,
        /// The checkpoint's.
        expected: String,
    },
    /// The values of a tensor could not be fetched from the device.
    #[error("cannot read a result from the device: {0}")]
    Device(String),
    /// A device failed during a step; most often its memory is full.
    #[error(
        "device {device} failed during training: {message}; if its memory is full, a smaller \
         batch_size with more gradient_accumulation_steps, or gradient_checkpointing, needs less; \
         the run can be resumed from its last checkpoint"
    )]
    DeviceFailed {
        /// The device.
        device: String,
        /// What its backend said.
        message: String,
    },
    /// The numbers of a run cannot be read.
    #[error("{path}: {message}", path = path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected, with the field.
        message: String,
    },
    /// Runs cannot be compared.
    #[error("cannot compare: {message}")]
    Comparison {
        /// What was found and what was expected.
        message: String,
    },
    /// The plot could not be drawn.
    #[error("cannot draw {path}: {message}", path = path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// The drawing library's message.
        message: String,
    },
    /// The lists of hypotheses and of references do not have the same length.
    #[error(
        "{hypotheses} hypotheses and references for {references}: expected one set of references \
         for each hypothesis, in the same order"
    )]
    SegmentCount {
        /// How many hypotheses there are.
        hypotheses: usize,
        /// How many sets of references there are.
        references: usize,
    },
    /// A hypothesis has nothing to be compared with.
    #[error(
        "hypothesis {index} (counted from 0) has {found}: expected at least one reference, and \
         text in each"
    )]
    References {
        /// The hypothesis, counted from 0.
        index: usize,
        /// What is wrong with its references.
        found: &'static str,
    },
    /// A parameter of METEOR has a value that cannot be used.
    #[error("METEOR: `{field}` is {value}, expected {expected}")]
    Meteor {
        /// The parameter.
        field: &'static str,
        /// The value found.
        value: f64,
        /// What is accepted.
        expected: &'static str,
    },
    /// Adapters could not be attached, or a file not written.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The text could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The data set could not be had from the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// A list that is cut where it gets long.
fn numbers(all: &[usize]) -> String {
    const SHOWN: usize = 32;
    let shown: Vec<String> = all.iter().take(SHOWN).map(usize::to_string).collect();
    let more = if all.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl TrainError {
    /// A [`TrainError::Io`] for `path`.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}
