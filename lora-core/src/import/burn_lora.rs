//! Records of modules with Burn's own LoRA.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::{DType, TensorData};
use burn_pack::Reader;

use super::base_comparison::same_base;
use super::foreign_adapter::{ForeignAdapter, Rank, weight_dims};
use crate::state::{ParameterInfo, Role, parameters, transpose};
use crate::{LoraConfig, LoraError};

const A: &str = ".lora.a";
const B: &str = ".lora.b";
const WEIGHT: &str = ".weight";

/// A record of a module that Burn's `apply_lora` has adapted: for each adapted weight `W`, the
/// parameters `W.lora.a` and `W.lora.b`, beside those of the base.
///
/// It becomes an adapter as follows.
///
/// - `r` and `target_modules` are read off the tensors, `rank_pattern` too if the ranks differ.
/// - Burn's scale, `alpha / rank`, is not in the record: `alpha` is the `lora_alpha` of the
///   configuration given, with `alpha_pattern` where it was not the same for all.
/// - The modules in the configuration's `modules_to_save` (and the biases, with its `bias`) are
///   what the record has for them.
/// - Any other parameter of the base in the record has to have the module's own values: the adapter
///   belongs to that base. A record may also have less than the whole base, or nothing of it.
///
/// Burn adapts every matrix, this crate only a module's `weight`: a record with factors of another
/// parameter is refused.
pub struct BurnLora {
    pub(super) path: PathBuf,
    pub(super) tensors: BTreeMap<String, burn_pack::Tensor>,
    any_base: bool,
}

impl fmt::Debug for BurnLora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BurnLora")
            .field("path", &self.path)
            .field("tensors", &self.tensors.keys())
            .finish()
    }
}

impl BurnLora {
    /// Opens a record that `save_file` wrote; the extension `.bpk` may be left out.
    ///
    /// # Errors
    ///
    /// [`LoraError::Burnpack`] if it is missing or malformed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let path = path.as_ref();
        Self::read(path, Reader::from_file(path))
    }

    /// Takes a record that [`Module::into_record`] gave.
    ///
    /// # Errors
    ///
    /// [`LoraError::Burnpack`] if Burn cannot write it out.
    pub fn from_record(record: ModuleRecord) -> Result<Self, LoraError> {
        let path = Path::new("<memory>");
        let bytes = record.into_bytes().map_err(|e| broken(path, e))?;
        Self::read(path, Reader::from_bytes(bytes))
    }

    fn read(path: &Path, reader: Result<Reader, burn_pack::Error>) -> Result<Self, LoraError> {
        let tensors = reader.and_then(Reader::into_tensors);
        let tensors = tensors.map_err(|e| broken(path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            tensors: tensors.into_iter().map(|t| (t.name.clone(), t)).collect(),
            any_base: false,
        })
    }

    /// Takes the adapter alone, and does not look whether the record's base is the module's: for a
    /// base that the record has in another precision, quantized by `apply_qlora` perhaps.
    pub fn on_any_base(mut self) -> Self {
        self.any_base = true;
        self
    }

    /// Adds the adapter to `module` under the name `name`, as
    /// [`add_adapter`](crate::LoraModule::add_adapter) does.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoFactors`]; [`LoraError::Keys`] with every missing and unexpected tensor;
    /// [`LoraError::OtherBase`]; [`LoraError::Shape`], [`LoraError::Dtype`],
    /// [`LoraError::Burnpack`]; [`LoraError::ConfigValue`] for a setting that the record decides;
    /// those of `add_adapter`.
    pub fn attach<M: Module>(
        self,
        module: M,
        name: &str,
        config: &LoraConfig,
    ) -> Result<M, LoraError> {
        let mut base = parameters(&module);
        base.retain(|p| p.role == Role::Base);
        let ranks = self.ranks(&base)?;
        let factors = self.tensors.keys().filter(|name| weight_of(name).is_some());
        let adapter = ForeignAdapter {
            path: self.path.clone(),
            ranks,
            names: factors.cloned().collect(),
            name_of,
        };
        let config = adapter.configure(&module, config)?;
        let module = adapter.attach(module, name, &config, |info, key| {
            let Some(tensor) = self.tensors.get(key) else {
                return Ok(None);
            };
            let data = self.data(tensor)?;
            let data = TensorData::new(data.iter::<f32>().collect(), data.shape().clone());
            Ok(Some(match info.transposed {
                true => transpose(data),
                false => data,
            }))
        })?;
        if !self.any_base {
            self.require_base(&module, name)?;
        }
        Ok(module)
    }

    /// The modules that have both factors, and their ranks.
    fn ranks(&self, base: &[ParameterInfo]) -> Result<BTreeMap<String, Rank>, LoraError> {
        let mut ranks = BTreeMap::new();
        let (mut missing, mut unexpected) = (Vec::new(), Vec::new());
        for name in self.tensors.keys() {
            let Some(weight) = weight_of(name) else {
                continue;
            };
            let other = match name.ends_with(A) {
                true => format!("{weight}{B}"),
                false => format!("{weight}{A}"),
            };
            if !self.tensors.contains_key(&other) {
                missing.push(other);
                continue;
            }
            let dims = match weight.strip_suffix(WEIGHT) {
                Some(module) => weight_dims(base, module)?.map(|dims| (module, dims)),
                None => None,
            };
            let Some((module, dims)) = dims else {
                unexpected.push(name.clone());
                continue;
            };
            let rank = self.rank(weight, dims)?;
            ranks.insert(module.to_string(), Rank { rank, parts: 1 });
        }
        if !missing.is_empty() || !unexpected.is_empty() {
            return Err(LoraError::Keys {
                path: self.path.clone(),
                missing,
                unexpected,
            });
        }
        if ranks.is_empty() {
            return Err(LoraError::NoFactors {
                path: self.path.clone(),
                expected: "`<weight>.lora.a` and `<weight>.lora.b`",
            });
        }
        Ok(ranks)
    }

    /// The rank of the factors of `weight`, which has these inputs and outputs.
    fn rank(&self, weight: &str, [d_in, d_out]: [usize; 2]) -> Result<usize, LoraError> {
        let shape = |factor: &str| {
            let name = format!("{weight}{factor}");
            let shape = self.tensors[&name].shape.to_vec();
            (name, shape)
        };
        let wrong = |(tensor, found): (String, Vec<usize>), expected: [usize; 2]| {
            Err(LoraError::Shape {
                path: self.path.clone(),
                tensor,
                found,
                expected: expected.to_vec(),
            })
        };
        let (a, b) = (shape(A), shape(B));
        let rank = a.1.last().copied().unwrap_or_default();
        if a.1 != [d_in, rank] {
            return wrong(a, [d_in, rank]);
        }
        if b.1 != [rank, d_out] {
            return wrong(b, [rank, d_out]);
        }
        Ok(rank)
    }

    /// The values of a floating-point tensor.
    pub(super) fn data(&self, tensor: &burn_pack::Tensor) -> Result<TensorData, LoraError> {
        match tensor.dtype {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => self.any_data(tensor),
            other => Err(LoraError::Dtype {
                path: self.path.clone(),
                tensor: tensor.name.clone(),
                dtype: format!("{other:?}"),
            }),
        }
    }

    /// The values of a tensor of any type.
    pub(super) fn any_data(&self, tensor: &burn_pack::Tensor) -> Result<TensorData, LoraError> {
        let bytes = tensor.to_bytes().map_err(|e| broken(&self.path, e))?;
        let shape = tensor.shape.clone();
        Ok(TensorData::from_bytes(bytes, shape, tensor.dtype))
    }

    /// Fails if the record's base is not the module's.
    fn require_base<M: Module>(&self, module: &M, name: &str) -> Result<(), LoraError> {
        let own = |p: &ParameterInfo| p.role == Role::Saved && p.adapter.as_deref() == Some(name);
        let copies = parameters(module).into_iter().filter(own);
        let replaced = copies.map(|p| p.base_path().to_string()).collect();
        let seen = same_base(self, module, replaced)?;
        let known = |name: &&String| seen.contains(*name) || weight_of(name).is_some();
        let unexpected: Vec<_> = self.tensors.keys().filter(|n| !known(n)).cloned().collect();
        match unexpected.is_empty() {
            true => Ok(()),
            false => Err(LoraError::Keys {
                path: self.path.clone(),
                missing: Vec::new(),
                unexpected,
            }),
        }
    }
}

fn broken(path: &Path, error: impl fmt::Display) -> LoraError {
    LoraError::Burnpack {
        path: path.to_path_buf(),
        message: error.to_string(),
    }
}

/// The path of the weight that a factor is of.
fn weight_of(name: &str) -> Option<&str> {
    name.strip_suffix(A).or_else(|| name.strip_suffix(B))
}

/// What Burn calls a parameter.
fn name_of(info: &ParameterInfo) -> String {
    match info.role {
        Role::LoraA => format!("{}{A}", info.base_path()),
        Role::LoraB => format!("{}{B}", info.base_path()),
        Role::Base | Role::Saved => info.base_path().to_string(),
        Role::Magnitude => info.path.clone(),
    }
}
