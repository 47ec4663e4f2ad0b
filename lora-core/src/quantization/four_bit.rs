//! The 4-bit formats: NF4 and FP4, in blocks that share a scale.

/// QLoRA's 4-bit normal-float codes (Dettmers et al. 2023, appendix E), as bitsandbytes has them.
pub(crate) const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A sign, two bits of exponent and one of fraction, over the largest: bitsandbytes' FP4.
const FP4: [f32; 16] = [
    0.0,
    0.0625 / 12.0,
    8.0 / 12.0,
    1.0,
    4.0 / 12.0,
    6.0 / 12.0,
    2.0 / 12.0,
    3.0 / 12.0,
    0.0,
    -0.0625 / 12.0,
    -8.0 / 12.0,
    -1.0,
    -4.0 / 12.0,
    -6.0 / 12.0,
    -2.0 / 12.0,
    -3.0 / 12.0,
];

/// The order in which the codes ascend; of FP4's two zeros bitsandbytes' sorting has this one first.
const ASCENDING_NF4: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const ASCENDING_FP4: [u8; 16] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];

/// No scale that values are divided by is smaller.
const SMALLEST: f32 = 1e-38;

/// Which 16 values the codes stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FourBit {
    Nf4,
    Fp4,
}

impl FourBit {
    /// What each code stands for, in a block with a scale of 1.
    pub(crate) fn values(self) -> &'static [f32; 16] {
        match self {
            Self::Nf4 => &NF4,
            Self::Fp4 => &FP4,
        }
    }

    /// The name that bitsandbytes writes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
        }
    }

    fn ascending(self) -> &'static [u8; 16] {
        match self {
            Self::Nf4 => &ASCENDING_NF4,
            Self::Fp4 => &ASCENDING_FP4,
        }
    }

    /// The codes of `values`, two a byte with the first in the high half, and the largest absolute
    /// value of each `block` values: what bitsandbytes' `quantize_4bit` gives. The last block may be
    /// short.
    pub(crate) fn quantize(self, values: &[f32], block: usize) -> (Vec<u8>, Vec<f32>) {
        let ascending = self.ascending();
        let sorted = ascending.map(|code| self.values()[usize::from(code)]);
        // Half way between two codes goes to the lower one.
        let bounds: [f32; 15] = std::array::from_fn(|i| (sorted[i] + sorted[i + 1]) / 2.0);
        let nearest = |normed: f32| {
            let above = bounds.iter().filter(|bound| normed > **bound).count();
            ascending[above]
        };
        let mut packed = Vec::with_capacity(values.len().div_ceil(2));
        let mut scales = Vec::with_capacity(values.len().div_ceil(block));
        let mut codes = Vec::with_capacity(block + 1);
        for values in values.chunks(block) {
            let largest = largest(values);
            match values.len() == block {
                true => {
                    let inverse = 1.0 / largest.max(SMALLEST);
                    let normed = values.iter().map(|v| (v * inverse).clamp(-1.0, 1.0));
                    codes.extend(normed.map(nearest));
                    scales.push(largest);
                }
                false => {
                    let scale = largest.max(SMALLEST);
                    let normed = values.iter().map(|v| (v / scale).clamp(-1.0, 1.0));
                    codes.extend(normed.map(nearest));
                    scales.push(scale);
                }
            }
            if codes.len() % 2 == 1 {
                codes.push(nearest(0.0));
            }
            packed.extend(codes.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
            codes.clear();
        }
        (packed, scales)
    }
}

/// The largest absolute value.
pub(crate) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, v| v.abs().max(largest))
}

/// The code of value `i`.
pub(crate) fn code_at(packed: &[u8], i: usize) -> u8 {
    let byte = packed[i / 2];
    match i % 2 {
        0 => byte >> 4,
        _ => byte & 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_they_stand_for() {
        for format in [FourBit::Nf4, FourBit::Fp4] {
            let block: Vec<f32> = format.values().iter().map(|value| value * 3.0).collect();
            let (packed, scales) = format.quantize(&block, 16);
            assert_eq!(scales, [3.0]);
            for (i, value) in block.iter().enumerate() {
                let code = code_at(&packed, i);
                assert_eq!(format.values()[usize::from(code)] * 3.0, *value);
            }
        }
    }

    #[test]
    fn a_block_of_zeros_stays_zero() {
        let (packed, scales) = FourBit::Nf4.quantize(&[0.0; 64], 64);
        assert_eq!(packed, [0x77; 32]);
        assert_eq!(scales, [0.0]);
    }

    #[test]
    fn a_short_block_has_a_scale_of_its_own() {
        let mut values = [1.0; 67];
        values[64..].copy_from_slice(&[0.5, -0.5, 0.25]);
        let (packed, scales) = FourBit::Nf4.quantize(&values, 64);
        assert_eq!(scales, [1.0, 0.5]);
        assert_eq!(&packed[32..], [0xf0, 0xc7]);
    }
}
