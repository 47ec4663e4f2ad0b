//! What an adapter has learnt: its update's spectrum, its directions, and what of the weight it
//! amplifies (Hu et al. 2021, section 7 and appendices G and H).
//!
//! ```
//! use burn::tensor::TensorData;
//! use lora_core::analysis::{ModuleUpdate, Subspace};
//!
//! // ΔW = s·B·A, with 2 inputs and 3 outputs.
//! let a = TensorData::new(vec![3.0f32, 4.0], [1, 2]);
//! let b = TensorData::new(vec![0.0f32, 2.0, 0.0], [3, 1]);
//! let update = ModuleUpdate::new("query", &a, &b, 0.5)?;
//! assert_eq!(update.shape(), [3, 2]);
//! assert!((update.singular_values()[0] - 5.0).abs() < 1e-12);
//! assert!((update.effective_rank() - 1.0).abs() < 1e-12);
//!
//! // It reads one direction only, (0.6, 0.8), of which the first input is 0.6² of the whole.
//! let first_input = Subspace::of_rows("first", &TensorData::new(vec![1.0f32, 0.0], [1, 2]))?;
//! let similarity = update.input_subspace().similarity(&first_input, 1, 1)?;
//! assert!((similarity - 0.36).abs() < 1e-12);
//!
//! // Along it, a weight of ones has 1.4·√(1/1) where the update has 5.
//! let weight = TensorData::new(vec![1.0f32; 6], [3, 2]);
//! let amplification = update.amplification(&weight, 0)?;
//! assert!((amplification.along_update - 1.4).abs() < 1e-7);
//! assert!((amplification.factor.unwrap() - 5.0 / 1.4).abs() < 1e-6);
//! # Ok::<(), lora_core::LoraError>(())
//! ```

mod amplification;
mod module_update;
mod read;
mod reconstruction;
mod subspace;
#[cfg(test)]
mod tests;

use burn::tensor::TensorData;

pub use amplification::Amplification;
pub use module_update::ModuleUpdate;
pub use reconstruction::{ReconstructionError, reconstruction_errors};
pub use subspace::Subspace;

use crate::LoraError;
use crate::decomposition::Matrix;

/// A matrix from values with two dimensions, all of them finite.
fn matrix(name: &str, data: &TensorData) -> Result<Matrix, LoraError> {
    let [rows, columns] = data.shape()[..] else {
        return Err(analysis_error(
            name,
            format!("it has the shape {:?}, expected a matrix", data.shape()),
        ));
    };
    let matrix = Matrix::from_row_iterator(rows, columns, data.iter::<f32>().map(f64::from));
    match matrix.iter().all(|value| value.is_finite()) {
        true => Ok(matrix),
        false => Err(not_finite(name)),
    }
}

fn analysis_error(matrix: &str, message: String) -> LoraError {
    LoraError::Analysis {
        matrix: matrix.to_string(),
        message,
    }
}

fn not_finite(parameter: &str) -> LoraError {
    LoraError::NoSvd {
        parameter: parameter.to_string(),
    }
}
