//! Updates from where adapters are kept.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;

use super::{ModuleUpdate, analysis_error};
use crate::adapter_file::{CONFIG_NAME, PREFIX, WEIGHTS_NAME};
use crate::import::PickleFile;
use crate::state::{Role, values};
use crate::tensor_file::TensorFile;
use crate::{LoraConfig, LoraError, LoraModule};

/// What PEFT calls the factors of a linear layer's adapter, and of an embedding's.
const PEFT_FACTORS: [[&str; 2]; 2] = [
    [".lora_A.weight", ".lora_B.weight"],
    [".lora_embedding_A", ".lora_embedding_B"],
];
const LORALIB_FACTORS: [&str; 2] = [".lora_A", ".lora_B"];

impl ModuleUpdate {
    /// The updates of an adapter that a module has, in the order of their paths.
    ///
    /// # Errors
    ///
    /// [`LoraError::NoAdapter`]; as of [`new`](Self::new).
    pub fn of<M: Module>(module: &M, adapter: &str) -> Result<Vec<Self>, LoraError> {
        let config = module.adapter_config(adapter)?;
        let mut factors: BTreeMap<String, [Option<TensorData>; 2]> = BTreeMap::new();
        for (info, data) in values(module, |info| info.adapter.as_deref() == Some(adapter)) {
            let index = match info.role {
                Role::LoraA => 0,
                Role::LoraB => 1,
                Role::Base | Role::Magnitude | Role::Saved => continue,
            };
            factors.entry(info.module().to_string()).or_default()[index] = Some(data);
        }
        let both = factors
            .into_iter()
            .filter_map(|(module, [a, b])| Some((module, a?, b?)));
        both.map(|(module, a, b)| Self::new(&module, &a, &b, config.scaling_for(&module)?))
            .collect()
    }

    /// The updates of an adapter folder in PEFT's format, in the order of their paths.
    ///
    /// # Errors
    ///
    /// [`LoraError::Io`] and others if a file cannot be read or is broken;
    /// [`LoraError::Keys`] if a factor lacks the other one, [`LoraError::NoFactors`] if there is none;
    /// as of [`new`](Self::new).
    pub fn from_adapter(folder: impl AsRef<Path>) -> Result<Vec<Self>, LoraError> {
        let folder = folder.as_ref();
        let config = LoraConfig::from_file(folder.join(CONFIG_NAME))?;
        let file = TensorFile::open(folder.join(WEIGHTS_NAME))?;
        let names = file.names();
        let mut updates = Vec::new();
        for [a, b] in PEFT_FACTORS {
            for stem in stems(&names, [a, b], file.path())? {
                let module = stem.strip_prefix(PREFIX).unwrap_or(stem);
                let [a, b] = [a, b].map(|factor| file.read_floats(&format!("{stem}{factor}")));
                updates.push(Self::new(module, &a?, &b?, config.scaling_for(module)?)?);
            }
        }
        require_some(
            &updates,
            file.path(),
            "`<module>.lora_A.weight` and `….lora_B.weight`",
        )?;
        updates.sort_by(|one, other| one.module().cmp(other.module()));
        Ok(updates)
    }

    /// The updates of loralib's checkpoint, in the order of their names. Each scaling is
    /// `lora_alpha / r`, as the file does not have it. A merged layer (`MergedLinear`, as GPT-2's
    /// `c_attn`) has several, numbered in the order of its parts that are adapted: `c_attn.0`.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pickle`] and its like if the file cannot be read; [`LoraError::Keys`] if a factor
    /// lacks the other one, [`LoraError::NoFactors`] if there is none; as of [`new`](Self::new).
    pub fn from_loralib(path: impl AsRef<Path>, lora_alpha: f64) -> Result<Vec<Self>, LoraError> {
        let file = PickleFile::open(path)?;
        let mut names: Vec<String> = file.names().map(str::to_string).collect();
        names.sort();
        let mut updates = Vec::new();
        for module in stems(&names, LORALIB_FACTORS, file.path())? {
            let read = |factor: &str| file.read_floats(&format!("{module}{factor}"));
            let [a, b] = LORALIB_FACTORS.map(read);
            updates.extend(parts(module, &a?, &b?, lora_alpha)?);
        }
        require_some(
            &updates,
            file.path(),
            "`<module>.lora_A` and `<module>.lora_B`",
        )?;
        Ok(updates)
    }
}

/// What stands before the names of two factors.
fn stems<'a>(
    names: &'a [String],
    factors: [&str; 2],
    path: &Path,
) -> Result<Vec<&'a str>, LoraError> {
    let mut missing = Vec::new();
    let mut stems = Vec::new();
    for (factor, other) in [(factors[0], factors[1]), (factors[1], factors[0])] {
        for stem in names.iter().filter_map(|name| name.strip_suffix(factor)) {
            let partner = format!("{stem}{other}");
            if !names.contains(&partner) {
                missing.push(partner);
            } else if factor == factors[0] {
                stems.push(stem);
            }
        }
    }
    match missing.is_empty() {
        true => Ok(stems),
        false => Err(LoraError::Keys {
            path: path.to_path_buf(),
            missing,
            unexpected: Vec::new(),
        }),
    }
}

fn require_some(
    updates: &[ModuleUpdate],
    path: &Path,
    expected: &'static str,
) -> Result<(), LoraError> {
    match updates.is_empty() {
        false => Ok(()),
        true => Err(LoraError::NoFactors {
            path: path.to_path_buf(),
            expected,
        }),
    }
}

/// The updates of the parts of a layer of loralib: `A` has the rows of all parts below each other, and
/// `B` too, with as many columns as a part's rank.
fn parts(
    module: &str,
    a: &TensorData,
    b: &TensorData,
    lora_alpha: f64,
) -> Result<Vec<ModuleUpdate>, LoraError> {
    let ([rows, inputs], [outputs, rank]) = (dims(module, a)?, dims(module, b)?);
    let count = match rank {
        0 => 0,
        rank => rows / rank,
    };
    if count == 0 || count * rank != rows || outputs % count != 0 {
        let message = format!(
            "`A` has the shape [{rows}, {inputs}] and `B` [{outputs}, {rank}]: the rows of both are \
             not those of as many parts of rank {rank}"
        );
        return Err(analysis_error(module, message));
    }
    let scaling = lora_alpha / rank as f64;
    let part = |index: usize| {
        let name = match count {
            1 => module.to_string(),
            _ => format!("{module}.{index}"),
        };
        let [a, b] = [(a, [rank, inputs]), (b, [outputs / count, rank])].map(|(data, shape)| {
            let size = shape[0] * shape[1];
            let values = data.iter::<f32>().skip(index * size).take(size);
            TensorData::new(values.collect::<Vec<_>>(), shape)
        });
        ModuleUpdate::new(&name, &a, &b, scaling)
    };
    (0..count).map(part).collect()
}

fn dims(module: &str, data: &TensorData) -> Result<[usize; 2], LoraError> {
    match data.shape()[..] {
        [rows, columns] => Ok([rows, columns]),
        _ => Err(analysis_error(
            module,
            format!(
                "a factor has the shape {:?}, expected a matrix",
                data.shape()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_merged_layer_are_apart() {
        let a = TensorData::new(vec![1.0f32, 0.0, 0.0, 2.0], [2, 2]);
        let b = TensorData::new(vec![3.0f32, 0.0, 0.0, 5.0], [4, 1]);
        let found = parts("c_attn", &a, &b, 2.0).unwrap();
        let summary: Vec<_> = found
            .iter()
            .map(|part| (part.module(), part.shape(), part.norm().round()))
            .collect();
        assert_eq!(
            summary,
            [("c_attn.0", [2, 2], 6.0), ("c_attn.1", [2, 2], 20.0)]
        );
        assert_eq!(
            parts("q", &a, &TensorData::new(vec![1.0f32; 6], [3, 2]), 2.0).unwrap()[0].module(),
            "q"
        );
        let odd = TensorData::new(vec![1.0f32; 9], [3, 3]);
        assert!(parts("q", &a, &odd, 2.0).is_err());
        let odd = TensorData::new(vec![1.0f32; 3], [3, 1]);
        let text = parts("q", &a, &odd, 2.0).unwrap_err().to_string();
        assert!(text.contains("[3, 1]"), "{text}");
    }
}
