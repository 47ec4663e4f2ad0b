//! How much of the space of some directions lies in that of others.

use burn::tensor::TensorData;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{analysis_error, matrix, not_finite};
use crate::LoraError;
use crate::decomposition::{Matrix, orthonormal, svd};

/// Orthonormal directions, the most important first; the first `i` of them span a subspace.
#[derive(Debug, Clone)]
pub struct Subspace {
    /// What they are the directions of, for messages.
    name: String,
    /// `[dimension, len]`.
    basis: Matrix,
}

impl Subspace {
    pub(super) fn of_basis(name: &str, basis: Matrix) -> Self {
        Self {
            name: name.to_string(),
            basis,
        }
    }

    /// The right singular vectors of a matrix, that with the largest singular value first: what the
    /// paper compares of `A` (section 7.2). `name` says what it is in messages.
    ///
    /// # Shapes
    ///
    /// - `rows`: `[count, dimension]`, such as PEFT's `lora_A.weight`
    ///
    /// # Errors
    ///
    /// [`LoraError::Analysis`] if it is no matrix, or has no values; [`LoraError::NoSvd`] if a value
    /// is not finite.
    pub fn of_rows(name: &str, rows: &TensorData) -> Result<Self, LoraError> {
        let rows = matrix(name, rows)?;
        let (count, dimension) = rows.shape();
        if count == 0 || dimension == 0 {
            let message = format!("it has the shape [{count}, {dimension}], without values");
            return Err(analysis_error(name, message));
        }
        let svd = svd(&rows, count.min(dimension)).ok_or_else(|| not_finite(name))?;
        Ok(Self::of_basis(name, svd.v))
    }

    /// `len` directions at random, as many as there are dimensions at most: those that values from a
    /// normal distribution span. The same for the same seed.
    pub fn random(dimension: usize, len: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut normal = || {
            // Box and Muller 1958; the logarithm's argument is not 0.
            let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
            (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
        };
        let values = Matrix::from_fn(dimension, len.min(dimension), |_, _| normal());
        Self::of_basis("random", orthonormal(values))
    }

    /// The number of dimensions of the space they are in.
    pub fn dimension(&self) -> usize {
        self.basis.nrows()
    }

    /// How many directions there are.
    pub fn len(&self) -> usize {
        self.basis.ncols()
    }

    /// Whether there is no direction.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `φ(A, B, i, j) = ‖U_Aⁱᵀ·U_Bʲ‖²_F / min(i, j)` (section 7.2, equation 4): 1 if the first `i`
    /// directions here and the first `j` there lie in the same space, 0 if they are orthogonal. It is
    /// one minus the squared projection metric between them, over `min(i, j)` (appendix G).
    ///
    /// # Errors
    ///
    /// [`LoraError::Analysis`] if the dimensions differ, or there are not as many directions.
    pub fn similarity(&self, other: &Self, i: usize, j: usize) -> Result<f64, LoraError> {
        self.require_same_dimension(other)?;
        for (subspace, count) in [(self, i), (other, j)] {
            if count == 0 || count > subspace.len() {
                let message = format!(
                    "{count} of its directions were asked for, and it has {}",
                    subspace.len()
                );
                return Err(analysis_error(&subspace.name, message));
            }
        }
        let products = self.basis.columns(0, i).transpose() * other.basis.columns(0, j);
        Ok(products.norm_squared() / i.min(j) as f64)
    }

    /// [`similarity`](Self::similarity) for all numbers of directions: the row `i - 1` has those of
    /// the first `i` directions here with the first 1, 2, … there.
    ///
    /// # Errors
    ///
    /// [`LoraError::Analysis`] if the dimensions differ.
    pub fn similarities(&self, other: &Self) -> Result<Vec<Vec<f64>>, LoraError> {
        self.require_same_dimension(other)?;
        let products = self.basis.transpose() * &other.basis;
        // The squares of all columns so far, summed over the rows so far.
        let mut sums = vec![0.0; other.len()];
        let row = |i: usize| {
            let mut in_row = 0.0;
            let value = |(j, sum): (usize, &mut f64)| {
                in_row += products[(i, j)] * products[(i, j)];
                *sum += in_row;
                *sum / (i.min(j) + 1) as f64
            };
            sums.iter_mut().enumerate().map(value).collect()
        };
        Ok((0..self.len()).map(row).collect())
    }

    fn require_same_dimension(&self, other: &Self) -> Result<(), LoraError> {
        if self.dimension() == other.dimension() {
            return Ok(());
        }
        let message = format!(
            "its directions have {} dimensions, those of {} {}: compare the same module of models of \
             one size",
            self.dimension(),
            other.name,
            other.dimension()
        );
        Err(analysis_error(&self.name, message))
    }

    pub(super) fn basis(&self) -> &Matrix {
        &self.basis
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_similarity_is_a_part_and_symmetric(dimension in 1usize..12, a in 1usize..9, b in 1usize..9, seed: u64) {
            let [a, b] = [(a, seed), (b, seed ^ 1)].map(|(len, seed)| Subspace::random(dimension, len, seed));
            let all = a.similarities(&b).unwrap();
            for (i, row) in all.iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    prop_assert!((-1e-12..=1.0 + 1e-12).contains(value));
                    let one = a.similarity(&b, i + 1, j + 1).unwrap();
                    prop_assert!((one - value).abs() < 1e-12);
                    let other = b.similarity(&a, j + 1, i + 1).unwrap();
                    prop_assert!((one - other).abs() < 1e-12);
                }
            }
            // As many directions as dimensions span everything.
            let whole = Subspace::random(dimension, dimension, seed);
            prop_assert!((whole.similarity(&a, dimension, a.len()).unwrap() - 1.0).abs() < 1e-9);
            prop_assert!((a.similarity(&a, a.len(), 1).unwrap() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn directions_at_random_are_as_similar_as_chance_has_it() {
        // The expected square of a projection is i·j / dimension.
        let mean = (0..64)
            .map(|seed| {
                let other = Subspace::random(64, 8, 1000 + seed);
                let one = Subspace::random(64, 8, seed);
                one.similarity(&other, 8, 8).unwrap()
            })
            .sum::<f64>()
            / 64.0;
        assert!((mean - 8.0 / 64.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let a = Subspace::random(4, 2, 0);
        let error = |result: Result<f64, LoraError>| result.unwrap_err().to_string();
        assert!(error(a.similarity(&Subspace::random(5, 2, 0), 1, 1)).contains("4 dimensions"));
        assert!(error(a.similarity(&a, 3, 1)).contains("it has 2"));
        assert!(error(a.similarity(&a, 0, 1)).contains("0 of its directions"));
        let empty = TensorData::new(Vec::<f32>::new(), [0, 4]);
        assert!(Subspace::of_rows("a", &empty).is_err());
        let broken = TensorData::new(vec![f32::NAN; 4], [1, 4]);
        assert!(matches!(
            Subspace::of_rows("a", &broken),
            Err(LoraError::NoSvd { .. })
        ));
        assert!(Subspace::of_rows("a", &TensorData::new(vec![1.0f32], [1])).is_err());
    }
}
