//! LoftQ (Li et al. 2023): a quantized base, and an adapter that starts as what that loses.

use burn::tensor::Tensor;
use half::f16;

use crate::LoftQConfig;
use crate::decomposition::{Matrix, Svd, svd, to_device, to_host};
use crate::quantization::four_bit::{NF4, largest};

/// The values of a normal-float block share a scale.
const BLOCK: usize = 64;

/// The construction of [`NF4`] with 2 bits.
const NF2: [f32; 4] = [-1.0, 0.0, 0.337_915_24, 1.0];

/// A weight that is quantized, and the factors that make up for it.
pub(super) struct LoftQ {
    /// The quantized weight's values, `[d_in, d_out]`.
    pub(super) weight: Tensor<2>,
    /// `A`, `[d_in, rank]`, and `B`, `[rank, d_out]`.
    pub(super) factors: [Tensor<2>; 2],
}

/// Alternates between quantizing `W - A·B` and decomposing what that leaves of `W` (algorithm 1).
///
/// As in PEFT the adapter's scaling does not enter. `None` if the decomposition fails.
///
/// # Shapes
///
/// - `weight`: `[d_in, d_out]`
pub(super) fn decompose(weight: &Tensor<2>, rank: usize, config: LoftQConfig) -> Option<LoftQ> {
    let device = weight.device();
    // PyTorch's layout decides which values share a block.
    let weight = to_host(weight.clone().transpose());
    let mut target = weight.clone();
    let mut remaining = config.loftq_iter;
    loop {
        let quantized = quantize(&target, config.loftq_bits);
        let Svd { u, s, v } = svd(&(&weight - &quantized), rank)?;
        let roots: Vec<f64> = s.iter().map(|s| s.sqrt()).collect();
        let roots = Matrix::from_diagonal(&roots.into());
        let (a, b) = (&v * &roots, &roots * u.transpose());
        remaining = remaining.saturating_sub(1);
        if remaining == 0 {
            return Some(LoftQ {
                weight: to_device(&quantized.transpose(), &device),
                factors: [to_device(&a, &device), to_device(&b, &device)],
            });
        }
        target = &weight - (a * b).transpose();
    }
}

/// The values that are left of `weight`, `[d_out, d_in]`, in as many bits.
fn quantize(weight: &Matrix, bits: usize) -> Matrix {
    let (rows, columns) = weight.shape();
    let mut values: Vec<f32> = weight.transpose().iter().map(|v| *v as f32).collect();
    match bits {
        8 => values.chunks_mut(columns).for_each(whole_numbers),
        4 => values.chunks_mut(BLOCK).for_each(|b| normal_float(b, &NF4)),
        _ => values.chunks_mut(BLOCK).for_each(|b| normal_float(b, &NF2)),
    }
    Matrix::from_row_iterator(rows, columns, values.into_iter().map(f64::from))
}

/// Rounds to the nearest of `codes`, which ascend, times the block's largest value.
fn normal_float(block: &mut [f32], codes: &[f32]) {
    let scale = largest(block);
    if scale == 0.0 {
        return;
    }
    for value in block {
        let normed = *value / scale;
        let code = codes
            .windows(2)
            .take_while(|pair| normed > (pair[0] + pair[1]) / 2.0);
        *value = codes[code.count()] * scale;
    }
}

/// Rounds to 127 steps either way up to the row's largest value, from half precision: what
/// bitsandbytes does for LLM.int8() without outliers.
fn whole_numbers(row: &mut [f32]) {
    for value in row.iter_mut() {
        *value = f16::from_f32(*value).to_f32();
    }
    let scale = largest(row);
    if scale == 0.0 {
        return;
    }
    for value in row {
        let step = (*value * (127.0 / scale)).round_ties_even();
        *value = step * scale * (1.0 / 127.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_they_stand_for() {
        for codes in [&NF4[..], &NF2] {
            let mut block: Vec<f32> = codes.iter().map(|code| code * 3.0).collect();
            let exact = block.clone();
            normal_float(&mut block, codes);
            assert_eq!(block, exact);
            let mut moved: Vec<f32> = exact.iter().map(|v| v * 0.99).collect();
            moved[0] = -3.0;
            normal_float(&mut moved, codes);
            assert_eq!(moved, exact);
        }
        let mut zeros = [0.0; 5];
        normal_float(&mut zeros, &NF4);
        whole_numbers(&mut zeros);
        assert_eq!(zeros, [0.0; 5]);
    }

    #[test]
    fn whole_numbers_are_off_by_half_a_step_at_most() {
        let mut row: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin() * 2.0).collect();
        let before = row.clone();
        whole_numbers(&mut row);
        let step = largest(&before) / 127.0;
        for (a, b) in row.iter().zip(&before) {
            assert!((a - b).abs() <= step * 0.51 + 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn factors_make_up_for_a_part_of_what_is_lost() {
        let device = crate::default_device();
        let value = |i: usize, j: usize| ((7 * i * i + 13 * j * j + 3 * i * j) as f64).sin();
        let weight = to_device(&Matrix::from_fn(48, 32, value), &device);
        let error = |bits, iterations| {
            let config = LoftQConfig::new()
                .with_loftq_bits(bits)
                .with_loftq_iter(iterations);
            let LoftQ {
                weight: quantized,
                factors: [a, b],
            } = decompose(&weight, 8, config).unwrap();
            let difference = weight.clone() - quantized.clone() - a.matmul(b);
            let without = (weight.clone() - quantized).powi_scalar(2).sum();
            let with = difference.powi_scalar(2).sum();
            assert!(with.clone().into_scalar::<f32>() < without.into_scalar::<f32>());
            with.into_scalar::<f32>()
        };
        // Each step is the best one alone; the error of both together may go up with an iteration.
        for iterations in [1, 4] {
            let [two, four, eight] = [2, 4, 8].map(|bits| error(bits, iterations));
            assert!(eight < four && four < two, "{two} {four} {eight}");
        }
    }
}
