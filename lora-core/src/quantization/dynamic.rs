//! The 8-bit dynamic types (Dettmers 2015; Dettmers et al. 2021, section 2.3): codes whose spacing
//! grows with the value, in blocks that share a scale.

use std::sync::LazyLock;

use super::four_bit::largest;

/// Steps of the table that finds a value's code: bitsandbytes' CPU library looks codes up in this
/// many over [-1, 1], so values that are closer together than two steps may get the same code.
const STEPS: usize = 1 << 16;

/// An 8-bit type: what its codes stand for, and the code of each value.
#[derive(Debug)]
pub struct Dynamic {
    values: [f32; 256],
    nearest: Vec<u8>,
}

/// Values quantized in blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Blockwise {
    /// The code of each value.
    pub codes: Vec<u8>,
    /// The largest absolute value of each block; the last block may be short.
    pub scales: Vec<f32>,
}

impl Dynamic {
    /// bitsandbytes' `create_dynamic_map(signed=True)`.
    pub fn signed() -> &'static Self {
        static SIGNED: LazyLock<Dynamic> = LazyLock::new(|| Dynamic::new(true));
        &SIGNED
    }

    /// bitsandbytes' `create_dynamic_map(signed=False)`, for values that are not negative.
    pub fn unsigned() -> &'static Self {
        static UNSIGNED: LazyLock<Dynamic> = LazyLock::new(|| Dynamic::new(false));
        &UNSIGNED
    }

    /// What each code stands for, in a block with a scale of 1, in rising order.
    pub fn values(&self) -> &[f32; 256] {
        &self.values
    }

    fn new(signed: bool) -> Self {
        let mut values = [0.0; 256];
        values[1] = 1.0;
        let mut rest = values.iter_mut().skip(2);
        for exponent in 0..7 {
            let scale = 10f64.powi(exponent - 6) as f32;
            let intervals = 1 << (exponent + i32::from(!signed));
            for i in 0..intervals {
                let mean = (tenth_to_one(i, intervals) + tenth_to_one(i + 1, intervals)) / 2.0;
                let both = [Some(scale * mean), signed.then_some(-scale * mean)];
                for (value, place) in both.into_iter().flatten().zip(&mut rest) {
                    *place = value;
                }
            }
        }
        values.sort_unstable_by(f32::total_cmp);
        let nearest = (0..STEPS).map(|step| {
            let center = step as f32 * (2.0 / 65535.0) - 1.0;
            let right = values.partition_point(|value| *value <= center);
            let right = right.clamp(1, 255);
            let is_right = (values[right] - center).abs() < (center - values[right - 1]).abs();
            (right - usize::from(!is_right)) as u8
        });
        Self {
            nearest: nearest.collect(),
            values,
        }
    }

    /// Quantizes `values` in blocks of `block`: bitsandbytes' `quantize_blockwise` on a CPU.
    pub fn quantize(&self, values: &[f32], block: usize) -> Blockwise {
        let mut codes = vec![0; values.len()];
        let blocks = values.chunks(block).zip(codes.chunks_mut(block));
        Blockwise {
            scales: blocks
                .map(|(values, codes)| self.quantize_block(values, codes))
                .collect(),
            codes,
        }
    }

    /// Writes the code of each of `values`, a block, and returns the block's scale.
    pub fn quantize_block(&self, values: &[f32], codes: &mut [u8]) -> f32 {
        let scale = largest(values);
        let inverse = 1.0 / scale;
        for (value, code) in values.iter().zip(codes) {
            let normed = (value * inverse).clamp(-1.0, 1.0);
            // Of a block of zeros that is not a number, which has the first code.
            let step = ((normed + 1.0) * 32767.5 + 0.5) as usize;
            *code = self.nearest[step.min(STEPS - 1)];
        }
        scale
    }

    /// The values that are left: bitsandbytes' `dequantize_blockwise`.
    pub fn dequantize(&self, quantized: &Blockwise, block: usize) -> Vec<f32> {
        let mut values = vec![0.0; quantized.codes.len()];
        let blocks = quantized.codes.chunks(block).zip(values.chunks_mut(block));
        for ((codes, values), scale) in blocks.zip(&quantized.scales) {
            self.dequantize_block(codes, *scale, values);
        }
        values
    }

    /// Writes the value that is left of each of `codes`, a block with that scale.
    pub fn dequantize_block(&self, codes: &[u8], scale: f32, values: &mut [f32]) {
        for (code, value) in codes.iter().zip(values) {
            *value = self.value(*code) * scale;
        }
    }

    /// What `code` stands for, in a block with a scale of 1.
    pub(crate) fn value(&self, code: u8) -> f32 {
        self.values[usize::from(code)]
    }
}

/// The end of interval `i` of equal ones from 0.1 to 1, as `torch.linspace` rounds it.
fn tenth_to_one(i: usize, intervals: usize) -> f32 {
    let step = (1.0 - 0.1) / intervals as f32;
    match i < intervals.div_ceil(2) {
        true => step.mul_add(i as f32, 0.1),
        false => step.mul_add(-((intervals - i) as f32), 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_come_back_as_zeros() {
        for kind in [Dynamic::signed(), Dynamic::unsigned()] {
            let zeros = kind.quantize(&[0.0; 300], 256);
            assert_eq!(zeros.scales, [0.0; 2]);
            assert!(kind.dequantize(&zeros, 256).iter().all(|v| *v == 0.0));
        }
    }

    #[test]
    fn a_value_is_off_by_little() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 2.0).collect();
        let kind = Dynamic::signed();
        let found = kind.dequantize(&kind.quantize(&values, 256), 256);
        for (found, value) in found.iter().zip(&values) {
            assert!((found - value).abs() < 0.02, "{found} {value}");
        }
    }
}
