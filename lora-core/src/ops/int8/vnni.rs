//! The products with the instructions for sums of 8-bit products (AVX-512 VNNI): 64 products each.
//!
//! They take one side without a sign. So the rows get 128 added to each code, and 128 times the sum of a
//! column's codes is taken off again.

use std::arch::x86_64::*;
use std::ops::Range;

use rayon::prelude::*;

use super::{GROUP, Product, Side};
use crate::ops::gemm::Matrix;
use crate::ops::gemm::avx512::{Job, jobs, transpose};

/// The rows and columns whose sums are in registers, the columns in vectors of `LANES`.
const HEIGHT: usize = 6;
const VECTORS: usize = 4;
const LANES: usize = 16;
const WIDTH: usize = VECTORS * LANES;

/// 128 as what makes a code positive, in each of four bytes.
const POSITIVE: u32 = 0x8080_8080;

/// Writes the product, if the processor has the instructions: then it is true.
pub(super) fn multiply(to: &mut [f32], product: &Product) -> bool {
    let has_all = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni");
    if !has_all {
        return false;
    }
    let columns = product.columns;
    let rows = to.len() / columns;
    let strips = strips(product, rows);
    let to = Matrix::of_mut(to, columns);
    let jobs = jobs(rows, columns, rayon::current_num_threads().max(1));
    jobs.into_par_iter().with_max_len(1).for_each(|job| {
        // SAFETY: the processor has the instructions, the sizes were checked where the product was made,
        // `to` is borrowed for writing until all jobs are done, and no two of them have a row and a
        // column of it in common.
        unsafe { run(product, &strips, to, job) };
    });
    true
}

/// Groups of a row.
fn groups(product: &Product) -> usize {
    product.left.width() / GROUP
}

/// The rows, `HEIGHT` at a time side by side, group by group; the codes have 128 added.
fn strips(product: &Product, rows: usize) -> Vec<u32> {
    let (groups, width) = (groups(product), product.left.width());
    let mut strips = vec![POSITIVE; rows.div_ceil(HEIGHT) * groups * HEIGHT];
    let parts = strips.par_chunks_mut(groups * HEIGHT).enumerate();
    parts.for_each(|(strip, to)| {
        for row in 0..HEIGHT.min(rows - strip * HEIGHT) {
            let codes = &product.left.codes[(strip * HEIGHT + row) * width..][..width];
            let (whole, _) = codes.as_chunks::<GROUP>();
            for (to, codes) in to[row..].iter_mut().step_by(HEIGHT).zip(whole) {
                *to = u32::from_le_bytes(codes.map(|code| code as u8)) ^ POSITIVE;
            }
        }
    });
    strips
}

/// # Safety
///
/// The processor must have the instructions, and `to` the rows and columns of `job`, which nobody else
/// reads or writes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn run(product: &Product, strips: &[u32], to: Matrix, job: Job) {
    let groups = groups(product);
    let mut panel = Panel {
        codes: vec![[0; LANES]; groups * VECTORS],
        surplus: [0; WIDTH],
        steps: [0.0; WIDTH],
    };
    // Jobs begin at whole strips.
    let first = job.rows.start / HEIGHT;
    for column in job.columns.clone().step_by(WIDTH) {
        let columns = column..job.columns.end.min(column + WIDTH);
        panel.fill(product, columns.clone());
        for (strip, row) in (first..).zip(job.rows.clone().step_by(HEIGHT)) {
            let left = &strips[strip * groups * HEIGHT..][..groups * HEIGHT];
            let count = HEIGHT.min(job.rows.end - row);
            let steps = &product.left.steps[row..row + count];
            // SAFETY: as asked of the caller.
            unsafe {
                tile(
                    left,
                    &panel,
                    to.from(row, column),
                    columns.len(),
                    steps,
                    product.add,
                )
            };
        }
    }
}

/// Some columns of the weight, group by group in vectors.
struct Panel {
    codes: Vec<[u32; LANES]>,
    /// What 128 added to each code of a row adds to its sum.
    surplus: [i32; WIDTH],
    /// What one step is in each column.
    steps: [f32; WIDTH],
}

impl Panel {
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn fill(&mut self, product: &Product, columns: Range<usize>) {
        match product.side {
            Side::Inputs => self.turn(product, columns.clone()),
            Side::Outputs => self.interleave(product, columns.clone()),
        }
        for (step, column) in self.steps.iter_mut().zip(columns) {
            *step = product.step(column);
        }
        let hundred_and_28 = _mm512_set1_epi32(POSITIVE as i32);
        for v in 0..VECTORS {
            let mut sums = _mm512_setzero_si512();
            for vector in self.codes.iter().skip(v).step_by(VECTORS) {
                sums = _mm512_dpbusd_epi32(sums, hundred_and_28, load(vector));
            }
            // SAFETY: there is room for the vector.
            unsafe { _mm512_storeu_si512(self.surplus[v * LANES..].as_mut_ptr().cast(), sums) };
        }
    }

    /// Forward: a column is a row of the weight, whose groups lie side by side.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn turn(&mut self, product: &Product, columns: Range<usize>) {
        let length = product.left.length;
        let groups = groups(product);
        for v in 0..VECTORS {
            for group in (0..groups).step_by(LANES) {
                let mut vectors = [_mm512_setzero_ps(); LANES];
                for (lane, vector) in vectors.iter_mut().enumerate() {
                    let column = columns.start + v * LANES + lane;
                    if column >= columns.end {
                        break;
                    }
                    let row = &product.weight.codes[column * length..][..length];
                    let bytes = &row[group * GROUP..];
                    let count = bytes.len().min(LANES * GROUP);
                    let mask = u64::MAX >> (64 - count);
                    // SAFETY: the mask has as many bits as there are bytes.
                    let codes = unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr()) };
                    *vector = _mm512_castsi512_ps(codes);
                }
                transpose(&mut vectors);
                for (i, vector) in vectors.iter().enumerate().take(groups - group) {
                    let to = &mut self.codes[(group + i) * VECTORS + v];
                    // SAFETY: there is room for the vector.
                    unsafe { _mm512_storeu_ps(to.as_mut_ptr().cast(), *vector) };
                }
            }
        }
    }

    /// Backward: a group is the same column of four rows of the weight.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn interleave(&mut self, product: &Product, columns: Range<usize>) {
        let (length, width) = (product.left.length, product.columns);
        for (group, vectors) in self.codes.chunks_exact_mut(VECTORS).enumerate() {
            let mut rows = [[_mm_setzero_si128(); VECTORS]; GROUP];
            for (i, vectors) in rows.iter_mut().enumerate() {
                let row = group * GROUP + i;
                if row >= length {
                    break;
                }
                let codes = &product.weight.codes[row * width..][columns.clone()];
                for (vector, codes) in vectors.iter_mut().zip(codes.chunks(LANES)) {
                    let mut bytes = [0; LANES];
                    bytes[..codes.len()].copy_from_slice(codes);
                    // SAFETY: there are as many bytes as the vector has.
                    *vector = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
                }
            }
            for (v, to) in vectors.iter_mut().enumerate() {
                let [a, b, c, d] = [rows[0][v], rows[1][v], rows[2][v], rows[3][v]];
                let (low_ab, high_ab) = (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b));
                let (low_cd, high_cd) = (_mm_unpacklo_epi8(c, d), _mm_unpackhi_epi8(c, d));
                let quarters = [
                    _mm_unpacklo_epi16(low_ab, low_cd),
                    _mm_unpackhi_epi16(low_ab, low_cd),
                    _mm_unpacklo_epi16(high_ab, high_cd),
                    _mm_unpackhi_epi16(high_ab, high_cd),
                ];
                for (to, quarter) in to.as_chunks_mut::<4>().0.iter_mut().zip(quarters) {
                    // SAFETY: there is room for the vector.
                    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), quarter) };
                }
            }
        }
    }
}

/// The product of a strip and a panel, of whose columns the first `used` go to `to`, and as many rows as
/// there are `steps`.
///
/// # Safety
///
/// `to` must have these rows and columns, which nobody else reads or writes, and the columns must lie side
/// by side.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile(left: &[u32], panel: &Panel, to: Matrix, used: usize, steps: &[f32], add: bool) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; HEIGHT];
    let (rows, _) = left.as_chunks::<HEIGHT>();
    let (columns, _) = panel.codes.as_chunks::<VECTORS>();
    for (rows, columns) in rows.iter().zip(columns) {
        let mut vectors = [_mm512_setzero_si512(); VECTORS];
        for v in 0..VECTORS {
            vectors[v] = load(&columns[v]);
        }
        for r in 0..HEIGHT {
            let codes = _mm512_set1_epi32(rows[r] as i32);
            for v in 0..VECTORS {
                sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], codes, vectors[v]);
            }
        }
    }
    for (r, step) in steps.iter().enumerate() {
        // SAFETY: as asked of the caller.
        let row = unsafe { to.from(r, 0).row_mut(0, used) };
        for (v, to) in row.chunks_mut(LANES).enumerate() {
            // No bit for what is beyond the last column.
            let mask = (1u32 << to.len()).wrapping_sub(1) as u16;
            let at = v * LANES;
            // SAFETY: there are as many values as the vectors have, and the mask has as many bits as
            // there are values of `to`.
            unsafe {
                let surplus = _mm512_loadu_si512(panel.surplus[at..].as_ptr().cast());
                let whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][v], surplus));
                let steps = _mm512_loadu_ps(panel.steps[at..].as_ptr());
                let factors = _mm512_mul_ps(_mm512_set1_ps(*step), steps);
                let mut value = _mm512_mul_ps(whole, factors);
                if add {
                    value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to.as_ptr()), value);
                }
                _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, value);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load(codes: &[u32; LANES]) -> __m512i {
    // SAFETY: there are as many bytes as the vector has.
    unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
}
