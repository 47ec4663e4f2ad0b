//! The one error type of this crate.

use std::path::{Path, PathBuf};

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
    /// A name that cannot be a part of a parameter's path.
    #[error("{adapter:?} cannot name an adapter: a name has at least one character and no dot")]
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
    /// A parameter carries a reparameterization that is not this crate's.
    #[error(
        "{parameter} carries another reparameterization (Burn's `apply_lora`, perhaps): \
         merge that first with `materialize`"
    )]
    ForeignReparameterization {
        /// The parameter.
        parameter: String,
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
