//! Checkpoints of loralib, the LoRA authors' own package.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;

use super::foreign_adapter::{ForeignAdapter, Rank, weight_dims};
use super::merged_linear::{MergedLinear, count, plain_b};
use super::pickle_file::PickleFile;
use super::saved_modules::saved_modules;
use crate::config::Matcher;
use crate::state::{ParameterInfo, Role, parameters};
use crate::{LoraConfig, LoraError, ModulePattern};

const A: &str = ".lora_A";
const B: &str = ".lora_B";

/// A checkpoint of [loralib](https://github.com/microsoft/LoRA): what its `lora_state_dict` gave,
/// saved by `torch.save`, with the head if that was trained too.
///
/// It becomes an adapter as follows.
///
/// - `r` and `target_modules` are read off the tensors, `rank_pattern` too if the ranks differ.
/// - α is not in the file: it is the `lora_alpha` of the configuration given.
/// - Whatever is neither a factor nor a bias is a module trained in full: `modules_to_save` becomes
///   the outermost modules that are wholly in the file, unless the configuration names them.
/// - Biases (`bias='all'` or `'lora_only'` in loralib) need the same `bias` in the configuration.
/// - A `MergedLinear` with `n` enabled parts of rank `r` becomes a plain adapter of rank `n·r` with
///   `α·n`, so at the same scale. Which parts are enabled is not in the file either, unless it is
///   all of them: see [`with_enable_lora`](Self::with_enable_lora). The function is the same, but
///   the zeros that fill up `B` are parameters here: who trains on, trains more than loralib would.
///
/// ```no_run
/// # use lora_core::{LoraConfig, LoraError, import::Loralib};
/// # fn load<M: burn::module::Module>(gpt2: M) -> Result<M, LoraError> {
/// Loralib::open("gpt2_md_lora_e2e.pt")?
///     .rename(|name| name.replace("model_state_dict.", ""))
///     .with_enable_lora(["c_attn"], [true, false, true])
///     .attach(gpt2, "e2e", &LoraConfig::new().with_lora_alpha(32.0))
/// # }
/// ```
#[derive(Debug)]
pub struct Loralib {
    file: PickleFile,
    /// The tensors' names, as the module's and as the file's.
    names: Vec<(String, String)>,
    enable_lora: Vec<(ModulePattern, Vec<bool>)>,
}

impl Loralib {
    /// Opens a checkpoint.
    ///
    /// # Errors
    ///
    /// [`LoraError::Io`], or [`LoraError::Pickle`] if it is not one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let file = PickleFile::open(path)?;
        let mut names: Vec<_> = file
            .names()
            .map(|name| (name.to_string(), name.to_string()))
            .collect();
        names.sort();
        Ok(Self {
            file,
            names,
            enable_lora: Vec::new(),
        })
    }

    /// Gives every tensor the name that `f` makes of it, where the module's paths are not the
    /// file's: a dictionary around the weights, or a wrapper, puts its own name before them.
    pub fn rename(mut self, f: impl Fn(&str) -> String) -> Self {
        for (name, _) in &mut self.names {
            *name = f(name);
        }
        self
    }

    /// Says which parts of the layers that `modules` means have an adapter, as it was given to
    /// loralib's `MergedLinear`. `modules` is matched as `target_modules` is; the first that
    /// matches counts.
    pub fn with_enable_lora(
        mut self,
        modules: impl Into<ModulePattern>,
        enable_lora: impl Into<Vec<bool>>,
    ) -> Self {
        self.enable_lora.push((modules.into(), enable_lora.into()));
        self
    }

    /// Adds the adapter to `module` under the name `name`, as
    /// [`add_adapter`](crate::LoraModule::add_adapter) does.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoFactors`]; [`LoraError::Keys`] with every missing and unexpected tensor;
    /// [`LoraError::Shape`], [`LoraError::Dtype`], [`LoraError::Io`]; [`LoraError::EnableLora`] for
    /// a `MergedLinear` that needs it; [`LoraError::ConfigValue`] for a setting that the file
    /// decides; those of `add_adapter`.
    pub fn attach<M: Module>(
        self,
        module: M,
        name: &str,
        config: &LoraConfig,
    ) -> Result<M, LoraError> {
        let mut base = parameters(&module);
        base.retain(|p| p.role == Role::Base);
        let names = self.unique_names()?;
        let modules = self.modules(&names, &base)?;
        let mut tensors = BTreeMap::new();
        let mut ranks = BTreeMap::new();
        let given = self.given_parts(&modules)?;
        for (path, dims) in &modules {
            let factors = self.factors(path, *dims, &names, given.get(path).copied())?;
            ranks.insert(path.clone(), factors.rank);
            tensors.insert(format!("{path}{A}"), factors.a);
            tensors.insert(format!("{path}{B}"), factors.b);
        }
        for (name, in_file) in &names {
            if !tensors.contains_key(*name) {
                tensors.insert(name.to_string(), self.file.read_floats(in_file)?);
            }
        }
        let adapter = ForeignAdapter {
            path: self.file.path().to_path_buf(),
            ranks,
            names: names.keys().map(|name| name.to_string()).collect(),
            name_of,
        };
        let mut config = config.clone();
        if config.modules_to_save.is_none() {
            let saved = saved_modules(&names, &modules, &base, config.bias);
            config.modules_to_save = (!saved.is_empty()).then_some(saved);
        }
        let config = adapter.configure(&module, &config)?;
        adapter.attach(module, name, &config, |_, key| {
            Ok(tensors.get(key).cloned())
        })
    }

    /// The name that each tensor has after renaming, with its name in the file.
    fn unique_names(&self) -> Result<BTreeMap<&str, &str>, LoraError> {
        let mut names = BTreeMap::new();
        let mut twice = Vec::new();
        for (name, in_file) in &self.names {
            if names.insert(name.as_str(), in_file.as_str()).is_some() {
                twice.push(format!("{name} (twice)"));
            }
        }
        match twice.is_empty() {
            true => Ok(names),
            false => Err(self.keys(Vec::new(), twice)),
        }
    }

    /// The modules that have both factors, and their inputs and outputs.
    fn modules(
        &self,
        names: &BTreeMap<&str, &str>,
        base: &[ParameterInfo],
    ) -> Result<BTreeMap<String, [usize; 2]>, LoraError> {
        let mut modules = BTreeMap::new();
        let (mut missing, mut unexpected) = (Vec::new(), Vec::new());
        for name in names.keys() {
            let Some((path, other)) = factor_of(name) else {
                continue;
            };
            let other = format!("{path}{other}");
            if !names.contains_key(other.as_str()) {
                missing.push(other);
            }
            match weight_dims(base, path)? {
                Some(dims) => {
                    modules.insert(path.to_string(), dims);
                }
                None => unexpected.push(name.to_string()),
            }
        }
        if !missing.is_empty() || !unexpected.is_empty() {
            return Err(self.keys(missing, unexpected));
        }
        if modules.is_empty() {
            return Err(LoraError::NoFactors {
                path: self.file.path().to_path_buf(),
                expected: "`<module>.lora_A` and `<module>.lora_B`",
            });
        }
        Ok(modules)
    }

    fn keys(&self, missing: Vec<String>, unexpected: Vec<String>) -> LoraError {
        LoraError::Keys {
            path: self.file.path().to_path_buf(),
            missing,
            unexpected,
        }
    }

    /// The parts that `with_enable_lora` gave for each module.
    fn given_parts<'a>(
        &'a self,
        modules: &BTreeMap<String, [usize; 2]>,
    ) -> Result<BTreeMap<String, &'a [bool]>, LoraError> {
        let mut given = BTreeMap::new();
        for (pattern, parts) in &self.enable_lora {
            let matcher = Matcher::new(pattern, "enable_lora")?;
            let matched: Vec<_> = modules.keys().filter(|m| matcher.matches(m)).collect();
            if matched.is_empty() {
                return Err(LoraError::NothingMatched {
                    field: "enable_lora",
                    pattern: matcher.entries().collect::<Vec<_>>().join(", "),
                    nearest: modules.keys().take(5).cloned().collect(),
                });
            }
            for module in matched {
                given.entry(module.clone()).or_insert(parts.as_slice());
            }
        }
        Ok(given)
    }

    /// The factors of the module at `path`, made plain.
    fn factors(
        &self,
        path: &str,
        [d_in, d_out]: [usize; 2],
        names: &BTreeMap<&str, &str>,
        given: Option<&[bool]>,
    ) -> Result<Factors, LoraError> {
        let read = |factor: &str| {
            let name = format!("{path}{factor}");
            let data = self.file.read_floats(names[name.as_str()])?;
            let shape = data.shape().to_vec();
            Ok::<_, LoraError>((name, data, shape))
        };
        let ((a_name, a, a_shape), (b_name, b, b_shape)) = (read(A)?, read(B)?);
        let a_rows = a_shape.first().copied().unwrap_or_default();
        if a_shape != [a_rows, d_in] {
            return Err(self.shape(a_name, a_shape, [a_rows, d_in]));
        }
        let [b_rows, b_columns] = b_shape[..] else {
            return Err(self.shape(b_name, b_shape, [d_out, a_rows]));
        };
        let layer = MergedLinear {
            path: self.file.path(),
            module: path,
            a_rows,
            b_shape: [b_rows, b_columns],
            d_out,
        };
        let enable_lora = layer.enable_lora(given)?;
        let rank = Rank {
            rank: a_rows,
            parts: count(&enable_lora),
        };
        let b = plain_b(&b, &enable_lora);
        Ok(Factors { a, b, rank })
    }

    fn shape(&self, tensor: String, found: Vec<usize>, expected: [usize; 2]) -> LoraError {
        LoraError::Shape {
            path: self.file.path().to_path_buf(),
            tensor,
            found,
            expected: expected.to_vec(),
        }
    }
}

/// The factors of one module in PyTorch's layout: `[r, in]` and `[out, r]`.
struct Factors {
    a: TensorData,
    b: TensorData,
    rank: Rank,
}

/// What loralib calls a parameter.
fn name_of(info: &ParameterInfo) -> String {
    match info.role {
        Role::LoraA => format!("{}{A}", info.module()),
        Role::LoraB => format!("{}{B}", info.module()),
        Role::Base | Role::Saved | Role::Magnitude => info.name.clone(),
    }
}

/// The module that a factor is of, and the other factor's ending.
fn factor_of(name: &str) -> Option<(&str, &'static str)> {
    match (name.strip_suffix(A), name.strip_suffix(B)) {
        (Some(module), _) => Some((module, B)),
        (_, Some(module)) => Some((module, A)),
        (None, None) => None,
    }
}
