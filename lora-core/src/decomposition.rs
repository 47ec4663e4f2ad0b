//! Matrix decompositions, on the host and in double precision.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use faer::MatRef;
use nalgebra::DMatrix;

pub(crate) type Matrix = DMatrix<f64>;

/// The largest singular triplets of a matrix, the largest first.
#[derive(Debug, Clone)]
pub(crate) struct Svd {
    /// `[rows, k]`, orthonormal columns.
    pub(crate) u: Matrix,
    /// `[k]`.
    pub(crate) s: Vec<f64>,
    /// `[columns, k]`, orthonormal columns.
    pub(crate) v: Matrix,
}

impl Svd {
    fn swapped(self) -> Self {
        Self {
            u: self.v,
            s: self.s,
            v: self.u,
        }
    }
}

/// The `rank` largest singular triplets of `a`, or `None` if `a` is not finite or the iteration
/// does not converge.
pub(crate) fn svd(a: &Matrix, rank: usize) -> Option<Svd> {
    if !a.iter().all(|value| value.is_finite()) {
        return None;
    }
    let (rows, columns) = a.shape();
    let found = MatRef::from_column_major_slice(a.as_slice(), rows, columns).thin_svd();
    let found = found.ok()?;
    let largest = |vectors: MatRef<'_, f64>| {
        Matrix::from_fn(vectors.nrows(), rank, |row, column| vectors[(row, column)])
    };
    let values = found.S().column_vector();
    Some(Svd {
        u: largest(found.U()),
        s: (0..rank).map(|i| values[i]).collect(),
        v: largest(found.V()),
    })
}

/// The `rank` largest singular triplets of `a·b`, from those of a matrix with the side of `b`.
/// `rank` is at most the smaller side of the product.
pub(crate) fn svd_of_product(a: Matrix, b: Matrix, rank: usize) -> Option<Svd> {
    // A column of zeros leaves the product as it is, and its basis has a vector for it.
    let inner = a.ncols().max(rank);
    let a = a.resize_horizontally(inner, 0.0);
    let b = b.resize_vertically(inner, 0.0);
    let left = orthonormal(a.clone());
    let right = orthonormal(b.transpose());
    let core = (left.transpose() * a) * (b * &right);
    let Svd { u, s, v } = svd(&core, rank)?;
    Some(Svd {
        u: left * u,
        s,
        v: right * v,
    })
}

/// As [`svd`], but of a tensor and approximately: the subspace iteration of Halko, Martinsson and
/// Tropp 2011, algorithms 4.4 and 5.1, without oversampling, as `torch.svd_lowrank`. The large
/// products are the device's.
///
/// # Shapes
///
/// - `noise`: `[smaller side of a, rank]`, random and independent
pub(crate) fn randomized_svd(a: &Tensor<2>, noise: Tensor<2>, iterations: usize) -> Option<Svd> {
    let [rows, columns] = a.dims();
    let a = a.clone().cast(FloatDType::F32);
    if rows < columns {
        return randomized_svd(&a.transpose(), noise, iterations).map(Svd::swapped);
    }
    let device = a.device();
    let basis = |x: Tensor<2>| to_device(&orthonormal(to_host(x)), &device);
    let [_, rank] = noise.dims();
    let mut q = basis(a.clone().matmul(noise));
    for _ in 0..iterations {
        let other = basis(a.clone().transpose().matmul(q));
        q = basis(a.clone().matmul(other));
    }
    let small = svd(&to_host(q.clone().transpose().matmul(a)), rank)?;
    let u = to_host(q) * small.u;
    Some(Svd { u, ..small })
}

/// An orthonormal basis of the space of `x`'s columns, as many as `x` has. Each points the way of
/// its column.
pub(crate) fn orthonormal(x: Matrix) -> Matrix {
    let mut q = x.clone().qr().q();
    for (mut q, x) in q.column_iter_mut().zip(x.column_iter()) {
        if q.dot(&x) < 0.0 {
            q.neg_mut();
        }
    }
    q
}

/// The matrix that a tensor holds.
pub(crate) fn to_host(tensor: Tensor<2>) -> Matrix {
    let [rows, columns] = tensor.dims();
    let data = tensor.cast(FloatDType::F32).into_data();
    Matrix::from_row_iterator(rows, columns, data.iter::<f32>().map(f64::from))
}

/// A matrix as a tensor of 32-bit floats.
pub(crate) fn to_device(matrix: &Matrix, device: &Device) -> Tensor<2> {
    let (rows, columns) = matrix.shape();
    let values: Vec<f32> = matrix.transpose().iter().map(|v| *v as f32).collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use proptest::prelude::*;

    fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
        let mut state = seed | 1;
        Matrix::from_fn(rows, columns, |_, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
    }

    fn check(a: &Matrix, svd: &Svd, near: f64) {
        let k = svd.s.len();
        let identity = Matrix::identity(k, k);
        for q in [&svd.u, &svd.v] {
            assert!((q.transpose() * q - &identity).amax() < near, "{q}");
        }
        assert!(svd.s.windows(2).all(|s| s[0] >= s[1]), "{:?}", svd.s);
        // What is left has no direction in which it is larger than the smallest triplet taken.
        let taken = &svd.u * Matrix::from_diagonal(&svd.s.clone().into()) * svd.v.transpose();
        let rest = a - taken;
        assert!((svd.u.transpose() * &rest).amax() < near);
        assert!((&rest * &svd.v).amax() < near);
        let smallest = svd.s[k - 1];
        assert!(rest.norm() <= smallest * (a.ncols().min(a.nrows()) as f64).sqrt() + near);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn triplets_are_singular(rows in 1usize..14, columns in 1usize..14, seed: u64, part in 0.0..1.0f64) {
            let a = random(rows, columns, seed);
            let smaller = rows.min(columns);
            let rank = 1 + (part * (smaller - 1) as f64) as usize;
            let exact = svd(&a, rank).unwrap();
            check(&a, &exact, 1e-9);
            // A matrix of less than full rank has all it has in as many triplets.
            let low = random(rows, rank, seed ^ 7) * random(rank, columns, seed ^ 77);
            let svd = svd(&low, rank).unwrap();
            let product = &svd.u * Matrix::from_diagonal(&svd.s.into()) * svd.v.transpose();
            prop_assert!((product - low).amax() < 1e-9);
        }

        #[test]
        fn a_product_is_decomposed_like_the_matrix(
            m in 1usize..9, n in 1usize..9, r in 1usize..12, seed: u64, part in 0.0..1.0f64,
        ) {
            let (a, b) = (random(m, r, seed), random(r, n, seed ^ 7));
            let product = &a * &b;
            let smaller = product.nrows().min(product.ncols());
            let rank = 1 + (part * (smaller - 1) as f64).round() as usize;
            let whole = svd(&product, rank).unwrap();
            let found = svd_of_product(a, b, rank).unwrap();
            let identity = Matrix::identity(rank, rank);
            for q in [&found.u, &found.v] {
                prop_assert!((q.transpose() * q - &identity).amax() < 1e-9);
            }
            for (value, expected) in found.s.iter().zip(&whole.s) {
                prop_assert!((value - expected).abs() < 1e-9);
            }
            let dense = |svd: Svd| svd.u * Matrix::from_diagonal(&svd.s.into()) * svd.v.transpose();
            prop_assert!((dense(found) - dense(whole)).amax() < 1e-6);
        }
    }

    #[test]
    fn special_matrices_have_orthonormal_vectors() {
        for a in [
            Matrix::zeros(5, 3),
            Matrix::zeros(4, 4),
            Matrix::identity(6, 6),
            Matrix::identity(3, 7),
            Matrix::from_element(6, 4, 1.0),
            random(40, 2, 3) * random(2, 30, 4),
        ] {
            let rank = a.nrows().min(a.ncols());
            check(&a, &svd(&a, rank).unwrap(), 1e-9);
        }
        assert!(svd(&Matrix::from_element(3, 3, f64::NAN), 2).is_none());
    }

    #[test]
    fn iterations_bring_the_randomized_one_close() {
        let device = crate::default_device();
        device.seed(3);
        for (rows, columns) in [(30, 20), (20, 30)] {
            let exact = svd(&random(rows, columns, 5), 20).unwrap();
            let decay = |i: usize| 0.6f64.powi(i as i32);
            let s = Matrix::from_diagonal(&(0..20).map(decay).collect::<Vec<_>>().into());
            let a = &exact.u * s * exact.v.transpose();
            let noise = Tensor::random([20, 4], Distribution::Normal(0.0, 1.0), &device);
            let near = randomized_svd(&to_device(&a, &device), noise, 16).unwrap();
            check(&a, &near, 1e-5);
            for (i, s) in near.s.iter().enumerate() {
                assert!((s - decay(i)).abs() < 1e-5, "{s}");
            }
        }
    }
}
