//! Square blocks of values, the other way round.

use macerator::Simd;

use super::scratch::VECTOR;

/// A line for each row.
pub(super) type Block = [[f32; VECTOR]; VECTOR];

/// The block whose rows are the columns of `rows`, times `factor`.
#[inline(always)]
pub(super) fn turn<S: Simd>(rows: [&[f32; VECTOR]; VECTOR], factor: f32) -> Block {
    #[cfg(target_arch = "x86_64")]
    if S::lanes32() == VECTOR {
        // SAFETY: no other instructions than AVX-512 have vectors of so many values.
        return unsafe { avx512::turn(rows, factor) };
    }
    let mut block = [[0.0; VECTOR]; VECTOR];
    for (i, row) in rows.into_iter().enumerate() {
        for (line, value) in block.iter_mut().zip(row) {
            line[i] = value * factor;
        }
    }
    block
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Block, VECTOR};

    /// See [`super::turn`].
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn turn(rows: [&[f32; VECTOR]; VECTOR], factor: f32) -> Block {
        let mut block = [[0.0; VECTOR]; VECTOR];
        let factor = _mm512_set1_ps(factor);
        for (quarter, lines) in block.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // Four values of every fourth row.
            let four = |first: usize| {
                let part = |row: usize| {
                    let values = &rows[first + row].as_chunks::<4>().0[quarter];
                    // SAFETY: the values are four.
                    unsafe { _mm_loadu_ps(values.as_ptr()) }
                };
                let all = _mm512_castps128_ps512(part(0));
                let all = _mm512_mask_broadcast_f32x4(all, 0x00f0, part(4));
                let all = _mm512_mask_broadcast_f32x4(all, 0x0f00, part(8));
                _mm512_mask_broadcast_f32x4(all, 0xf000, part(12))
            };
            let [a, b, c, d] = [four(0), four(1), four(2), four(3)];
            let low = [_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)];
            let high = [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)];
            let columns = [
                _mm512_shuffle_ps::<0b01_00_01_00>(low[0], low[1]),
                _mm512_shuffle_ps::<0b11_10_11_10>(low[0], low[1]),
                _mm512_shuffle_ps::<0b01_00_01_00>(high[0], high[1]),
                _mm512_shuffle_ps::<0b11_10_11_10>(high[0], high[1]),
            ];
            for (line, column) in lines.iter_mut().zip(columns) {
                // SAFETY: a line has as many values as a vector.
                unsafe { _mm512_storeu_ps(line.as_mut_ptr(), _mm512_mul_ps(column, factor)) };
            }
        }
        block
    }
}
