//! Principal components of vectors that come in batches (Ross et al. 2008), as PEFT computes them.

use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::decomposition::{Matrix, Svd, randomized_svd, svd, to_device, to_host};

/// Subspace iterations of the randomized decomposition: PEFT's.
const ITERATIONS: usize = 4;
/// The same components come from the same data, whatever else draws random numbers.
const SEED: u64 = 42;

/// The principal components of all vectors so far.
pub(super) struct IncrementalPca {
    /// How many components are kept.
    count: usize,
    seen: f64,
    mean: Vec<f64>,
    /// Summed squares of the deviations from the mean, for each feature.
    deviation: Vec<f64>,
    found: Option<Components>,
}

/// Components, the one with most variance first.
#[derive(Clone)]
pub(super) struct Components {
    /// `[features, count]`, orthonormal columns.
    pub(super) vectors: Matrix,
    /// Their singular values.
    pub(super) singular_values: Vec<f64>,
    /// The part of the whole variance that each explains.
    pub(super) explained: Vec<f64>,
}

impl IncrementalPca {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count,
            seen: 0.0,
            mean: Vec::new(),
            deviation: Vec::new(),
            found: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn components(&self) -> Option<&Components> {
        self.found.as_ref()
    }

    /// Takes in `x`, `[vectors, features]`, with at least as many vectors as components. `None` if
    /// the decomposition fails.
    pub(super) fn add(&mut self, x: Tensor<2>) -> Option<()> {
        let device = x.device();
        let x = to_host(x);
        let (rows, features) = x.shape();
        let batch = rows as f64;
        let mean: Vec<f64> = x.column_iter().map(|column| column.sum() / batch).collect();
        let mut centred = x;
        for (mut column, mean) in centred.column_iter_mut().zip(&mean) {
            column.add_scalar_mut(-mean);
        }
        let deviation = centred.column_iter().map(|column| column.norm_squared());
        let deviation: Vec<f64> = deviation.collect();
        let stacked = match &self.found {
            None => {
                self.mean = mean;
                self.deviation = deviation;
                centred
            }
            Some(found) => {
                // The components so far stand for the vectors they came from; one row more accounts
                // for the move of the mean.
                let kept = found.singular_values.len();
                let weight = (self.seen * batch / (self.seen + batch)).sqrt();
                let mut stacked = Matrix::zeros(kept + rows + 1, features);
                for i in 0..kept {
                    let row = found.vectors.column(i) * found.singular_values[i];
                    stacked.row_mut(i).tr_copy_from(&row);
                }
                stacked.rows_mut(kept, rows).copy_from(&centred);
                for (feature, new) in mean.iter().enumerate() {
                    let moved = weight * (self.mean[feature] - new);
                    stacked[(kept + rows, feature)] = moved;
                    self.deviation[feature] += deviation[feature] + moved * moved;
                    self.mean[feature] =
                        (self.seen * self.mean[feature] + batch * new) / (self.seen + batch);
                }
                stacked
            }
        };
        self.seen += batch;
        let Svd { s, v, .. } = decomposed(&stacked, self.count, &device)?;
        let whole: f64 = self.deviation.iter().sum();
        self.found = Some(Components {
            vectors: facing_up(v),
            // Inputs that are all alike have no variance, of which every component explains nothing.
            explained: s
                .iter()
                .map(|s| if whole > 0.0 { s * s / whole } else { 0.0 })
                .collect(),
            singular_values: s,
        });
        Some(())
    }
}

/// The largest triplets: of twice as many that are approximate, unless that is all there are.
fn decomposed(x: &Matrix, count: usize, device: &Device) -> Option<Svd> {
    let (rows, features) = x.shape();
    if 2 * count >= rows.min(features) {
        return svd(x, count);
    }
    let mut random = StdRng::seed_from_u64(SEED);
    let noise = Matrix::from_fn(rows.min(features), 2 * count, |_, _| {
        random.random_range(-1.0..1.0)
    });
    let (x, noise) = (to_device(x, device), to_device(&noise, device));
    let Svd { u, mut s, v } = randomized_svd(&x, noise, ITERATIONS)?;
    s.truncate(count);
    Some(Svd {
        u: u.columns(0, count).into_owned(),
        s,
        v: v.columns(0, count).into_owned(),
    })
}

/// Turns each vector so that its largest entry is positive: a direction has no sign of its own.
fn facing_up(mut vectors: Matrix) -> Matrix {
    for mut vector in vectors.column_iter_mut() {
        let largest =
            vector.iter().copied().fold(
                0.0,
                |largest: f64, v| {
                    if v.abs() > largest.abs() { v } else { largest }
                },
            );
        if largest < 0.0 {
            vector.neg_mut();
        }
    }
    vectors
}

/// A fingerprint of a tensor's values, to find layers that see the same input.
pub(super) fn fingerprint(data: &TensorData) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    data.shape().to_vec().hash(&mut hasher);
    data.iter::<f32>()
        .for_each(|v| v.to_bits().hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn batches_together_give_what_all_vectors_at_once_give() {
        let device = crate::default_device();
        device.seed(5);
        let normal = Distribution::Normal(0.7, 1.0);
        let spread = Tensor::<1>::from_data([8.0f32, 4.0, 2.0, 1.0, 0.5, 0.1], &device);
        let all = Tensor::<2>::random([60, 6], normal, &device) * spread.unsqueeze();
        let mut whole = IncrementalPca::new(3);
        whole.add(all.clone()).unwrap();
        let mut parts = IncrementalPca::new(6);
        for batch in all.split(17, 0) {
            parts.add(batch).unwrap();
        }
        let (whole, parts) = (whole.components().unwrap(), parts.components().unwrap());
        for i in 0..3 {
            let similarity = whole.vectors.column(i).dot(&parts.vectors.column(i));
            assert!((similarity - 1.0).abs() < 1e-9, "{similarity}");
            assert!((whole.explained[i] - parts.explained[i]).abs() < 1e-9);
            assert!((whole.singular_values[i] - parts.singular_values[i]).abs() < 1e-9);
        }
        let sum: f64 = parts.explained.iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn vectors_that_are_all_alike_have_components_that_explain_nothing() {
        let mut alike = IncrementalPca::new(2);
        let device = crate::default_device();
        alike.add(Tensor::full([5, 4], 0.5, &device)).unwrap();
        assert_eq!(alike.components().unwrap().explained, [0.0, 0.0]);
    }
}
