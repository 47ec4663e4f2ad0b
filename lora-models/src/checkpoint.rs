//! The weights of a Hugging Face folder, whatever files they come in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use lora_core::LoraError;
use lora_core::import::PickleFile;
use lora_core::quantization::PackedWeight;
use lora_core::tensor_file::TensorFile;

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
    Pickle(PickleFile),
}

impl Checkpoint {
    /// Opens the weights in `folder`.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoWeights`] if there are none; [`ModelError::Weights`] or
    /// [`ModelError::Index`] if a file is broken or a shard is missing.
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

    /// Tensor `name`, `[d_out, d_in]`, if transformers saved it in few bits.
    ///
    /// # Errors
    ///
    /// [`LoraError::QuantizationState`] if its codes and scales do not fit together, [`LoraError::Io`].
    pub fn read_packed(
        &self,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<PackedWeight>, LoraError> {
        match self.places.get(name).map(|file| &self.files[*file]) {
            Some(Source::Safetensors(file)) => PackedWeight::read(file, name, shape),
            _ => Ok(None),
        }
    }
}

impl Source {
    fn open(path: &Path) -> Result<Self, LoraError> {
        match path.extension().is_some_and(|e| e == "safetensors") {
            true => TensorFile::open(path).map(Self::Safetensors),
            false => PickleFile::open(path).map(Self::Pickle),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Safetensors(file) => file.names(),
            Self::Pickle(file) => file.names().map(String::from).collect(),
        }
    }

    fn read(&self, name: &str, expected: &[usize]) -> Result<Option<TensorData>, LoraError> {
        match self {
            Self::Safetensors(file) => file.read(name, expected),
            Self::Pickle(file) => file.read(name, expected),
        }
    }
}
