//! Reading safetensors files one tensor at a time, and writing them whole.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorView};

use crate::LoraError;
use crate::file::write_atomically;

/// No header is larger, as in other readers: a longer one is some other kind of file.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file: its header is in memory, its tensors are mapped when asked for.
///
/// Only the tensor being read is mapped, so that reading a model never holds the file in memory
/// beside the model.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    data_start: u64,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens `path` and checks its header against its length.
    ///
    /// # Errors
    ///
    /// [`LoraError::Io`], or [`LoraError::Safetensors`] if it is truncated or malformed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let path = path.as_ref();
        let io = |source| LoraError::io("read", path, source);
        let broken = |message: String| LoraError::Safetensors {
            path: path.to_path_buf(),
            message,
        };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size)
            .map_err(|_| broken(format!("{length} bytes are too few for a header")))?;
        let data_start = u64::from_le_bytes(size).saturating_add(8);
        if data_start > length {
            return Err(broken(format!(
                "its header ends at byte {data_start}, the file at {length}"
            )));
        }
        if data_start > MAX_HEADER {
            return Err(broken(format!(
                "its header would have {} bytes",
                data_start - 8
            )));
        }
        let mut header = Vec::new();
        file.by_ref()
            .take(data_start - 8)
            .read_to_end(&mut header)
            .map_err(io)?;
        // Parsing checks the tensors' sizes and that they leave no holes; the library's own reader
        // would want the tensors in memory as well.
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| broken(e.to_string()))?;
        let expected = data_start.saturating_add(metadata.data_len() as u64);
        if expected != length {
            return Err(broken(format!(
                "it should have {expected} bytes and has {length}"
            )));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            data_start,
            metadata,
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// The shape of tensor `name`, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Tensor `name` as 32-bit floats; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// [`LoraError::Dtype`] if it is not a floating-point tensor, [`LoraError::Shape`] if it does
    /// not have the `expected` shape, [`LoraError::Io`].
    pub fn read(&self, name: &str, expected: &[usize]) -> Result<Option<TensorData>, LoraError> {
        let Some(info) = self.metadata.info(name) else {
            return Ok(None);
        };
        if info.shape != expected {
            return Err(LoraError::Shape {
                path: self.path.clone(),
                tensor: name.to_string(),
                found: info.shape.clone(),
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
        let info = self.metadata.info(name).ok_or_else(|| LoraError::Keys {
            path: self.path.clone(),
            missing: vec![name.to_string()],
            unexpected: Vec::new(),
        })?;
        let bytes = self.map(info.data_offsets)?;
        let float = match info.dtype {
            Dtype::F32 => FloatType::F32,
            Dtype::F64 => FloatType::F64,
            Dtype::F16 => FloatType::F16,
            Dtype::BF16 => FloatType::Bf16,
            other => {
                return Err(LoraError::Dtype {
                    path: self.path.clone(),
                    tensor: name.to_string(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        Ok(TensorData::new(float.decode(&bytes), info.shape.clone()))
    }

    /// The type, the shape and the bytes of tensor `name`, if it is there.
    pub(crate) fn read_bytes(&self, name: &str) -> Result<Option<Raw>, LoraError> {
        let Some(info) = self.metadata.info(name) else {
            return Ok(None);
        };
        let bytes = self.map(info.data_offsets)?.to_vec();
        Ok(Some((info.dtype, info.shape.clone(), bytes)))
    }

    /// The type of tensor `name`, if it is there.
    pub(crate) fn dtype(&self, name: &str) -> Option<Dtype> {
        self.metadata.info(name).map(|info| info.dtype)
    }

    fn map(&self, (start, end): (usize, usize)) -> Result<Bytes, LoraError> {
        if start == end {
            return Ok(Bytes::Empty);
        }
        let mut options = memmap2::MmapOptions::new();
        options
            .offset(self.data_start + start as u64)
            .len(end - start);
        // SAFETY: the mapping is read-only, private to this call and within the file, whose length
        // `open` checked. Another process that truncates the file meanwhile could still fault us:
        // no reader of mapped weights can prevent that. Reading into a buffer instead would need
        // room for the largest tensor once more, 154 MB of RoBERTa-base's 499.
        let map = unsafe { options.map(&self.file) };
        map.map(Bytes::Mapped)
            .map_err(|e| LoraError::io("map", &self.path, e))
    }
}

enum Bytes {
    Empty,
    Mapped(memmap2::Mmap),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Mapped(map) => map,
        }
    }
}

/// The floating-point types that checkpoints use, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 64 bits, rounded to 32.
    F64,
    /// 16 bits, IEEE.
    F16,
    /// 16 bits with f32's exponent.
    Bf16,
}

impl FloatType {
    /// The values in `bytes`; a last value that is not whole is left out.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => chunks(bytes, f32::from_le_bytes),
            Self::F64 => chunks(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F16 => chunks(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => chunks(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        }
    }
}

fn chunks<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|value| convert(*value)).collect()
}

/// The precision of a written tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
}

/// Writes `tensors` to a safetensors file as PyTorch's writers do, atomically.
///
/// # Errors
///
/// [`LoraError::Dtype`] if one is not a float tensor, [`LoraError::Io`].
pub fn write_tensors(
    path: &Path,
    tensors: Vec<(String, TensorData)>,
    precision: Precision,
) -> Result<(), LoraError> {
    write_encoded(path, &encode(path, tensors, precision)?)
}

/// A tensor as it lies in a file: its type, shape and bytes.
pub(crate) type Raw = (Dtype, Vec<usize>, Vec<u8>);

/// A tensor as it is written: its name, type, shape and bytes.
pub(crate) type Encoded = (String, Dtype, Vec<usize>, Vec<u8>);

/// `tensors` in `precision`, for the file `path`.
pub(crate) fn encode(
    path: &Path,
    tensors: Vec<(String, TensorData)>,
    precision: Precision,
) -> Result<Vec<Encoded>, LoraError> {
    let mut encoded = Vec::with_capacity(tensors.len());
    for (name, data) in tensors {
        let shape = data.shape().to_vec();
        let values = data.convert_dtype(DType::F32);
        let values = values.as_slice::<f32>().map_err(|e| LoraError::Dtype {
            path: path.to_path_buf(),
            tensor: name.clone(),
            dtype: format!("{e:?}"),
        })?;
        let (dtype, bytes): (_, Vec<u8>) = match precision {
            Precision::F32 => (
                Dtype::F32,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ),
            Precision::F16 => (
                Dtype::F16,
                values
                    .iter()
                    .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                    .collect(),
            ),
        };
        encoded.push((name, dtype, shape, bytes));
    }
    Ok(encoded)
}

/// Writes tensors as PyTorch's writers do, atomically.
pub(crate) fn write_encoded(path: &Path, encoded: &[Encoded]) -> Result<(), LoraError> {
    let broken = |e: safetensors::SafeTensorError| LoraError::Safetensors {
        path: path.to_path_buf(),
        message: e.to_string(),
    };
    let mut views = Vec::with_capacity(encoded.len());
    for (name, dtype, shape, bytes) in encoded {
        views.push((
            name,
            TensorView::new(*dtype, shape.clone(), bytes).map_err(broken)?,
        ));
    }
    let format = [("format".to_string(), "pt".to_string())].into();
    let bytes = safetensors::serialize(views, Some(format)).map_err(broken)?;
    write_atomically(path, &bytes)
}
