//! The one error type of this crate.

use std::path::{Path, PathBuf};

use crate::InitLoraWeights;

/// Everything that can go wrong in `lora-core`.
///
/// Each message names the file, the field or the tensor, what was expected, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted: `read`, `write`, `create`, ….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// An output folder exists and overwriting was not asked for.
    #[error("{path} already exists: choose another folder or ask to overwrite it", path = path.display())]
    AlreadyExists {
        /// The folder.
        path: PathBuf,
    },
    /// Matrix products cannot be done with so few bits here.
    #[error(
        "matrix products of precision `{precision}` need a processor with tile units for 16-bit values (AMX), Linux, and the flex backend: use `highest`"
    )]
    MatmulPrecision {
        /// What was asked for.
        precision: crate::ops::MatmulPrecision,
    },
    /// Inputs cannot be multiplied in 8 bits here.
    #[error(
        "activations in 8 bits need the flex backend, on this device and in this build: leave them in f32"
    )]
    Activations,
    /// A configuration is not valid JSON, or a field of it has the wrong type.
    #[error("{path} is not a LoRA configuration: {message}", path = path.display())]
    ConfigSyntax {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// The parser's message, with line and column.
        message: String,
    },
    /// A field of the configuration has a value that cannot be used.
    #[error("LoRA configuration: `{field}` is {value}, expected {expected}")]
    ConfigValue {
        /// The field, by PEFT's name.
        field: &'static str,
        /// The value found.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// A file has a configuration that cannot be used.
    #[error("{path}: {source}", path = path.display())]
    ConfigFile {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<LoraError>,
    },
    /// A field of the configuration is set to something that is not supported.
    ///
    /// PEFT fields with their default values are accepted; nothing is ever ignored silently.
    #[error(
        "{path}: `{field}` = {value} is not supported here; leave it out or set it to {default}",
        path = path.display()
    )]
    ConfigUnsupported {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// The field.
        field: String,
        /// The value found, as JSON.
        value: String,
        /// The value that is accepted, as JSON.
        default: String,
    },
    /// `target_modules` is absent and nothing supplied the architecture's usual ones.
    #[error(
        "`target_modules` is not set and this module's architecture has no usual targets; \
         name some of its modules, e.g. {}", nearest.join(", ")
    )]
    NoTargetModules {
        /// Some modules that could be adapted.
        nearest: Vec<String>,
    },
    /// A pattern is not a valid regular expression.
    #[error("`{field}`: {pattern:?} is not a valid regular expression: {message}")]
    Pattern {
        /// The field it stands in.
        field: &'static str,
        /// The pattern.
        pattern: String,
        /// The regular expression parser's message.
        message: String,
    },
    /// A target pattern matched no module.
    #[error(
        "`{field}`: {pattern:?} matches no module; the nearest names are {}", nearest.join(", ")
    )]
    NothingMatched {
        /// `target_modules` or `modules_to_save`.
        field: &'static str,
        /// The pattern.
        pattern: String,
        /// The module names most like it.
        nearest: Vec<String>,
    },
    /// A target pattern matched a module that LoRA cannot adapt.
    #[error(
        "`target_modules` matches {module}, a {kind}: only modules with a two-dimensional `weight` \
         (linear layers, embeddings) can be adapted; narrow the pattern or use `exclude_modules`"
    )]
    UnsupportedTarget {
        /// The module's path.
        module: String,
        /// Its type.
        kind: String,
    },
    /// `lora_dropout` is set, but the module's own forward has no place for it.
    #[error(
        "`lora_dropout` = {dropout} needs the factored forward of `LoraLinear`, but {module} is a \
         {kind}, which only sees the composed weight: use `LoraLinear` there or set `lora_dropout` to 0"
    )]
    DropoutUnsupported {
        /// The dropout probability.
        dropout: f64,
        /// The module's path.
        module: String,
        /// Its type.
        kind: String,
    },
    /// A module that is meant shares its weight with another.
    #[error(
        "`{field}` means {module}, which shares its weight with {other}: one side of a tie cannot \
         change alone; exclude it (`exclude_modules`), or put {owner} into `modules_to_save`, which \
         trains both sides together"
    )]
    Tied {
        /// `target_modules` or `modules_to_save`.
        field: &'static str,
        /// The module that is meant.
        module: String,
        /// The module on the other side.
        other: String,
        /// The module that owns the weight.
        owner: String,
    },
    /// A parameter that is meant stands at several paths.
    #[error(
        "`{field}` means {parameter}, which is one parameter with {} (they have one `ParamId`): \
         Burn's optimizers change it at one path only, so it can neither be adapted nor trained; \
         exclude it, or give each path a parameter of its own", others.join(", ")
    )]
    RepeatedParameter {
        /// `target_modules`, `modules_to_save` or `bias`.
        field: &'static str,
        /// The parameter that is meant.
        parameter: String,
        /// Its other paths.
        others: Vec<String>,
    },
    /// A module declares a tie with a parameter that it does not have.
    #[error(
        "{module} is declared to share the weight {weight}, but there is no such parameter: correct \
         the path that its `visit` gives to `lora_core::tie::declare`"
    )]
    UnknownTie {
        /// The module that is tied.
        module: String,
        /// The path declared.
        weight: String,
    },
    /// The module already has an adapter of that name.
    #[error(
        "the module already has an adapter {adapter:?}: choose another name, delete it with \
         `delete_adapter`, or merge it with `merge_and_unload`"
    )]
    AdapterExists {
        /// The adapter.
        adapter: String,
    },
    /// The module has no adapter of that name.
    #[error(
        "the module has no adapter {adapter:?}; it has {}",
        names_or_none(present)
    )]
    NoAdapter {
        /// The name given.
        adapter: String,
        /// The adapters the module has.
        present: Vec<String>,
    },
    /// The adapter is merged into the weights.
    #[error("adapter {adapter:?} is merged into the weights: call `unmerge` first")]
    AdapterMerged {
        /// The adapter.
        adapter: String,
    },
    /// A name that cannot be a part of a parameter's path, or that stands for the base.
    #[error(
        "{adapter:?} cannot name an adapter: a name has at least one character and no dot, and \
         `__base__` means none"
    )]
    AdapterName {
        /// The name given.
        adapter: String,
    },
    /// Adapters are attached where a module without any is needed.
    #[error(
        "{module} has an adapter: merge it first with `merge_and_unload`, or take it off with `unload`"
    )]
    HasAdapters {
        /// The first adapted module found.
        module: String,
    },
    /// Another adapter trains the base's biases in place.
    #[error(
        "adapter {adapter:?} trains biases of the base in place (`bias`), so a model that has it \
         can have no other: merge it first"
    )]
    BiasShared {
        /// The adapter with `bias`.
        adapter: String,
    },
    /// Several adapters that are to be active have a copy of the same module.
    #[error(
        "adapters {} all have their own copy of {parameter} (`modules_to_save`), and a module can \
         only have one at a time: activate one of them", adapters.join(", ")
    )]
    SavedByBoth {
        /// The parameter.
        parameter: String,
        /// The adapters that have a copy of it.
        adapters: Vec<String>,
    },
    /// The adapters are disabled.
    #[error("the adapters are disabled: call `enable_adapters` first")]
    AdaptersDisabled,
    /// A mixed batch without rows.
    #[error("`for_rows` needs the name of an adapter, or `__base__`, for each row of the batch")]
    NoRows,
    /// Rows of a batch name different adapters of a module that has no place for them.
    #[error(
        "the rows of a batch can name different adapters only in `LoraLinear` and `LoraEmbedding`, \
         but {module} is a {kind}, which only sees the composed weight: use `LoraLinear` or \
         `LoraEmbedding` there, or run the rows of each adapter as a batch of their own"
    )]
    MixedBatchUnsupported {
        /// The module's path.
        module: String,
        /// Its type.
        kind: String,
    },
    /// Rows of a batch need different values of one parameter.
    #[error(
        "{parameter} is trained in full (`modules_to_save`) by {}, and {reader} reads one value of \
         it for the whole batch: use `LoraLinear` or `LoraEmbedding` there, or run the rows that \
         need another as a batch of their own", adapters.join(", ")
    )]
    MixedBatchOfCopies {
        /// The parameter.
        parameter: String,
        /// The adapters named that have a copy of it.
        adapters: Vec<String>,
        /// What reads it: a module's type, or the module that shares the parameter.
        reader: String,
    },
    /// Adapters cannot be combined in the way asked for.
    #[error("`add_weighted_adapter`: `{field}` is {value}, expected {expected}")]
    Combination {
        /// The argument, by PEFT's name.
        field: &'static str,
        /// The value found.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// Factors of different ranks would have to be added up.
    #[error(
        "`add_weighted_adapter`: the adapters of {module} have different ranks ({}), so their \
         factors cannot be added up: use the combination type `cat`, or one with `svd`",
        ranks.iter().map(|(name, r)| format!("{name}: {r}")).collect::<Vec<_>>().join(", ")
    )]
    CombinedRanks {
        /// The module's path.
        module: String,
        /// Each adapter with its rank there.
        ranks: Vec<(String, usize)>,
    },
    /// A matrix has no singular value decomposition.
    #[error(
        "the values to decompose for {parameter} are not all finite: the adapter or the base is \
         broken"
    )]
    NoSvd {
        /// The parameter.
        parameter: String,
    },
    /// A weight's factors are in its place already.
    #[error(
        "{parameter} has no values: its factors are in its place (`FactorizeConfig`). Merge them first, \
         with `merge_and_unload`"
    )]
    Factorized {
        /// The parameter.
        parameter: String,
    },
    /// Matrices do not fit what they are analysed for.
    #[error("analysing {matrix}: {message}")]
    Analysis {
        /// What the matrix is of: a module's path, or the name given.
        matrix: String,
        /// What does not fit.
        message: String,
    },
    /// One adapter has low-rank factors of a parameter, and another trains a copy of it.
    #[error(
        "{parameter} cannot be adapted by one adapter and trained in full (`modules_to_save`) by \
         another: {adapter:?} does the other of the two; leave it out of one, or merge {adapter:?} first"
    )]
    AdaptedAndSaved {
        /// The parameter.
        parameter: String,
        /// The adapter that is there already.
        adapter: String,
    },
    /// A parameter carries a reparameterization that is not this crate's.
    #[error(
        "{parameter} carries another reparameterization (Burn's `apply_lora`, perhaps): \
         merge that first with `materialize`"
    )]
    ForeignReparameterization {
        /// The parameter.
        parameter: String,
    },
    /// An adapter cannot start the way its configuration says.
    #[error("`init_lora_weights` = {init}: {module}: {message}")]
    Init {
        /// The initialisation.
        init: InitLoraWeights,
        /// The module's path, or the adapter if it concerns all of them.
        module: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Two adapters would take their start out of the same weight.
    #[error(
        "adapter {adapter:?} has taken its start out of {parameter} (`init_lora_weights`), so no \
         other can: save that adapter with `save_adapter_as_lora` and load it in its own place, or \
         merge it"
    )]
    BaseTaken {
        /// The weight.
        parameter: String,
        /// The adapter that has a part of it.
        adapter: String,
    },
    /// A weight that an adapter took its start out of is not what it was made.
    #[error(
        "{parameter} is not what adapter {adapter:?} left of it (`init_lora_weights`), so the \
         original cannot be put back: load the base's weights before the adapter is added, and \
         records only into a model with the same base"
    )]
    BaseReplaced {
        /// The weight.
        parameter: String,
        /// The adapter.
        adapter: String,
    },
    /// A call that does not know of adapters which took their start out of the base.
    #[error(
        "`{call}` is not possible with adapter {adapter:?}, which has taken its start out of the \
         base (`init_lora_weights`): save it with `save_adapter_as_lora` and load that instead"
    )]
    StartTaken {
        /// The call.
        call: &'static str,
        /// The adapter.
        adapter: String,
    },
    /// An adapter cannot be written as plain LoRA of the original base.
    #[error("adapter {adapter:?} cannot be saved as plain LoRA: {message}")]
    NotConvertible {
        /// The adapter.
        adapter: String,
        /// Why, and what to do.
        message: String,
    },
    /// The module carries no adapter at all.
    #[error("the module has no LoRA adapter: call `LoraConfig::inject` first")]
    NotInjected,
    /// A merged weight would not be finite.
    #[error(
        "merging would make {parameter} non-finite ({count} values are NaN or infinite): \
         the adapter or the base is broken, nothing was merged"
    )]
    NotFinite {
        /// The parameter.
        parameter: String,
        /// How many of its values are not finite.
        count: usize,
    },
    /// A safetensors file is truncated or malformed.
    #[error("{path} is not a complete safetensors file: {message}", path = path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A tensor has a type that cannot be read as floating point.
    #[error(
        "{path}: tensor `{tensor}` has dtype {dtype}, expected F32, F16, BF16 or F64", path = path.display()
    )]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor has the wrong shape.
    #[error(
        "{path}: tensor `{tensor}` has shape {found:?}, expected {expected:?}", path = path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape the module has.
        expected: Vec<usize>,
    },
    /// Tensors are missing from a file, or it has some that nothing asks for.
    #[error("{path} does not fit the module{}{}", list("missing", missing), list("unexpected", unexpected), path = path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Names that the module needs and the file lacks.
        missing: Vec<String>,
        /// Names in the file that the module has no place for.
        unexpected: Vec<String>,
    },
    /// A file is not a PyTorch checkpoint.
    #[error("{path} is not a PyTorch checkpoint that can be read: {message}", path = path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A record of Burn's cannot be read.
    #[error("{path} is not a Burn record that can be read: {message}", path = path.display())]
    Burnpack {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file to import has no adapter in it.
    #[error("{path} has no LoRA factors: expected tensors named {expected}", path = path.display())]
    NoFactors {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// What the factors would be called.
        expected: &'static str,
    },
    /// Which parts of a loralib `MergedLinear` have an adapter is not known.
    #[error(
        "{path}: {module} has {d_out} outputs, `lora_A` {a_rows} rows and `lora_B` the shape \
         {b_shape:?}: that is a `MergedLinear`, whose `enable_lora` is not in the file; say it with \
         `Loralib::with_enable_lora`", path = path.display()
    )]
    EnableLora {
        /// The file.
        path: PathBuf,
        /// The module.
        module: String,
        /// The rows of its `lora_A`.
        a_rows: usize,
        /// The shape of its `lora_B`.
        b_shape: [usize; 2],
        /// The outputs it has here.
        d_out: usize,
    },
    /// A record's adapter belongs to another base.
    #[error(
        "{path} was recorded on another base: {} of its parameters differ from the module's: {}; \
         load the base first (`ModuleRecord::allow_unused` and `Module::load_record`), or name the \
         modules that were trained in full in `modules_to_save`",
        parameters.len(), parameters.join(", "), path = path.display()
    )]
    OtherBase {
        /// The file, or `<memory>`.
        path: PathBuf,
        /// The parameters that differ.
        parameters: Vec<String>,
    },
    /// A setting of a quantized base has a value that cannot be used.
    #[error("quantization: `{field}` is {value}, expected {expected}")]
    QuantizationConfig {
        /// The field, by transformers' name.
        field: &'static str,
        /// The value found.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },
    /// A weight cannot be quantized.
    #[error("{tensor} cannot be quantized: {message}")]
    Quantization {
        /// The weight.
        tensor: String,
        /// Why, and what to do.
        message: String,
    },
    /// A quantized weight in a file is broken or of a kind that cannot be read.
    #[error("{path}: tensor `{tensor}`: {message}", path = path.display())]
    QuantizationState {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What was found, and what was expected.
        message: String,
    },
    /// A device was named that this build or machine does not have.
    #[error("device {device:?}: {message}")]
    Device {
        /// The name given.
        device: String,
        /// What is wrong and what is available.
        message: String,
    },
}

impl LoraError {
    /// An [`LoraError::Io`] for `path`.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

fn names_or_none(names: &[String]) -> String {
    match names {
        [] => "none".to_string(),
        names => names.join(", "),
    }
}

fn list(what: &str, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("; {} {what}: {}", names.len(), names.join(", "))
}
