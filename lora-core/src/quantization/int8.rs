//! 8-bit whole numbers with a scale for each row (LLM.int8(), Dettmers et al. 2022, section 2.1).

use half::f16;

use super::four_bit::largest;

/// The codes of a matrix with rows of `columns`, and the largest absolute value of each row: what
/// bitsandbytes' `Linear8bitLt` makes of a weight, which it rounds to half precision first.
pub(crate) fn quantize(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / columns.max(1));
    for row in values.chunks(columns.max(1)) {
        let row: Vec<f32> = row.iter().map(|v| f16::from_f32(*v).to_f32()).collect();
        let scale = largest(&row);
        // A row of zeros has no steps; zero times infinity casts to 0.
        let steps = 127.0 / scale;
        codes.extend(row.iter().map(|v| (v * steps).round_ties_even() as i8));
        scales.push(scale);
    }
    (codes, scales)
}

/// What one step is in a row with this scale, as bitsandbytes' `int8_vectorwise_dequant` rounds it.
pub(crate) fn value(code: i8, scale: f32) -> f32 {
    f32::from(code) * scale * STEP
}

/// 1/127, in the digits of bitsandbytes.
const STEP: f32 = 7.874_016e-3;
