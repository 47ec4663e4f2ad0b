//! Double quantization (QLoRA, Dettmers et al. 2023, section 3): the scales are quantized too.

use super::dynamic::{Blockwise, Dynamic};

/// How many scales share one.
pub(crate) const BLOCK: usize = 256;

/// The scales of a quantized weight's blocks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scales {
    /// As they are.
    Plain(Vec<f32>),
    /// Quantized themselves, after `offset` was taken off.
    Nested { scales: Blockwise, offset: f32 },
}

impl Scales {
    /// Quantizes `scales` in blocks of 256, around their mean.
    pub(crate) fn nested(scales: &[f32]) -> Self {
        let offset = mean(scales);
        let centered: Vec<f32> = scales.iter().map(|scale| scale - offset).collect();
        Self::Nested {
            scales: Dynamic::signed().quantize(&centered, BLOCK),
            offset,
        }
    }

    /// The number of blocks.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(scales) => scales.len(),
            Self::Nested { scales, .. } => scales.codes.len(),
        }
    }

    /// The scale of one block.
    pub(crate) fn get(&self, block: usize) -> f32 {
        match self {
            Self::Plain(scales) => scales[block],
            Self::Nested { scales, offset } => {
                let value = Dynamic::signed().value(scales.codes[block]);
                value * scales.scales[block / BLOCK] + offset
            }
        }
    }

    /// The memory they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Plain(scales) => size_of_val(scales.as_slice()),
            Self::Nested { scales, .. } => {
                scales.codes.len() + size_of_val(scales.scales.as_slice()) + size_of::<f32>()
            }
        }
    }
}

/// How many values PyTorch adds at once, and how many such sums it keeps side by side.
const LANES: usize = 8;
const SUMS: usize = 4;
const LEVELS: usize = 4;

/// The mean as `torch.mean` rounds it on one thread: sums of few values, sums of those, and so on,
/// so that the codes are bitsandbytes' to the last bit.
fn mean(values: &[f32]) -> f32 {
    let (rows, rest) = values.as_chunks::<LANES>();
    let (groups, single) = rows.as_chunks::<SUMS>();
    let mut levels = [[[0f32; LANES]; SUMS]; LEVELS];
    let power = (ceil_log2(groups.len()) / LEVELS).max(4);
    let mask = (1 << power) - 1;
    for (i, group) in groups.iter().enumerate() {
        for (sum, row) in levels[0].iter_mut().zip(group) {
            add(sum, row);
        }
        let done = i + 1;
        if done & mask != 0 {
            continue;
        }
        for level in 1..LEVELS {
            let lower = std::mem::take(&mut levels[level - 1]);
            for (sum, row) in levels[level].iter_mut().zip(&lower) {
                add(sum, row);
            }
            if done & (mask << (level * power)) != 0 {
                break;
            }
        }
    }
    let [mut sums, higher @ ..] = levels;
    for level in &higher {
        for (sum, row) in sums.iter_mut().zip(level) {
            add(sum, row);
        }
    }
    let [mut total, others @ ..] = sums;
    for row in single.iter().chain(&others) {
        add(&mut total, row);
    }
    let sum = rest
        .iter()
        .chain(&total)
        .fold(0.0, |sum, value| sum + value);
    sum / values.len() as f32
}

fn add(sum: &mut [f32; LANES], row: &[f32; LANES]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += value;
    }
}

fn ceil_log2(count: usize) -> usize {
    count.max(1).next_power_of_two().trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_the_mean() {
        for count in [1, 7, 50, 96, 1000, 9216, 100_000] {
            let values: Vec<f32> = (0..count).map(|i| (i as f32).sin() + 1.0).collect();
            let exact = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count as f64;
            assert!((f64::from(mean(&values)) - exact).abs() < 1e-6, "{count}");
        }
    }

    #[test]
    fn nested_scales_are_near_the_scales() {
        let scales: Vec<f32> = (0..600).map(|i| 0.1 + (i as f32).sin() * 0.01).collect();
        let nested = Scales::nested(&scales);
        assert_eq!(nested.len(), scales.len());
        for (i, scale) in scales.iter().enumerate() {
            assert!((nested.get(i) - scale).abs() < 1e-4, "{i}");
        }
        assert!(nested.bytes() < Scales::Plain(scales).bytes() / 3);
    }
}
