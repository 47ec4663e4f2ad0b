//! What an adapter adds to one weight.

use burn::tensor::TensorData;

use super::{Amplification, Subspace, analysis_error, matrix, not_finite};
use crate::LoraError;
use crate::decomposition::{Matrix, Svd, svd, svd_of_product};

/// `ΔW = s·B·A` of a module, decomposed.
///
/// With DoRA it is the low-rank part of the update, and says nothing of the magnitudes.
#[derive(Debug, Clone)]
pub struct ModuleUpdate {
    module: String,
    scaling: f64,
    rank: usize,
    /// The right singular vectors of `A`.
    factor: Subspace,
    /// Of `ΔWᵀ`, `[inputs, outputs]`: `u` are the directions of the inputs, `v` of the outputs.
    svd: Svd,
}

impl ModuleUpdate {
    /// The update of the module at path `module` by its factors, in PEFT's layout.
    ///
    /// # Shapes
    ///
    /// - `a`: `[r, inputs]`
    /// - `b`: `[outputs, r]`
    ///
    /// # Errors
    ///
    /// [`LoraError::Analysis`] if the shapes do not fit; [`LoraError::NoSvd`] if a value is not finite.
    pub fn new(
        module: &str,
        a: &TensorData,
        b: &TensorData,
        scaling: f64,
    ) -> Result<Self, LoraError> {
        let factor = Subspace::of_rows(module, a)?;
        let [a, b] = [matrix(module, a)?, matrix(module, b)?];
        let (rank, inputs) = a.shape();
        let outputs = b.nrows();
        if b.ncols() != rank || outputs == 0 {
            let message = format!(
                "`A` has the shape [{rank}, {inputs}], and `B` [{outputs}, {}], expected [outputs, \
                 {rank}]",
                b.ncols()
            );
            return Err(analysis_error(module, message));
        }
        let triplets = rank.min(inputs).min(outputs);
        let svd = svd_of_product(a.transpose() * scaling, b.transpose(), triplets);
        Ok(Self {
            module: module.to_string(),
            scaling,
            rank,
            factor,
            svd: svd.ok_or_else(|| not_finite(module))?,
        })
    }

    /// The path of the module.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The shape of the update, `[outputs, inputs]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.svd.v.nrows(), self.svd.u.nrows()]
    }

    /// The rank of the factors: the update's can be lower.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The factor `s` on the product.
    pub fn scaling(&self) -> f64 {
        self.scaling
    }

    /// The update's singular values, the largest first, as many as the rank.
    pub fn singular_values(&self) -> &[f64] {
        &self.svd.s
    }

    /// The Frobenius norm `‖ΔW‖`.
    pub fn norm(&self) -> f64 {
        let squares = self.svd.s.iter().map(|s| s * s);
        squares.sum::<f64>().sqrt()
    }

    /// In how many directions the update is: the exponential of the entropy of the singular values'
    /// shares (Roy and Vetterli 2007). Between 1 and the rank, and 0 for an update of nothing.
    pub fn effective_rank(&self) -> f64 {
        let sum: f64 = self.svd.s.iter().sum();
        if sum == 0.0 {
            return 0.0;
        }
        let shares = self.svd.s.iter().map(|s| s / sum).filter(|p| *p > 0.0);
        shares.map(|p| -p * p.ln()).sum::<f64>().exp()
    }

    /// The directions of the input that the update reads, that with the largest singular value first.
    pub fn input_subspace(&self) -> Subspace {
        Subspace::of_basis(&self.module, self.svd.u.clone())
    }

    /// The directions of the output that it writes.
    pub fn output_subspace(&self) -> Subspace {
        Subspace::of_basis(&self.module, self.svd.v.clone())
    }

    /// The directions of `A` alone, which the paper compares between ranks and seeds (section 7.2).
    pub fn a_subspace(&self) -> Subspace {
        self.factor.clone()
    }

    /// What of the weight the update amplifies (section 7.3, table 7), beside `seed`'s random
    /// directions.
    ///
    /// # Shapes
    ///
    /// - `weight`: `[outputs, inputs]`, as PyTorch has a linear layer's
    ///
    /// # Errors
    ///
    /// [`LoraError::Analysis`] if `weight` has another shape; [`LoraError::NoSvd`] if a value is not
    /// finite.
    pub fn amplification(
        &self,
        weight: &TensorData,
        seed: u64,
    ) -> Result<Amplification, LoraError> {
        let found = matrix(&self.module, weight)?;
        let (outputs, inputs) = found.shape();
        if [outputs, inputs] != self.shape() {
            let message = format!(
                "its weight has the shape [{outputs}, {inputs}], and its update {:?}",
                self.shape()
            );
            return Err(analysis_error(&self.module, message));
        }
        let count = self.svd.s.len();
        let own = svd(&found, count).ok_or_else(|| not_finite(&self.module))?;
        let random = |dimension, seed| Subspace::random(dimension, count, seed).basis().clone();
        let along = |output: &Matrix, input: &Matrix| (output.transpose() * &found * input).norm();
        let along_update = along(&self.svd.v, &self.svd.u);
        let norm = self.norm();
        Ok(Amplification {
            weight_norm: found.norm(),
            update_norm: norm,
            along_update,
            along_weight: along(&own.u, &own.v),
            along_random: along(&random(outputs, seed), &random(inputs, seed ^ 1)),
            factor: (norm > 0.0 && along_update > 0.0).then(|| norm / along_update),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(values: &[f32], shape: [usize; 2]) -> TensorData {
        TensorData::new(values.to_vec(), shape)
    }

    #[test]
    fn an_adapter_without_effect_has_no_rank_and_amplifies_nothing() {
        let a = data(&[1.0, 0.0, 0.0, 1.0], [2, 2]);
        let update = ModuleUpdate::new("q", &a, &data(&[0.0; 6], [3, 2]), 2.0).unwrap();
        assert_eq!(update.norm(), 0.0);
        assert_eq!(update.effective_rank(), 0.0);
        let found = update.amplification(&data(&[1.0; 6], [3, 2]), 0).unwrap();
        assert_eq!(found.factor, None);
        assert!((found.weight_norm - 6f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn directions_of_the_same_strength_count_whole() {
        let a = data(&[1.0, 0.0, 0.0, 1.0], [2, 2]);
        let b = data(&[0.0, 3.0, 3.0, 0.0, 0.0, 0.0], [3, 2]);
        let update = ModuleUpdate::new("q", &a, &b, 0.5).unwrap();
        for value in update.singular_values() {
            assert!((value - 1.5).abs() < 1e-12);
        }
        assert!((update.effective_rank() - 2.0).abs() < 1e-12);
        assert_eq!(update.rank(), 2);
        // A rank beyond the matrix' own has no more singular values than that.
        let wide = ModuleUpdate::new(
            "q",
            &data(&[1.0; 8], [4, 2]),
            &data(&[1.0; 12], [3, 4]),
            1.0,
        );
        assert_eq!(wide.unwrap().singular_values().len(), 2);
    }

    #[test]
    fn factors_and_weights_that_do_not_fit_are_named() {
        let a = data(&[1.0; 4], [2, 2]);
        let error = ModuleUpdate::new("layer.0.q", &a, &data(&[1.0; 9], [3, 3]), 1.0).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("layer.0.q") && text.contains("[outputs, 2]"),
            "{text}"
        );
        let update = ModuleUpdate::new("layer.0.q", &a, &data(&[1.0; 6], [3, 2]), 1.0).unwrap();
        let error = update
            .amplification(&data(&[1.0; 6], [2, 3]), 0)
            .unwrap_err();
        assert!(error.to_string().contains("[2, 3]"), "{error}");
        let nan = data(&[f32::NAN; 6], [3, 2]);
        assert!(ModuleUpdate::new("q", &a, &nan, 1.0).is_err());
    }
}
