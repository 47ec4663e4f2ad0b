//! What a weight loses as the product of thin matrices.

use burn::tensor::TensorData;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::{analysis_error, matrix, not_finite};
use crate::LoraError;
use crate::decomposition::{Matrix, Svd, svd};

/// How many inputs the errors of the output are measured on.
const INPUTS: usize = 64;

/// The errors of a weight's best approximation of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReconstructionError {
    /// The rank.
    pub rank: usize,
    /// The mean of the absolute differences of the values.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// The mean of the absolute differences of the outputs, for inputs that are uniform between -1 and 1.
    pub output_mean: f64,
    /// The largest.
    pub output_max: f64,
}

/// The errors of `weight` for each of `ranks`, which rise; a rank above the smaller side is taken as
/// that. `name` says what the weight is in messages, `seed` draws the inputs.
///
/// # Shapes
///
/// - `weight`: `[outputs, inputs]`
///
/// # Errors
///
/// [`LoraError::Analysis`] if it is no matrix or the ranks do not rise; [`LoraError::NoSvd`] if a value
/// is not finite.
pub fn reconstruction_errors(
    name: &str,
    weight: &TensorData,
    ranks: &[usize],
    seed: u64,
) -> Result<Vec<ReconstructionError>, LoraError> {
    let weight = matrix(name, weight)?;
    let (outputs, inputs) = weight.shape();
    let smaller = outputs.min(inputs);
    if smaller == 0 || !ranks.is_sorted() {
        let message = format!(
            "its shape is [{outputs}, {inputs}] and the ranks are {ranks:?}: expected values, and ranks \
             that rise"
        );
        return Err(analysis_error(name, message));
    }
    let Svd { u, s, v } = svd(&weight, smaller).ok_or_else(|| not_finite(name))?;
    let mut random = StdRng::seed_from_u64(seed);
    let x = Matrix::from_fn(inputs, INPUTS, |_, _| random.random_range(-1.0..1.0));
    let mut rest = weight;
    let mut taken = 0;
    let mut errors = Vec::with_capacity(ranks.len());
    for rank in ranks {
        let until = (*rank).min(smaller);
        let mut left = u.columns(taken, until - taken).into_owned();
        for (mut column, s) in left.column_iter_mut().zip(&s[taken..until]) {
            column.scale_mut(*s);
        }
        rest -= left * v.columns(taken, until - taken).transpose();
        taken = until;
        let output = &rest * &x;
        let mean = |m: &Matrix| m.iter().map(|value| value.abs()).sum::<f64>() / m.len() as f64;
        errors.push(ReconstructionError {
            rank: *rank,
            mean: mean(&rest),
            max: rest.amax(),
            output_mean: mean(&output),
            output_max: output.amax(),
        });
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_the_smaller_triplets_have() {
        // Singular values 3 and 1, in the directions of the axes.
        let weight = TensorData::new(vec![3.0f32, 0.0, 0.0, 0.0, 1.0, 0.0], [2, 3]);
        let errors = reconstruction_errors("w", &weight, &[1, 2, 8], 0).unwrap();
        assert!((errors[0].mean - 1.0 / 6.0).abs() < 1e-9);
        assert!((errors[0].max - 1.0).abs() < 1e-9);
        // Of a value between -1 and 1, times 1, and of none.
        assert!(errors[0].output_max <= 1.0 && errors[0].output_max > 0.8);
        assert!((errors[0].output_mean - 0.25).abs() < 0.1);
        for error in &errors[1..] {
            assert!(error.max < 1e-9 && error.output_max < 1e-9, "{error:?}");
        }
        assert_eq!(errors[2].rank, 8);
        let error = reconstruction_errors("w", &weight, &[2, 1], 0).unwrap_err();
        assert!(error.to_string().contains("[2, 1]"), "{error}");
    }
}
