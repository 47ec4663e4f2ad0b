//! The weights of a Hugging Face folder, whatever files they come in.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use lora_core::LoraError;
use lora_core::tensor_file::{FloatType, TensorFile};
use pytorch_reader::{DType, PytorchReader};

use crate::ModelError;

/// The tensors of a checkpoint: `model.safetensors`, `pytorch_model.bin`, or the shards that
/// either's index names. Nothing is read before it is asked for.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<Source>,
    /// Which file each tensor lies in.
    places: BTreeMap<String, usize>,
}

enum Source {
    Safetensors(TensorFile),
    Pickle(PathBuf, HashMap<String, pytorch_reader::Tensor>),
}

impl Checkpoint {
    /// Opens the weights in `folder`.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoWeights`] if there are none; [`ModelError::Weights`],
    /// [`ModelError::Index`] or [`ModelError::Pickle`] if a file is broken or a shard is missing.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        for name in ["model.safetensors", "pytorch_model.bin"] {
            let path = folder.join(name);
            if path.is_file() {
                return Self::from_files(path.clone(), vec![Source::open(&path)?]);
            }
            let index = folder.join(format!("{name}.index.json"));
            if index.is_file() {
                return Self::from_index(folder, index);
            }
        }
        Err(ModelError::NoWeights {
            folder: folder.to_path_buf(),
        })
    }

    fn from_index(folder: &Path, index: PathBuf) -> Result<Self, ModelError> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let bad = |message: String| ModelError::Index {
            path: index.clone(),
            message,
        };
        let text = std::fs::read(&index).map_err(|e| ModelError::io("read", &index, e))?;
        let parsed: Index = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        let mut shards: Vec<&String> = parsed.weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        let mut files = Vec::with_capacity(shards.len());
        for shard in shards {
            // A name with a path in it could reach outside the folder.
            if Path::new(shard)
                .file_name()
                .is_none_or(|name| name != shard.as_str())
            {
                return Err(bad(format!("shard {shard:?} is not a plain file name")));
            }
            files.push(Source::open(&folder.join(shard))?);
        }
        let checkpoint = Self::from_files(index.clone(), files)?;
        let lost: Vec<&String> = parsed
            .weight_map
            .keys()
            .filter(|name| !checkpoint.places.contains_key(*name))
            .collect();
        match lost.is_empty() {
            true => Ok(checkpoint),
            false => Err(bad(format!("no shard has {lost:?}"))),
        }
    }

    fn from_files(path: PathBuf, files: Vec<Source>) -> Result<Self, ModelError> {
        let mut places = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            places.extend(file.names().into_iter().map(|name| (name, i)));
        }
        Ok(Self {
            path,
            files,
            places,
        })
    }

    /// The file, or the index, that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether tensor `name` is there.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Tensor `name` as 32-bit floats; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// [`LoraError::Shape`] if it does not have the `expected` shape, [`LoraError::Dtype`] if it
    /// is not a floating-point tensor, [`LoraError::Io`].
    pub fn read(&self, name: &str, expected: &[usize]) -> Result<Option<TensorData>, LoraError> {
        match self.places.get(name) {
            Some(&file) => self.files[file].read(name, expected),
            None => Ok(None),
        }
    }
}

impl Source {
    fn open(path: &Path) -> Result<Self, ModelError> {
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            return Ok(Self::Safetensors(TensorFile::open(path)?));
        }
        if !path.is_file() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(ModelError::io("read", path, source));
        }
        let reader = PytorchReader::new(path).map_err(|e| ModelError::Pickle {
            path: path.to_path_buf(),
            message: e.to_string(),
        })?;
        Ok(Self::Pickle(path.to_path_buf(), reader.into_tensors()))
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Safetensors(file) => file.names(),
            Self::Pickle(_, tensors) => tensors.keys().cloned().collect(),
        }
    }

    fn read(&self, name: &str, expected: &[usize]) -> Result<Option<TensorData>, LoraError> {
        let (path, tensors) = match self {
            Self::Safetensors(file) => return file.read(name, expected),
            Self::Pickle(path, tensors) => (path, tensors),
        };
        let Some(tensor) = tensors.get(name) else {
            return Ok(None);
        };
        if tensor.shape() != expected {
            return Err(LoraError::Shape {
                path: path.clone(),
                tensor: name.to_string(),
                found: tensor.shape().to_vec(),
                expected: expected.to_vec(),
            });
        }
        let float = match tensor.dtype() {
            DType::F32 => FloatType::F32,
            DType::F64 => FloatType::F64,
            DType::F16 => FloatType::F16,
            DType::BF16 => FloatType::Bf16,
            other => {
                return Err(LoraError::Dtype {
                    path: path.clone(),
                    tensor: name.to_string(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        let bytes = tensor.read().map_err(|e| LoraError::io("read", path, e))?;
        Ok(Some(TensorData::new(
            float.decode(&bytes),
            expected.to_vec(),
        )))
    }
}
