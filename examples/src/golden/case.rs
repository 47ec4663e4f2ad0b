//! Reading a parity case from its folder.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_models::bert::EncoderInput;
use lora_models::gpt2::Gpt2Input;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// What a case's head computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// Sequence classification, or regression with one label.
    SeqCls,
    /// Masked language modelling.
    Mlm,
    /// Extractive question answering.
    Qa,
    /// Causal language modelling.
    Lm,
}

/// `case.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Description {
    /// `roberta`, `bert`, ….
    pub arch: String,
    /// The head.
    pub head: Head,
    /// The number of classes; 1 is regression.
    pub labels: usize,
    /// The arguments of PEFT's `LoraConfig`; absent for a base model alone.
    pub lora: Option<serde_json::Value>,
    /// The number of trained parameters, as PEFT counts them.
    pub trainable: Option<usize>,
    /// The number of all parameters, as PEFT counts them.
    pub total: Option<usize>,
}

/// A tensor of `io.safetensors`.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Values,
}

/// The values of an [`Array`], row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Results, and the labels of a regression.
    Floats(Vec<f32>),
    /// Ids, masks and classes.
    Integers(Vec<i64>),
}

/// A parity case: a folder that Hugging Face transformers and PEFT filled.
#[derive(Debug, Clone)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// What is in it.
    pub description: Description,
    /// The inputs and the results, by name.
    pub io: BTreeMap<String, Array>,
}

impl Case {
    /// Reads `case.json` and `io.safetensors`.
    ///
    /// # Errors
    ///
    /// A file is missing or not what it should be; the message names it.
    pub fn open(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
        };
        let description = serde_json::from_slice(&read("case.json")?)
            .map_err(|e| format!("{}/case.json: {e}", folder.display()))?;
        let bytes = read("io.safetensors")?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| format!("{}/io.safetensors: {e}", folder.display()))?;
        let mut io = BTreeMap::new();
        for (name, view) in file.tensors() {
            let values = match view.dtype() {
                Dtype::F32 => Values::Floats(numbers(view.data(), f32::from_le_bytes)),
                Dtype::I64 => Values::Integers(numbers(view.data(), i64::from_le_bytes)),
                other => return Err(format!("{name} in io.safetensors is {other:?}").into()),
            };
            io.insert(
                name,
                Array {
                    shape: view.shape().to_vec(),
                    values,
                },
            );
        }
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        let (name, folder) = (name.to_string_lossy().into_owned(), folder.to_path_buf());
        Ok(Self {
            name,
            folder,
            description,
            io,
        })
    }

    /// The folder of the base model.
    pub fn base(&self) -> PathBuf {
        self.folder.join("base")
    }

    /// The folder of the adapter that PEFT wrote.
    pub fn adapter(&self) -> PathBuf {
        self.folder.join("adapter")
    }

    /// The results whose names start with `prefix`, without it.
    pub fn results(&self, prefix: &str) -> Vec<(&str, &Array)> {
        let named = self
            .io
            .iter()
            .filter_map(|(name, a)| Some((name.strip_prefix(prefix)?, a)));
        named.collect()
    }

    /// The values of a floating-point result.
    ///
    /// # Errors
    ///
    /// It is not there, or holds integers.
    pub fn floats(&self, name: &str) -> Result<&[f32], Box<dyn Error>> {
        match self.io.get(name).map(|array| &array.values) {
            Some(Values::Floats(values)) => Ok(values),
            _ => Err(format!("io.safetensors has no floats {name}").into()),
        }
    }

    /// The inputs on `device`.
    ///
    /// # Errors
    ///
    /// One is missing or has the wrong type or rank.
    pub fn inputs(&self, device: &Device) -> Result<Inputs<'_>, Box<dyn Error>> {
        let inputs = Inputs {
            case: self,
            device: device.clone(),
        };
        inputs.integers::<2>("input_ids")?;
        Ok(inputs)
    }
}

/// A case's `in.*` tensors.
#[derive(Debug)]
pub struct Inputs<'a> {
    case: &'a Case,
    device: Device,
}

impl Inputs<'_> {
    /// What the encoder reads.
    ///
    /// # Errors
    ///
    /// As [`Case::inputs`].
    pub fn encoder(&self) -> Result<EncoderInput, Box<dyn Error>> {
        Ok(EncoderInput {
            input_ids: self.integers("input_ids")?,
            attention_mask: self.optional("attention_mask")?,
            token_type_ids: self.optional("token_type_ids")?,
        })
    }

    /// What GPT-2 reads.
    ///
    /// # Errors
    ///
    /// As [`Case::inputs`].
    pub fn gpt2(&self) -> Result<Gpt2Input, Box<dyn Error>> {
        Ok(Gpt2Input {
            input_ids: self.integers("input_ids")?,
            attention_mask: self.optional("attention_mask")?,
            position_ids: None,
        })
    }

    fn optional(&self, name: &str) -> Result<Option<Tensor<2, Int>>, Box<dyn Error>> {
        match self.case.io.contains_key(&format!("in.{name}")) {
            true => self.integers::<2>(name).map(Some),
            false => Ok(None),
        }
    }

    /// An input of whole numbers.
    ///
    /// # Errors
    ///
    /// As [`Case::inputs`].
    pub fn integers<const D: usize>(&self, name: &str) -> Result<Tensor<D, Int>, Box<dyn Error>> {
        match self.case.io.get(&format!("in.{name}")) {
            Some(Array {
                shape,
                values: Values::Integers(values),
            }) if shape.len() == D => {
                let data = TensorData::new(values.clone(), shape.clone());
                Ok(Tensor::from_data(data, &self.device))
            }
            _ => Err(format!("io.safetensors has no {D}-D integers in.{name}").into()),
        }
    }

    /// A one-dimensional input of floats.
    ///
    /// # Errors
    ///
    /// As [`Case::inputs`].
    pub fn floats(&self, name: &str) -> Result<Tensor<1>, Box<dyn Error>> {
        let values = self.case.floats(&format!("in.{name}"))?;
        Ok(Tensor::from_data(values, &self.device))
    }
}

fn numbers<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|value| convert(*value)).collect()
}
