//! Matrix products on parts of matrices, without copies.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod terms;
pub(crate) mod tile;

use gemm::Parallelism;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
#[cfg(target_arch = "x86_64")]
use super::precision::{MatmulPrecision, matmul_precision};
pub(crate) use terms::Terms;

/// Where a matrix begins, and how far apart its rows and its columns are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    start: *mut f32,
    row: usize,
    column: usize,
}

// SAFETY: a pointer can be sent anywhere; what is done with it is up to `product`'s contract.
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}

impl Matrix {
    /// The matrix of `values` whose rows begin `row` values apart; it may only be read.
    pub(crate) fn of(values: &[f32], row: usize) -> Self {
        Self {
            start: values.as_ptr().cast_mut(),
            row,
            column: 1,
        }
    }

    /// The matrix of `values` whose rows begin `row` values apart.
    pub(crate) fn of_mut(values: &mut [f32], row: usize) -> Self {
        Self {
            start: values.as_mut_ptr(),
            row,
            column: 1,
        }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            row: self.column,
            column: self.row,
            ..self
        }
    }

    /// The part of the matrix that begins at `row` and `column`.
    pub(crate) fn from(self, row: usize, column: usize) -> Self {
        let offset = row * self.row + column * self.column;
        Self {
            start: self.start.wrapping_add(offset),
            ..self
        }
    }

    /// Where it begins.
    pub(crate) fn start(self) -> *mut f32 {
        self.start
    }

    /// The first `width` values of a row.
    ///
    /// # Safety
    ///
    /// The matrix must have the row and the columns, with columns side by side, and nobody may write
    /// them as long as the slice is there.
    pub(crate) unsafe fn row<'a>(self, row: usize, width: usize) -> &'a [f32] {
        debug_assert_eq!(self.column, 1);
        // SAFETY: as asked of the caller.
        unsafe { std::slice::from_raw_parts(self.start.add(row * self.row), width) }
    }

    /// The first `width` values of a row.
    ///
    /// # Safety
    ///
    /// The matrix must have the row and the columns, with columns side by side, and nobody else may
    /// read or write them as long as the slice is there.
    pub(crate) unsafe fn row_mut<'a>(self, row: usize, width: usize) -> &'a mut [f32] {
        debug_assert_eq!(self.column, 1);
        // SAFETY: as asked of the caller.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.row), width) }
    }
}

/// `to = factor · a · b`, or added to what `to` has if `add`.
///
/// # Safety
///
/// For `[m, n, k]`, `a` must have `m` rows and `k` columns, `b` `k` rows and `n` columns and `to` `m`
/// rows and `n` columns, all of them in live memory of which nobody else writes `a` and `b`, nor reads
/// or writes `to`, meanwhile.
pub(crate) unsafe fn product(
    [m, n, k]: [usize; 3],
    to: Matrix,
    add: bool,
    a: Matrix,
    b: Matrix,
    factor: f32,
    parallel: bool,
) {
    let parallelism = match parallel {
        true => Parallelism::Rayon(0),
        false => Parallelism::None,
    };
    // SAFETY: as asked of the caller.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.start,
            to.column as isize,
            to.row as isize,
            add,
            a.start.cast_const(),
            a.column as isize,
            a.row as isize,
            b.start.cast_const(),
            b.column as isize,
            b.row as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `to = factor · a · b`, or added to what `to` has if `add`, for `[m, n, k]`; `a` and `b` may be
/// stored the other way round. On all threads.
///
/// # Panics
///
/// Panics if the slices do not have the sizes of their matrices.
pub(crate) fn write(
    [m, n, k]: [usize; 3],
    to: &mut [f32],
    add: bool,
    [a, b]: [&[f32]; 2],
    transposed: [bool; 2],
    factor: f32,
) {
    assert_eq!(
        [a.len(), b.len(), to.len()],
        [m * k, k * n, m * n],
        "sizes of a product"
    );
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if factor == 1.0 {
        let rows = amx::Strided::new(a, [m, k], !transposed[0]);
        let columns = amx::Strided::new(b, [n, k], transposed[1]);
        if amx::multiply_if_faster(to, add, &rows, &columns) {
            return;
        }
    }
    #[cfg(target_arch = "x86_64")]
    if factor == 1.0 && !transposed[0] {
        let right = avx512::Right {
            values: b,
            is_transposed: transposed[1],
        };
        if avx512::multiply_if_faster([m, n, k], to, add, a, right, &Terms::default()) {
            return;
        }
    }
    let matrix = |values, rows, columns, transposed| match transposed {
        false => Matrix::of(values, columns),
        true => Matrix::of(values, rows).transposed(),
    };
    let a = matrix(a, m, k, transposed[0]);
    let b = matrix(b, k, n, transposed[1]);
    let to = Matrix::of_mut(to, n);
    // A smaller product is done before a second thread has woken up.
    let parallel = m * n * k >= 1 << 20 && rayon::current_num_threads() > 1;
    // SAFETY: the slices are as long as their shapes ask; `to` is borrowed for writing, so that the
    // others do not overlap it.
    unsafe { product([m, n, k], to, add, a, b, factor, parallel) };
}

/// Writes `to = a · b + terms` for `[m, n, k]`, where one pass over `to` does it: then it is true. `b` may
/// be stored the other way round.
///
/// # Panics
///
/// Panics if the slices do not have the sizes of their matrices.
pub(crate) fn write_with_terms(
    shape: [usize; 3],
    to: &mut [f32],
    [a, b]: [&[f32]; 2],
    is_transposed: bool,
    terms: &Terms,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if matmul_precision() == MatmulPrecision::Highest {
        let right = avx512::Right {
            values: b,
            is_transposed,
        };
        return avx512::multiply_if_faster(shape, to, false, a, right, terms);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (shape, to, a, b, is_transposed, terms);
    false
}
