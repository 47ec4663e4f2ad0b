//! The sums of a few rows and columns, in registers.

use std::arch::x86_64::*;

use super::{HEIGHT, LANES, VECTORS, WIDTH};
use crate::ops::gemm::Matrix;

/// How far ahead of its use the left-hand side is asked for.
const AHEAD: usize = 32 * HEIGHT;

/// The product of a packed strip and a panel, of which the first `used` rows and columns go to
/// `to`.
///
/// # Safety
///
/// `to` must have these rows and columns, which nobody else reads or writes, and the columns must lie
/// side by side.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile(left: &[f32], right: &[f32], to: Matrix, used: [usize; 2], add: bool) {
    let k = left.len() / HEIGHT;
    assert!(right.len() >= k * WIDTH);
    for r in 0..used[0] {
        for v in 0..VECTORS {
            _mm_prefetch::<_MM_HINT_T0>(to.from(r, v * LANES).start().cast());
        }
    }
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; HEIGHT];
    let (mut a, mut b) = (left.as_ptr(), right.as_ptr());
    // SAFETY: there are `k` times `HEIGHT` values of `a` and `k` times `WIDTH` of `b`; what is asked for
    // ahead need not be there.
    unsafe {
        for i in 0..k {
            if i % 2 == 0 {
                _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(AHEAD).cast());
            }
            let mut vectors = [_mm512_setzero_ps(); VECTORS];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = _mm512_loadu_ps(b.add(v * LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*a.add(r));
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = _mm512_fmadd_ps(value, vector, *sum);
                }
            }
            a = a.add(HEIGHT);
            b = b.add(WIDTH);
        }
    }
    for (r, sums) in sums.iter().enumerate().take(used[0]) {
        // SAFETY: as asked of the caller.
        let row = unsafe { to.from(r, 0).row_mut(0, used[1]) };
        for (to, sum) in row.chunks_mut(LANES).zip(sums) {
            // No bit for what is beyond the last column.
            let mask = (1u32 << to.len()).wrapping_sub(1) as u16;
            // SAFETY: the mask has as many bits as there are values.
            unsafe {
                let sum = match add {
                    true => _mm512_add_ps(*sum, _mm512_maskz_loadu_ps(mask, to.as_ptr())),
                    false => *sum,
                };
                _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, sum);
            }
        }
    }
}
