//! What an adapter has learnt, module by module, as numbers and pictures (Hu et al. 2021, section 7).

mod picture;
#[cfg(test)]
mod tests;

use std::path::Path;

use burn::tensor::TensorData;
use lora_core::LoraError;
use lora_core::analysis::{Amplification, ModuleUpdate, Subspace};
use lora_core::file::write_atomically;
use serde::Serialize;

use crate::TrainError;

/// Gives the weight of a module, `[outputs, inputs]`, by the module's path and that shape.
pub type BaseWeight<'a> = dyn FnMut(&str, [usize; 2]) -> Result<Option<TensorData>, LoraError> + 'a;

/// An adapter's modules, and how similar they are to another's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Anatomy {
    /// Each module that is adapted.
    pub modules: Vec<ModuleAnatomy>,
    /// Those that another adapter has too; empty without one.
    pub similarities: Vec<ModuleSimilarity>,
}

/// The update of one module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModuleAnatomy {
    /// Its path.
    pub module: String,
    /// `[outputs, inputs]`.
    pub shape: [usize; 2],
    /// The rank of the factors.
    pub rank: usize,
    /// The factor on their product.
    pub scaling: f64,
    /// The Frobenius norm `‖ΔW‖`.
    pub norm: f64,
    /// In how many directions the update is.
    pub effective_rank: f64,
    /// The largest first.
    pub singular_values: Vec<f64>,
    /// What of the weight is amplified, if the weight is known.
    pub amplification: Option<Amplification>,
}

/// The similarities `φ(i, j)` of two updates of the same module (section 7.2): in the row `i - 1` and the
/// column `j - 1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModuleSimilarity {
    /// The module's path.
    pub module: String,
    /// Of the directions of `A`, as the paper has it.
    pub a: Vec<Vec<f64>>,
    /// Of the directions of the input that the updates read.
    pub input: Vec<Vec<f64>>,
    /// Of as many directions at random: what chance gives.
    pub random: Vec<Vec<f64>>,
}

impl Anatomy {
    /// Looks at the updates of an adapter.
    ///
    /// `other` are the updates of another one, with another rank or seed, to compare with; `weight`
    /// gives the base's weights, as far as it has them; `seed` is for directions at random.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if matrices do not fit, or are not finite, or the adapters have no module in
    /// common; what `weight` fails with.
    pub fn of(
        updates: &[ModuleUpdate],
        other: &[ModuleUpdate],
        weight: &mut BaseWeight<'_>,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let mut modules = Vec::with_capacity(updates.len());
        for update in updates {
            let weight = weight(update.module(), update.shape())?;
            let amplification = weight.map(|weight| update.amplification(&weight, seed));
            modules.push(ModuleAnatomy {
                module: update.module().to_string(),
                shape: update.shape(),
                rank: update.rank(),
                scaling: update.scaling(),
                norm: update.norm(),
                effective_rank: update.effective_rank(),
                singular_values: update.singular_values().to_vec(),
                amplification: amplification.transpose()?,
            });
        }
        modules.sort_by_cached_key(|module: &ModuleAnatomy| natural(&module.module));
        let mut similarities = Vec::new();
        for update in updates {
            let same = |other: &&ModuleUpdate| other.module() == update.module();
            if let Some(other) = other.iter().find(same) {
                similarities.push(ModuleSimilarity::of(update, other, seed)?);
            }
        }
        similarities.sort_by_cached_key(|found: &ModuleSimilarity| natural(&found.module));
        if similarities.is_empty() && !other.is_empty() {
            let message = "they adapt no module of the same path".to_string();
            return Err(not_comparable(message));
        }
        Ok(Self {
            modules,
            similarities,
        })
    }

    /// A line for each module, below a line with the names.
    pub fn table(&self) -> String {
        let width = self.modules.iter().map(|m| m.module.len()).max();
        let width = width.unwrap_or_default().max("module".len());
        let mut text = format!(
            "{:width$}  {:>4}  {:>9}  {:>9}  {:>9}  {:>9}\n",
            "module", "rank", "effective", "‖ΔW‖", "‖W‖", "amplified"
        );
        for module in &self.modules {
            let (weight, factor) = match &module.amplification {
                None => ("-".to_string(), "-".to_string()),
                Some(found) => (
                    format!("{:.2}", found.weight_norm),
                    found.factor.map_or("-".to_string(), |f| format!("{f:.2}×")),
                ),
            };
            text += &format!(
                "{:width$}  {:>4}  {:>9.2}  {:>9.3}  {weight:>9}  {factor:>9}\n",
                module.module, module.rank, module.effective_rank, module.norm
            );
        }
        text
    }

    /// Writes all numbers as JSON.
    ///
    /// # Errors
    ///
    /// [`TrainError::Lora`] if the file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<(), TrainError> {
        let text = format!("{:#}\n", serde_json::json!(self));
        Ok(write_atomically(path, text.as_bytes())?)
    }

    /// Draws the spectra, the effective ranks and the norms, layer by layer.
    ///
    /// # Errors
    ///
    /// [`TrainError::Plot`]; [`TrainError::Lora`] if the file cannot be written.
    pub fn write_spectra(&self, path: &Path) -> Result<(), TrainError> {
        write_picture(path, picture::spectra(self))
    }

    /// Draws the similarities with the other adapter, and those of directions at random.
    ///
    /// # Errors
    ///
    /// [`TrainError::Plot`]; [`TrainError::Lora`] if there is no other, or the file cannot be written.
    pub fn write_similarities(&self, path: &Path) -> Result<(), TrainError> {
        if self.similarities.is_empty() {
            return Err(not_comparable(
                "there is no other to compare with".to_string(),
            ));
        }
        write_picture(path, picture::similarities(self))
    }
}

impl ModuleSimilarity {
    fn of(one: &ModuleUpdate, other: &ModuleUpdate, seed: u64) -> Result<Self, TrainError> {
        let (a, other_a) = (one.a_subspace(), other.a_subspace());
        let random = |like: &Subspace, seed| Subspace::random(like.dimension(), like.len(), seed);
        let random = random(&a, seed).similarities(&random(&other_a, seed ^ 1))?;
        Ok(Self {
            module: one.module().to_string(),
            a: a.similarities(&other_a)?,
            input: one.input_subspace().similarities(&other.input_subspace())?,
            random,
        })
    }
}

/// What paths are ordered by: the numbers in them as numbers, before words.
fn natural(path: &str) -> Vec<Result<usize, String>> {
    let part = |part: &str| part.parse().map_err(|_| part.to_string());
    path.split('.').map(part).collect()
}

fn not_comparable(message: String) -> TrainError {
    let matrix = "the two adapters".to_string();
    TrainError::Lora(LoraError::Analysis { matrix, message })
}

fn write_picture(
    path: &Path,
    picture: Result<String, Box<dyn std::error::Error>>,
) -> Result<(), TrainError> {
    let svg = picture.map_err(|e| TrainError::Plot {
        path: path.to_path_buf(),
        message: e.to_string(),
    })?;
    Ok(write_atomically(path, svg.as_bytes())?)
}
