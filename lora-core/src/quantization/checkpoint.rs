//! Weights in few bits in checkpoints, as transformers saves them.

use std::path::Path;

use burn::module::Module;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::double::{BLOCK, Scales};
use super::dynamic::{Blockwise, Dynamic};
use super::four_bit::FourBit;
use super::quantized;
use super::weight::{Codes, PackedWeight, require_block};
use crate::LoraError;
use crate::state::{Role, parameters, values};
use crate::tensor_file::{Encoded, Precision, TensorFile, encode, write_encoded};

/// What bitsandbytes writes as JSON beside a 4-bit weight.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    dtype: String,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nested_blocksize: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nested_dtype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nested_offset: Option<f32>,
}

const STATE: &str = "quant_state.bitsandbytes__";

/// The parts of the weight `tensor` in a file.
struct Parts<'a> {
    file: &'a TensorFile,
    tensor: &'a str,
}

impl Parts<'_> {
    fn broken(&self, part: &str, message: impl Into<String>) -> LoraError {
        let tensor = match part.is_empty() {
            true => self.tensor.to_string(),
            false => format!("{}.{part}", self.tensor),
        };
        LoraError::QuantizationState {
            path: self.file.path().to_path_buf(),
            tensor,
            message: message.into(),
        }
    }

    /// The bytes of a part, which has so many values of this type.
    fn bytes(&self, name: &str, dtype: Dtype, count: usize) -> Result<Vec<u8>, LoraError> {
        let broken = |message: String| LoraError::QuantizationState {
            path: self.file.path().to_path_buf(),
            tensor: name.to_string(),
            message,
        };
        let Some((found, shape, bytes)) = self.file.read_bytes(name)? else {
            return Err(broken(
                "it is missing beside a quantized weight".to_string(),
            ));
        };
        if found != dtype {
            return Err(broken(format!(
                "it is of type {found:?}, expected {dtype:?}"
            )));
        }
        match shape.iter().product::<usize>() == count {
            true => Ok(bytes),
            false => Err(broken(format!(
                "it has the shape {shape:?}, expected {count} values"
            ))),
        }
    }

    fn floats(&self, part: &str, count: usize) -> Result<Vec<f32>, LoraError> {
        let name = match part.starts_with('.') {
            true => format!("{}{part}", self.module()),
            false => format!("{}.{part}", self.tensor),
        };
        let bytes = self.bytes(&name, Dtype::F32, count)?;
        let (values, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(LoraError::QuantizationState {
                path: self.file.path().to_path_buf(),
                tensor: name,
                message: "it has values that are NaN or infinite".to_string(),
            }),
        }
    }

    fn module(&self) -> &str {
        self.tensor.strip_suffix(".weight").unwrap_or(self.tensor)
    }

    fn four_bit(&self, kind: FourBit, shape: [usize; 2]) -> Result<PackedWeight, LoraError> {
        let part = format!("{STATE}{}", kind.name());
        let broken = |message: String| self.broken(&part, message);
        let name = format!("{}.{part}", self.tensor);
        let text = match self.file.read_bytes(&name)? {
            Some((Dtype::U8, _, text)) => text,
            _ => return Err(broken("it is no tensor of type U8".to_string())),
        };
        let state: State = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        if state.quant_type != kind.name() {
            let found = state.quant_type;
            return Err(broken(format!(
                "`quant_type` is {found:?}, expected {:?}",
                kind.name()
            )));
        }
        if state.shape != shape {
            let found = state.shape;
            return Err(broken(format!("`shape` is {found:?}, expected {shape:?}")));
        }
        let count = shape[0] * shape[1];
        require_block(count, state.blocksize).map_err(broken)?;
        let blocks = count / state.blocksize;
        if self.floats("quant_map", 16)? != kind.values() {
            return Err(self.broken("quant_map", format!("it is not that of {}", kind.name())));
        }
        let scales = match (state.nested_blocksize, state.nested_offset) {
            (None, None) => Scales::Plain(self.floats("absmax", blocks)?),
            (Some(BLOCK), Some(offset)) if offset.is_finite() => {
                if self.floats("nested_quant_map", 256)? != Dynamic::signed().values() {
                    return Err(self.broken("nested_quant_map", "it is not the signed dynamic map"));
                }
                let absmax = format!("{}.absmax", self.tensor);
                let scales = Blockwise {
                    codes: self.bytes(&absmax, Dtype::U8, blocks)?,
                    scales: self.floats("nested_absmax", blocks.div_ceil(BLOCK))?,
                };
                Scales::Nested { scales, offset }
            }
            (block, offset) => {
                return Err(broken(format!(
                    "`nested_blocksize` is {block:?} and `nested_offset` {offset:?}, expected \
                     {BLOCK} and a number, or neither"
                )));
            }
        };
        let codes = Codes::FourBit {
            kind,
            packed: self.bytes(self.tensor, Dtype::U8, count / 2)?,
            scales,
            block: state.blocksize,
        };
        Ok(PackedWeight::new(shape, codes))
    }

    fn int8(&self, shape: [usize; 2]) -> Result<PackedWeight, LoraError> {
        let format = format!("{}.weight_format", self.module());
        if let Some((_, _, bytes)) = self.file.read_bytes(&format)?
            && bytes != [0]
        {
            return Err(self.broken("", "its `weight_format` is not 0: only rows can be read"));
        }
        let codes = self.bytes(self.tensor, Dtype::I8, shape[0] * shape[1])?;
        let codes = Codes::Int8 {
            codes: codes.into_iter().map(u8::cast_signed).collect(),
            scales: self.floats(".SCB", shape[0])?,
        };
        Ok(PackedWeight::new(shape, codes))
    }
}

impl PackedWeight {
    /// The weight `tensor`, `[d_out, d_in]`, of a checkpoint that transformers saved in few bits;
    /// `None` if it is not stored so there.
    ///
    /// # Errors
    ///
    /// [`LoraError::QuantizationState`] if its codes, scales or settings are missing, do not fit
    /// each other or `shape`, or are of a kind that cannot be read.
    pub fn read(
        file: &TensorFile,
        tensor: &str,
        shape: [usize; 2],
    ) -> Result<Option<Self>, LoraError> {
        let parts = Parts { file, tensor };
        let names = file.names();
        let has = |name: &str| names.iter().any(|other| other == name);
        let state = format!("{tensor}.{STATE}");
        for kind in [FourBit::Nf4, FourBit::Fp4] {
            if has(&format!("{state}{}", kind.name())) {
                return parts.four_bit(kind, shape).map(Some);
            }
        }
        if let Some(other) = names.iter().find(|name| name.starts_with(&state)) {
            let kind = other.strip_prefix(&state).unwrap_or(other);
            return Err(parts.broken("", format!("its type is {kind:?}, expected nf4 or fp4")));
        }
        if has(&format!("{}.SCB", parts.module())) {
            return parts.int8(shape).map(Some);
        }
        match file.dtype(tensor) {
            Some(dtype @ (Dtype::U8 | Dtype::I8)) => {
                let message = format!("it is of type {dtype:?} and has no quantization state");
                Err(parts.broken("", message))
            }
            _ => Ok(None),
        }
    }

    /// Whether `name` is a part of a quantized weight `tensor`, beside the codes themselves.
    pub fn is_part(tensor: &str, name: &str) -> bool {
        let module = tensor.strip_suffix("weight");
        let beside = module.and_then(|module| name.strip_prefix(module));
        beside.is_some_and(|rest| {
            rest.starts_with("weight.") || rest == "SCB" || rest == "weight_format"
        })
    }

    /// The parts in a file; none of a weight in 16-bit floats, which is a plain tensor there.
    fn encode(&self, tensor: &str) -> Vec<Encoded> {
        let module = tensor.strip_suffix("weight").unwrap_or_default();
        let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let part = |part: &str, dtype, count, bytes| {
            (format!("{tensor}.{part}"), dtype, vec![count], bytes)
        };
        match &self.codes {
            Codes::Bf16(_) | Codes::F16(_) => Vec::new(),
            Codes::Int8 { codes, scales } => {
                let bytes = codes.iter().map(|code| code.cast_unsigned()).collect();
                vec![
                    (tensor.to_string(), Dtype::I8, self.shape().to_vec(), bytes),
                    (
                        format!("{module}SCB"),
                        Dtype::F32,
                        vec![scales.len()],
                        floats(scales),
                    ),
                    (
                        format!("{module}weight_format"),
                        Dtype::U8,
                        Vec::new(),
                        vec![0],
                    ),
                ]
            }
            Codes::FourBit {
                kind,
                packed,
                scales,
                block,
            } => {
                let mut state = State {
                    quant_type: kind.name().to_string(),
                    blocksize: *block,
                    dtype: "float32".to_string(),
                    shape: self.shape().to_vec(),
                    nested_blocksize: None,
                    nested_dtype: None,
                    nested_offset: None,
                };
                let shape = vec![packed.len(), 1];
                let mut parts = vec![
                    (tensor.to_string(), Dtype::U8, shape, packed.clone()),
                    part("quant_map", Dtype::F32, 16, floats(kind.values())),
                ];
                let blocks = scales.len();
                match scales {
                    Scales::Plain(scales) => {
                        parts.push(part("absmax", Dtype::F32, blocks, floats(scales)));
                    }
                    Scales::Nested { scales, offset } => {
                        state.nested_blocksize = Some(BLOCK);
                        state.nested_dtype = Some("float32".to_string());
                        state.nested_offset = Some(*offset);
                        let map = floats(Dynamic::signed().values());
                        let nested = &scales.scales;
                        parts.push(part("absmax", Dtype::U8, blocks, scales.codes.clone()));
                        let count = nested.len();
                        parts.push(part("nested_absmax", Dtype::F32, count, floats(nested)));
                        parts.push(part("nested_quant_map", Dtype::F32, 256, map));
                    }
                }
                let text = serde_json::json!(state).to_string().into_bytes();
                let name = format!("{STATE}{}", kind.name());
                parts.push(part(&name, Dtype::U8, text.len(), text));
                parts
            }
        }
    }
}

/// Writes the base of `module` to a safetensors file, with the weights that are stored in few bits as
/// transformers saves them, and the others, those in 16-bit floats too, in `precision`.
///
/// # Errors
///
/// [`LoraError::Io`].
pub fn write_quantized<M: Module>(
    module: &M,
    path: &Path,
    precision: Precision,
) -> Result<(), LoraError> {
    let packed = quantized(module);
    let is_packed = |path: &str| packed.iter().any(|quantized| quantized.path == path);
    let dense = values(module, |info| {
        info.role == Role::Base && !is_packed(&info.path)
    });
    let dense = dense.into_iter().map(|(info, data)| (info.name, data));
    let mut tensors = encode(path, dense.collect(), precision)?;
    for info in parameters(module) {
        let Some(quantized) = packed.iter().find(|quantized| quantized.path == info.path) else {
            continue;
        };
        let weight = &quantized.weight;
        if weight.format().float_name().is_some() {
            let data = weight.values_as(&info);
            tensors.extend(encode(path, vec![(info.name, data)], precision)?);
        } else {
            tensors.extend(weight.encode(&info.name));
        }
    }
    write_encoded(path, &tensors)
}
