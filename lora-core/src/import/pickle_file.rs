//! Reading PyTorch's pickles one tensor at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use pytorch_reader::{DType, PytorchReader};

use crate::LoraError;
use crate::tensor_file::FloatType;

/// An open PyTorch checkpoint (`.bin`, `.pt`, `.pth`): the pickle is parsed by Burn's reader, which
/// runs none of it, and a tensor is read when it is asked for.
#[derive(Debug)]
pub struct PickleFile {
    path: PathBuf,
    tensors: HashMap<String, pytorch_reader::Tensor>,
}

impl PickleFile {
    /// Opens `path`. Dictionaries in dictionaries become dotted names; what is no tensor is left
    /// out.
    ///
    /// # Errors
    ///
    /// [`LoraError::Io`] if there is no such file, [`LoraError::Pickle`] if it is not a checkpoint.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let path = path.as_ref();
        if !path.is_file() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(LoraError::io("read", path, source));
        }
        let reader = PytorchReader::new(path).map_err(|e| LoraError::Pickle {
            path: path.to_path_buf(),
            message: e.to_string(),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            tensors: reader.into_tensors(),
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Tensor `name` as 32-bit floats; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// [`LoraError::Dtype`] if it is not a floating-point tensor, [`LoraError::Shape`] if it does
    /// not have the `expected` shape, [`LoraError::Io`].
    pub fn read(&self, name: &str, expected: &[usize]) -> Result<Option<TensorData>, LoraError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Ok(None);
        };
        if tensor.shape() != expected {
            return Err(LoraError::Shape {
                path: self.path.clone(),
                tensor: name.to_string(),
                found: tensor.shape().to_vec(),
                expected: expected.to_vec(),
            });
        }
        self.read_floats(name).map(Some)
    }

    /// Tensor `name` as 32-bit floats, whatever its shape.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`LoraError::Keys`] if it is not there.
    pub fn read_floats(&self, name: &str) -> Result<TensorData, LoraError> {
        let tensor = self.tensors.get(name).ok_or_else(|| LoraError::Keys {
            path: self.path.clone(),
            missing: vec![name.to_string()],
            unexpected: Vec::new(),
        })?;
        let float = match tensor.dtype() {
            DType::F32 => FloatType::F32,
            DType::F64 => FloatType::F64,
            DType::F16 => FloatType::F16,
            DType::BF16 => FloatType::Bf16,
            other => {
                return Err(LoraError::Dtype {
                    path: self.path.clone(),
                    tensor: name.to_string(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        let bytes = tensor.read();
        let bytes = bytes.map_err(|e| LoraError::io("read", &self.path, e))?;
        Ok(TensorData::new(
            float.decode(&bytes),
            tensor.shape().to_vec(),
        ))
    }
}
