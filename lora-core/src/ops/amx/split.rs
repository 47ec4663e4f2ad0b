//! 32-bit values as sums of 16-bit values, in the order in which tiles take them.

use std::arch::x86_64::*;
use std::mem::transmute;

/// The lines of a tile.
pub(super) const LINES: usize = 16;
/// The values of a line, of 16 bits.
pub(super) const VALUES: usize = 32;

/// A line of a tile: 64 bytes.
pub(super) type Line = __m512i;

/// Some 32-bit values on the way to a tile.
#[repr(C, align(64))]
pub(super) struct Values(pub(super) [f32; LINES * VALUES]);

/// What lies where in memory: `count` runs of values, `run` values from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Runs<'a> {
    pub(super) values: &'a [f32],
    pub(super) run: usize,
}

impl<'a> Runs<'a> {
    /// Sixteen values of run `index`, from `from` on.
    fn sixteen(self, index: usize, from: usize) -> &'a [f32; 16] {
        let start = index * self.run + from;
        match self.values[start..].first_chunk() {
            Some(values) => values,
            None => panic!("a run of 16 values"),
        }
    }
}

/// Writes a tile of [`LINES`] runs of [`VALUES`] values each, one run a line, in `PARTS` parts, `apart`
/// lines from one to the next.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn lines<const PARTS: usize>(from: Runs, to: &mut [Line], apart: usize) {
    for line in 0..LINES {
        let mut values = [load(from.sixteen(line, 0)), load(from.sixteen(line, 16))];
        for part in 0..PARTS {
            let both = round(values);
            to[part * apart + line] = both;
            if part + 1 < PARTS {
                let first = widen(_mm512_castsi512_si256(both));
                let second = widen(_mm512_extracti64x4_epi64::<1>(both));
                values = [
                    _mm512_sub_ps(values[0], first),
                    _mm512_sub_ps(values[1], second),
                ];
            }
        }
    }
}

/// Writes a tile of [`VALUES`] runs of [`LINES`] values each, two runs a line, whose values take
/// turns: what the right-hand side of a product has to look like.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn pairs<const PARTS: usize>(from: Runs, to: &mut [Line], apart: usize) {
    const TURNS: [u16; VALUES] = {
        let mut turns = [0; VALUES];
        let mut i = 0;
        while i < VALUES {
            turns[i] = (i / 2 + 16 * (i % 2)) as u16;
            i += 1;
        }
        turns
    };
    // SAFETY: both are 64 bytes that may have any content.
    let turns: Line = unsafe { transmute(TURNS) };
    let high = _mm512_set1_epi32(0xFFFF_0000_u32.cast_signed());
    for line in 0..LINES {
        let mut values = [
            load(from.sixteen(2 * line, 0)),
            load(from.sixteen(2 * line + 1, 0)),
        ];
        for part in 0..PARTS {
            let both = _mm512_permutexvar_epi16(turns, round(values));
            to[part * apart + line] = both;
            if part + 1 < PARTS {
                let first = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(both));
                let second = _mm512_castsi512_ps(_mm512_and_si512(both, high));
                values = [
                    _mm512_sub_ps(values[0], first),
                    _mm512_sub_ps(values[1], second),
                ];
            }
        }
    }
}

/// The transpose of 16 runs of 16 values, as runs `run` values apart.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn transpose(from: Runs, first: usize, to: &mut [f32], run: usize) {
    let mut x = [_mm512_setzero_ps(); 16];
    for (i, x) in x.iter_mut().enumerate() {
        *x = load(from.sixteen(i, first));
    }
    let mut t = x;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    for i in 0..4 {
        x[4 * i] = low(t[4 * i], t[4 * i + 2]);
        x[4 * i + 1] = high(t[4 * i], t[4 * i + 2]);
        x[4 * i + 2] = low(t[4 * i + 1], t[4 * i + 3]);
        x[4 * i + 3] = high(t[4 * i + 1], t[4 * i + 3]);
    }
    for i in 0..4 {
        t[i] = _mm512_shuffle_f32x4::<0x88>(x[i], x[4 + i]);
        t[4 + i] = _mm512_shuffle_f32x4::<0xDD>(x[i], x[4 + i]);
        t[8 + i] = _mm512_shuffle_f32x4::<0x88>(x[8 + i], x[12 + i]);
        t[12 + i] = _mm512_shuffle_f32x4::<0xDD>(x[8 + i], x[12 + i]);
    }
    for i in 0..4 {
        x[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[8 + i]);
        x[8 + i] = _mm512_shuffle_f32x4::<0xDD>(t[i], t[8 + i]);
        x[4 + i] = _mm512_shuffle_f32x4::<0x88>(t[4 + i], t[12 + i]);
        x[12 + i] = _mm512_shuffle_f32x4::<0xDD>(t[4 + i], t[12 + i]);
    }
    for (i, x) in x.into_iter().enumerate() {
        // SAFETY: both are 64 bytes that may have any content.
        let values: [f32; 16] = unsafe { transmute(x) };
        to[i * run..][..16].copy_from_slice(&values);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: there are 16 values, wherever they begin.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// The low halves of each two vectors of pairs of values.
#[inline]
#[target_feature(enable = "avx512f")]
fn low(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

/// The high halves of each two vectors of pairs of values.
#[inline]
#[target_feature(enable = "avx512f")]
fn high(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

/// 16-bit values as 32-bit ones.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(half: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
}

/// The nearest 16-bit values, those of the first vector first.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn round([first, second]: [__m512; 2]) -> Line {
    // SAFETY: both are 64 bytes that may have any content.
    unsafe { transmute(_mm512_cvtne2ps_pbh(second, first)) }
}
