//! What one thread does of a product: some rows by some columns.

use std::ops::Range;

use macerator::{AutoArch, Scalar, Simd, WithSimd};

use super::Panels;

/// The columns of a job.
pub(super) const WIDTH: usize = 64;

/// The rows of a tile, whose sums are in registers.
const HEIGHT: usize = 6;

/// The values of a panel: at most 32 KiB, which leaves room for the rows in the first-level cache.
const PANEL: usize = 128 * WIDTH;

/// The most rows of a panel.
const DEPTH: usize = 256;

/// Where a product goes.
#[derive(Clone, Copy)]
pub(super) struct Output(*mut f32);

// SAFETY: a pointer can be sent anywhere; what is done with it is up to the contract of `Job`.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    pub(super) fn of(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }
}

/// Some rows by some columns of a product.
///
/// As long as it runs, `output` must point to as many rows as `a` has, of as many values as `b` has
/// columns, and nobody else may read or write these rows and columns of it. `a` must have all of `rows`
/// and as many columns as `b` has rows, `b` all of `columns`.
pub(super) struct Job<'a, B> {
    pub(super) output: Output,
    pub(super) add: bool,
    pub(super) a: &'a [f32],
    pub(super) b: &'a B,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl<B: Panels> Job<'_, B> {
    /// Computes it, with the best instructions there are.
    ///
    /// # Safety
    ///
    /// What is said of [`Job`] must hold.
    pub(super) unsafe fn run(self) {
        AutoArch::new().dispatch(self);
    }

    /// In tiles of `V` vectors.
    #[inline(always)]
    fn in_tiles<S: Simd, const V: usize>(self) {
        #[repr(align(64))]
        struct Panel([f32; PANEL]);
        let mut panel = Panel([0.0; PANEL]);
        let [k, n] = self.b.dims();
        let width = V * S::lanes32();
        let depth = (PANEL / width).min(DEPTH);
        for start in (0..k).step_by(depth) {
            let rows = start..k.min(start + depth);
            let panel = &mut panel.0[..rows.len() * width];
            for column in self.columns.clone().step_by(width) {
                let used = width.min(self.columns.end - column);
                let part = &mut panel[..rows.len() * used];
                self.b.fill(rows.clone(), column, used, part);
                widen(panel, used, width);
                let strip = Strip {
                    a: self.a[self.rows.start * k + start..].as_ptr(),
                    a_row: k,
                    panel,
                    output: self.output.0.wrapping_add(self.rows.start * n + column),
                    output_row: n,
                    used,
                    add: self.add || start > 0,
                };
                // SAFETY: there are as many rows and columns, by what is said of `Job`.
                unsafe { strip.rows::<S, V>(self.rows.len()) };
            }
        }
    }
}

impl<B: Panels> WithSimd for Job<'_, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        // 32 registers with vectors of 16 values, 16 with shorter ones.
        match S::lanes32() >= 16 {
            true => self.in_tiles::<S, 4>(),
            false => self.in_tiles::<S, 2>(),
        }
    }
}

/// Makes rows of `used` values rows of `width`, with zeros after them.
#[inline(always)]
fn widen(panel: &mut [f32], used: usize, width: usize) {
    if used == width {
        return;
    }
    for row in (0..panel.len() / width).rev() {
        panel.copy_within(row * used..(row + 1) * used, row * width);
        panel[row * width + used..(row + 1) * width].fill(0.0);
    }
}

/// The product of some rows with one panel.
struct Strip<'a> {
    /// The first of the rows, in the column of the panel's first row.
    a: *const f32,
    a_row: usize,
    panel: &'a [f32],
    /// Where the first row's product goes.
    output: *mut f32,
    output_row: usize,
    /// The columns of the panel that are in the product.
    used: usize,
    add: bool,
}

impl Strip<'_> {
    /// # Safety
    ///
    /// `a` and `output` must have `count` rows, of as many values as the panel has rows and used
    /// columns.
    #[inline(always)]
    unsafe fn rows<S: Simd, const V: usize>(&self, count: usize) {
        let whole = count - count % HEIGHT;
        // SAFETY: as asked of the caller.
        unsafe {
            for row in (0..whole).step_by(HEIGHT) {
                self.tile::<S, HEIGHT, V>(row);
            }
            match count - whole {
                5 => self.tile::<S, 5, V>(whole),
                4 => self.tile::<S, 4, V>(whole),
                3 => self.tile::<S, 3, V>(whole),
                2 => self.tile::<S, 2, V>(whole),
                1 => self.tile::<S, 1, V>(whole),
                _ => {}
            }
        }
    }

    /// The product of `R` rows, from `row` on.
    ///
    /// # Safety
    ///
    /// There must be these rows, as in [`Strip::rows`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&self, row: usize) {
        let lanes = S::lanes32();
        let width = V * lanes;
        let a = self.a.wrapping_add(row * self.a_row);
        let output = self.output.wrapping_add(row * self.output_row);
        let mut rest = [0.0; HEIGHT * WIDTH];
        let (to, to_row, add) = match self.used == width {
            true => (output, self.output_row, self.add),
            false => (rest.as_mut_ptr(), width, false),
        };
        for r in 0..R {
            for v in 0..V {
                prefetch(to.wrapping_add(r * to_row + v * lanes));
            }
        }
        let mut sums = [[0f32.splat::<S>(); V]; R];
        let k = self.panel.len() / width;
        // SAFETY: `k` is the number of the panel's rows, so that all its vectors are in it, and the
        // rows of `a` have as many values.
        unsafe {
            let mut vectors = self.panel.as_ptr();
            let mut start = 0;
            while start < k {
                // A cache line of the rows that come next.
                for r in 0..R {
                    prefetch(a.wrapping_add((R + r) * self.a_row + start));
                }
                let end = k.min(start + 16);
                for i in start..end {
                    let mut b = [0f32.splat::<S>(); V];
                    for (v, b) in b.iter_mut().enumerate() {
                        *b = f32::vload_unaligned::<S>(vectors.add(v * lanes));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = (*a.add(r * self.a_row + i)).splat::<S>();
                        for (sum, b) in sums.iter_mut().zip(b) {
                            *sum = x.mul_add(b, *sum);
                        }
                    }
                    vectors = vectors.add(width);
                }
                start = end;
            }
        }
        // SAFETY: `to` has `R` rows of `V` vectors: a whole tile of the output, or `rest`.
        unsafe {
            for (r, sums) in sums.iter().enumerate() {
                for (v, sum) in sums.iter().enumerate() {
                    let to = to.add(r * to_row + v * lanes);
                    let sum = match add {
                        true => *sum + f32::vload_unaligned::<S>(to),
                        false => *sum,
                    };
                    f32::vstore_unaligned::<S>(to, sum);
                }
            }
        }
        if self.used < width {
            for (r, sums) in rest.chunks_exact(width).take(R).enumerate() {
                // SAFETY: the output has these rows and as many columns as are used, and nobody else
                // reads or writes them.
                let output = unsafe {
                    let row = output.add(r * self.output_row);
                    std::slice::from_raw_parts_mut(row, self.used)
                };
                for (output, sum) in output.iter_mut().zip(sums) {
                    *output = if self.add { *output + sum } else { *sum };
                }
            }
        }
    }
}

/// Asks for a cache line, which need not be there.
#[inline(always)]
fn prefetch(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such processor has the instruction, and it may be given any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
