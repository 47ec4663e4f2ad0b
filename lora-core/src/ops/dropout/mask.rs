//! What is dropped: a function of a seed and of the position.

use burn::tensor::{Device, Distribution, Int, Tensor};
use macerator::{Scalar, Simd, Vector};

use crate::ops::simd::numbers;

/// Which values are dropped, for every row and column of a matrix.
///
/// The generator is counter-based (Salmon et al. 2011): it has no state, so rows can be computed in
/// any order, on any thread, and again in the backward pass. A row's key is the output of SplitMix64
/// (Steele et al. 2014) for its number; the columns of a row go through MurmurHash3's finalizer, in
/// which the key enters twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    seed: u64,
    threshold: u32,
    scale: f32,
}

/// A [`Mask`] for one row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowMask {
    key: [u32; 2],
    threshold: u32,
    scale: f32,
}

impl Mask {
    /// Drops with `probability`; the seed comes from the generator of `device`.
    pub(crate) fn new(probability: f64, device: &Device) -> Self {
        let seed = match probability > 0.0 {
            true => draw(device),
            false => 0,
        };
        Self {
            seed,
            threshold: (probability * 2f64.powi(32)) as u32,
            scale: super::scale(probability) as f32,
        }
    }

    /// Whether nothing is dropped.
    pub(crate) fn is_empty(&self) -> bool {
        self.threshold == 0
    }

    pub(crate) fn row(&self, row: usize) -> RowMask {
        let mut key = self.seed;
        key = key.wrapping_add((row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        key = (key ^ (key >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        key = (key ^ (key >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        key ^= key >> 31;
        RowMask {
            key: [key as u32, (key >> 32) as u32],
            threshold: self.threshold,
            scale: self.scale,
        }
    }
}

impl RowMask {
    /// What the value at `column` is multiplied by.
    #[inline(always)]
    pub(crate) fn factor(&self, column: usize) -> f32 {
        let mut bits = (column as u32).wrapping_mul(0x9E37_79B9) ^ self.key[0];
        bits = (bits ^ (bits >> 16)).wrapping_mul(0x85EB_CA6B);
        bits = bits.wrapping_add(self.key[1]);
        bits = (bits ^ (bits >> 13)).wrapping_mul(0xC2B2_AE35);
        bits ^= bits >> 16;
        match bits < self.threshold {
            true => 0.0,
            false => self.scale,
        }
    }

    /// [`factor`](Self::factor) of the columns from `first` on.
    #[inline(always)]
    pub(crate) fn factors<S: Simd>(&self, first: usize) -> Vector<S, f32> {
        let of = |bits: u32| bits.splat::<S>();
        let mut bits = (numbers::<S>(first) * of(0x9E37_79B9)) ^ of(self.key[0]);
        bits = (bits ^ (bits >> 16)) * of(0x85EB_CA6B);
        bits += of(self.key[1]);
        bits = (bits ^ (bits >> 13)) * of(0xC2B2_AE35);
        bits = bits ^ (bits >> 16);
        let kept = self.scale.splat::<S>().reinterpret::<u32>();
        bits.lt(of(self.threshold))
            .select(of(0), kept)
            .reinterpret()
    }
}

/// A number from the generator of `device`.
fn draw(device: &Device) -> u64 {
    // Whole numbers up to 2²⁴, which every backend's generator gives evenly.
    let range = Distribution::Uniform(0.0, f64::from(1 << 24));
    let parts = Tensor::<1, Int>::random([4], range, &device.clone().inner());
    let parts = parts.into_data();
    parts
        .iter::<u64>()
        .fold(0, |seed, part| seed.rotate_left(17) ^ part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::simd::store;

    fn factors(mask: &Mask, rows: usize, columns: usize) -> Vec<bool> {
        let rows = (0..rows).map(|row| mask.row(row));
        let dropped = |row: RowMask| (0..columns).map(move |column| row.factor(column) == 0.0);
        rows.flat_map(dropped).collect()
    }

    #[test]
    fn the_share_that_is_dropped_and_its_independence_along_rows_and_columns() {
        let device = crate::default_device();
        device.seed(3);
        for probability in [0.05, 0.1, 0.5, 0.9] {
            let mask = Mask::new(probability, &device);
            let (rows, columns) = (512, 512);
            let n = (rows * columns) as f64;
            let dropped = factors(&mask, rows, columns);
            let share = |count: usize, n: f64| count as f64 / n;
            let deviation = (probability * (1.0 - probability) / n).sqrt();
            let found = share(dropped.iter().filter(|d| **d).count(), n);
            assert!((found - probability).abs() < 5.0 * deviation, "{found}");
            // Neighbours are dropped together as often as chance has it.
            let both = probability * probability;
            let deviation = (both * (1.0 - both) / n).sqrt();
            for distance in [1, 2, 16, columns, 2 * columns, 17 * columns] {
                let pairs = dropped.iter().zip(&dropped[distance..]);
                let count = pairs.filter(|(a, b)| **a && **b).count();
                let found = share(count, n - distance as f64);
                assert!(
                    (found - both).abs() < 6.0 * deviation,
                    "{distance}: {found}"
                );
            }
        }
    }

    #[macerator::with_simd]
    fn in_vectors<S: Simd>(mask: RowMask, to: &mut [f32]) {
        for (i, to) in to.chunks_exact_mut(S::lanes32()).enumerate() {
            store(to, mask.factors::<S>(i * S::lanes32()));
        }
    }

    #[test]
    fn vectors_are_of_the_same_numbers() {
        let device = crate::default_device();
        for probability in [0.1, 0.7] {
            let row = Mask::new(probability, &device).row(7);
            let mut found = [0.0; 256];
            in_vectors(row, &mut found);
            let expected: [f32; 256] = std::array::from_fn(|column| row.factor(column));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn nothing_and_everything() {
        let device = crate::default_device();
        assert!(Mask::new(0.0, &device).is_empty());
        let all = Mask::new(1.0, &device).row(0);
        assert!((0..1000).all(|column| all.factor(column) == 0.0));
    }
}
