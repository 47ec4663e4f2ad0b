//! The products of one head.

use macerator::Simd;

use super::copies::transpose;
use super::rows::dot;
use super::scratch::whole;
use crate::ops::gemm::Matrix;
use crate::ops::gemm::tile::multiply;

/// How many rows of a right factor are read at a time: with the columns of a tile they stay in the
/// first cache.
const DEPTH: usize = 128;

/// Keys or values, as the other factor of products with each of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turned {
    /// In rows, as they are.
    Rows { matrix: Matrix, factor: f32 },
    /// In columns, times the factor.
    Columns(Matrix),
}

impl Turned {
    /// The factor of `factor · matrix`, for `[keys, size]`, in memory for `size` rows that begin
    /// `apart` values apart.
    ///
    /// With `few` queries, it would take longer to transpose the matrix than to multiply it.
    ///
    /// # Safety
    ///
    /// The matrix must have these rows and columns, the columns side by side, and nobody may write
    /// them meanwhile; and the processor must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn new<S: Simd>(
        matrix: Matrix,
        shape: [usize; 2],
        factor: f32,
        few: bool,
        (memory, apart): (&mut [f32], usize),
    ) -> Self {
        if few {
            return Self::Rows { matrix, factor };
        }
        // SAFETY: as asked of the caller.
        unsafe { transpose::<S>(matrix, shape, factor, memory, apart) };
        Self::Columns(Matrix::of(memory, apart))
    }

    /// `to = left · selfᵀ` for `[m, n, k]`, in rows that begin `apart` values apart. What follows the
    /// `n` values of a row, up to a whole vector, may be overwritten.
    ///
    /// # Safety
    ///
    /// The matrices must have these rows and columns, and nobody may write them meanwhile; the memory
    /// that was given to [`Turned::new`] must be as it was then; and the processor must have the
    /// instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn times<S: Simd>(
        self,
        [m, n, k]: [usize; 3],
        left: Matrix,
        (to, apart): (&mut [f32], usize),
    ) {
        // SAFETY: as asked of the caller.
        unsafe {
            match self {
                Self::Columns(columns) => {
                    let to = Matrix::of_mut(to, apart);
                    multiply::<S>([m, whole(n), k], to, false, left, columns);
                }
                Self::Rows { matrix, factor } => {
                    for (row, to) in to.chunks_exact_mut(apart).enumerate().take(m) {
                        let left = left.row(row, k);
                        for (key, to) in to[..n].iter_mut().enumerate() {
                            *to = factor * dot::<S>(left, matrix.row(key, k));
                        }
                    }
                }
            }
        }
    }
}

/// `to = a·b`, or added to what `to` has if `add`, for `[m, n, k]`, where the rows of `b` are filled
/// up to whole vectors.
///
/// # Safety
///
/// As [`multiply`], of which `b` must have as many columns as that; and `spare` must have room for
/// `m` of its rows unless `n` is that many.
#[inline(always)]
pub(super) unsafe fn weighted<S: Simd>(
    [m, n, k]: [usize; 3],
    to: Matrix,
    add: bool,
    [a, b]: [Matrix; 2],
    spare: &mut [f32],
) {
    let wide = whole(n);
    let aside = Matrix::of_mut(spare, wide);
    let (product, added) = match wide == n {
        true => (to, add),
        false => (aside, false),
    };
    let mut first = 0;
    // SAFETY: as asked of the caller, since each part is inside the matrices.
    unsafe {
        loop {
            let shape = [m, wide, DEPTH.min(k - first)];
            let (a, b) = (a.from(0, first), b.from(first, 0));
            multiply::<S>(shape, product, added || first > 0, a, b);
            first += DEPTH;
            if first >= k {
                break;
            }
        }
        if wide == n {
            return;
        }
        for row in 0..m {
            for (to, value) in to.row_mut(row, n).iter_mut().zip(aside.row(row, n)) {
                *to = if add { *to + value } else { *value };
            }
        }
    }
}
