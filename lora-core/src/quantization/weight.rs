//! A linear layer's weight in few bits.

use std::ops::Range;

use burn::tensor::TensorData;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::WeightFormat;
use super::double::Scales;
use super::four_bit::{FourBit, code_at};
use super::int8;
use crate::LoraError;
use crate::state::{ParameterInfo, transpose};

/// Block sizes that bitsandbytes has kernels for.
pub(crate) const BLOCK_SIZES: [usize; 8] = [32, 64, 128, 256, 512, 1024, 2048, 4096];

const TOO_LARGE: &str =
    "it has values above 65504, which half precision does not reach: use bf16 or nf4";

/// A linear layer's weight in few bits, as bitsandbytes lays it out: `[d_out, d_in]`, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedWeight {
    shape: [usize; 2],
    pub(super) codes: Codes,
}

/// The codes of a weight's values, and their scales.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Codes {
    /// Two codes a byte, in blocks that go on from row to row.
    FourBit {
        kind: FourBit,
        packed: Vec<u8>,
        scales: Scales,
        block: usize,
    },
    /// A scale for each row.
    Int8 { codes: Vec<i8>, scales: Vec<f32> },
    /// 16-bit floats.
    Bf16(Vec<bf16>),
    /// 16-bit floats of the other kind.
    F16(Vec<f16>),
}

impl PackedWeight {
    /// Quantizes `values`, `[d_out, d_in]`: in blocks of `block` values (`Int8`: in rows; 16-bit floats:
    /// each by itself), with the blocks' scales quantized too if `double`. `tensor` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`LoraError::Quantization`] if a value is not finite, if the shape is not that of the values
    /// or if `block` does not divide their number.
    pub fn quantize(
        tensor: &str,
        values: &[f32],
        shape: [usize; 2],
        format: WeightFormat,
        block: usize,
        double: bool,
    ) -> Result<Self, LoraError> {
        let refused = |message: String| LoraError::Quantization {
            tensor: tensor.to_string(),
            message,
        };
        if values.len() != shape.iter().product::<usize>() || values.is_empty() {
            let count = values.len();
            return Err(refused(format!(
                "it has {count} values, expected {shape:?}"
            )));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(refused(
                "it has values that are NaN or infinite: the base is broken".to_string(),
            ));
        }
        let kind = match format {
            WeightFormat::Nf4 => FourBit::Nf4,
            WeightFormat::Fp4 => FourBit::Fp4,
            WeightFormat::Int8 => {
                let (codes, scales) = int8::quantize(values, shape[1]);
                if scales.iter().any(|scale| !scale.is_finite()) {
                    return Err(refused(TOO_LARGE.to_string()));
                }
                let codes = Codes::Int8 { codes, scales };
                return Ok(Self { shape, codes });
            }
            WeightFormat::Bf16 => {
                let codes = Codes::Bf16(values.iter().map(|v| bf16::from_f32(*v)).collect());
                return Ok(Self { shape, codes });
            }
            WeightFormat::F16 => {
                let codes: Vec<_> = values.iter().map(|v| f16::from_f32(*v)).collect();
                if !codes.iter().all(|value| value.is_finite()) {
                    return Err(refused(TOO_LARGE.to_string()));
                }
                let codes = Codes::F16(codes);
                return Ok(Self { shape, codes });
            }
        };
        require_block(values.len(), block).map_err(refused)?;
        let (packed, scales) = kind.quantize(values, block);
        let scales = match double {
            true => Scales::nested(&scales),
            false => Scales::Plain(scales),
        };
        let codes = Codes::FourBit {
            kind,
            packed,
            scales,
            block,
        };
        Ok(Self { shape, codes })
    }

    /// The weight of `codes`, whose lengths fit.
    pub(super) fn new(shape: [usize; 2], codes: Codes) -> Self {
        Self { shape, codes }
    }

    /// `[d_out, d_in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// How the values are stored.
    pub fn format(&self) -> WeightFormat {
        match &self.codes {
            Codes::FourBit { kind, .. } => match kind {
                FourBit::Nf4 => WeightFormat::Nf4,
                FourBit::Fp4 => WeightFormat::Fp4,
            },
            Codes::Int8 { .. } => WeightFormat::Int8,
            Codes::Bf16(_) => WeightFormat::Bf16,
            Codes::F16(_) => WeightFormat::F16,
        }
    }

    /// Whether the scales of its blocks are quantized too.
    pub fn is_nested(&self) -> bool {
        match &self.codes {
            Codes::FourBit { scales, .. } => matches!(scales, Scales::Nested { .. }),
            Codes::Int8 { .. } | Codes::Bf16(_) | Codes::F16(_) => false,
        }
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.codes {
            Codes::FourBit { packed, scales, .. } => packed.len() + scales.bytes(),
            Codes::Int8 { codes, scales } => codes.len() + size_of_val(scales.as_slice()),
            Codes::Bf16(values) => size_of_val(values.as_slice()),
            Codes::F16(values) => size_of_val(values.as_slice()),
        }
    }

    /// The values that are left, `[d_out, d_in]` row by row.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.shape[0] * self.shape[1]];
        for (row, values) in values.chunks_mut(self.shape[1]).enumerate() {
            self.part_of_row(row, 0, values);
        }
        values
    }

    /// The values that are left, in the layout that PyTorch has for the parameter.
    pub fn values_as(&self, info: &ParameterInfo) -> TensorData {
        other_layout(info, TensorData::new(self.dequantize(), self.shape))
    }

    /// The codes and what one step is in each row, if it is stored in whole numbers of 8 bits.
    #[cfg(feature = "flex")]
    pub(crate) fn int8(&self) -> Option<(&[i8], Vec<f32>)> {
        match &self.codes {
            Codes::Int8 { codes, scales } => {
                let steps = scales.iter().map(|scale| int8::value(1, *scale));
                Some((codes, steps.collect()))
            }
            _ => None,
        }
    }

    /// Sets `to` to the values of a row that begin at `column`.
    fn part_of_row(&self, row: usize, column: usize, to: &mut [f32]) {
        self.each(row, column..column + to.len(), |i, value| to[i] = value);
    }

    /// Calls `f` with the values of `columns` of a row, and the number of each among them.
    #[inline(always)]
    pub(crate) fn each(&self, row: usize, columns: Range<usize>, mut f: impl FnMut(usize, f32)) {
        let start = row * self.shape[1] + columns.start;
        let end = row * self.shape[1] + columns.end;
        match &self.codes {
            Codes::Bf16(values) => each_float(&values[start..end], f),
            Codes::F16(values) => each_float(&values[start..end], f),
            Codes::Int8 { codes, scales } => {
                for (i, code) in codes[start..end].iter().enumerate() {
                    f(i, int8::value(*code, scales[row]));
                }
            }
            Codes::FourBit {
                kind,
                packed,
                scales,
                block,
            } => {
                let values = kind.values();
                let mut at = start;
                while at < end {
                    let until = ((at / block + 1) * block).min(end);
                    let scale = scales.get(at / block);
                    let scaled = values.map(|value| value * scale);
                    for i in at..until {
                        f(i - start, scaled[usize::from(code_at(packed, i))]);
                    }
                    at = until;
                }
            }
        }
    }
}

/// A weight's values in the layout of the codes, `[d_out, d_in]`, if they are in the one that PyTorch has
/// for the parameter, and the other way round.
pub(super) fn other_layout(info: &ParameterInfo, data: TensorData) -> TensorData {
    match info.transposed {
        true => data,
        // GPT-2's `Conv1D` is `[d_in, d_out]` in files, but not in few bits.
        false => transpose(data),
    }
}

/// Calls `f` with the number and the value of each of `values`.
#[inline(always)]
fn each_float<T>(values: &[T], mut f: impl FnMut(usize, f32))
where
    [T]: HalfFloatSliceExt,
{
    // As many as conversion instructions take at once, and more.
    const TOGETHER: usize = 64;
    let mut wide = [0.0; TOGETHER];
    for (part, values) in values.chunks(TOGETHER).enumerate() {
        let wide = &mut wide[..values.len()];
        values.convert_to_f32_slice(wide);
        for (i, value) in wide.iter().enumerate() {
            f(part * TOGETHER + i, *value);
        }
    }
}

/// Fails if values cannot be cut in blocks of this size.
pub(super) fn require_block(values: usize, block: usize) -> Result<(), String> {
    if !BLOCK_SIZES.contains(&block) {
        return Err(format!(
            "its block size is {block}, expected one of {BLOCK_SIZES:?}"
        ));
    }
    match values.is_multiple_of(block) {
        true => Ok(()),
        false => Err(format!(
            "blocks of {block} do not divide its {values} values: name its module in \
             `llm_int8_skip_modules`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    #[test]
    fn parts_are_the_wholes() {
        // Blocks that end within rows.
        let shape = [8, 40];
        for format in WeightFormat::ALL {
            let weight = PackedWeight::quantize("w", &values(320), shape, format, 64, true);
            let weight = weight.unwrap();
            let whole = weight.dequantize();
            assert_eq!(weight.format(), format);
            for (row, start, end) in [(0, 0, 40), (3, 7, 33), (7, 39, 40), (5, 5, 5)] {
                let mut part = vec![0.0; end - start];
                weight.each(row, start..end, |i, value| part[i] = value);
                assert_eq!(part, whole[row * 40 + start..row * 40 + end]);
            }
        }
    }

    #[test]
    fn what_is_left_is_near() {
        let dense = values(64 * 64);
        for (format, bound) in [
            (WeightFormat::Nf4, 0.17),
            (WeightFormat::Fp4, 0.18),
            (WeightFormat::Int8, 0.005),
            (WeightFormat::Bf16, 0.002),
            (WeightFormat::F16, 0.00025),
        ] {
            let weight = PackedWeight::quantize("w", &dense, [64, 64], format, 64, true).unwrap();
            for (left, value) in weight.dequantize().iter().zip(&dense) {
                assert!((left - value).abs() < bound, "{format} {left} {value}");
            }
        }
    }

    #[test]
    fn what_cannot_be_quantized_is_an_error() {
        let refused = |values: &[f32], shape, block| {
            PackedWeight::quantize("a.weight", values, shape, WeightFormat::Nf4, block, true)
                .unwrap_err()
                .to_string()
        };
        let error = refused(&values(66), [6, 11], 64);
        assert!(
            error.contains("a.weight") && error.contains("64"),
            "{error}"
        );
        assert!(error.contains("llm_int8_skip_modules"), "{error}");
        let error = refused(&values(66), [6, 11], 48);
        assert!(error.contains("48"), "{error}");
        let error = refused(&[f32::NAN; 64], [8, 8], 64);
        assert!(error.contains("NaN"), "{error}");
        let large = [1e5; 64];
        let int8 = PackedWeight::quantize("w", &large, [8, 8], WeightFormat::Int8, 64, false);
        assert!(int8.unwrap_err().to_string().contains("65504"));
        let f16 = PackedWeight::quantize("w", &large, [8, 8], WeightFormat::F16, 64, false);
        assert!(f16.unwrap_err().to_string().contains("65504"));
        let bf16 = PackedWeight::quantize("w", &large, [8, 8], WeightFormat::Bf16, 64, false);
        assert_eq!(bf16.unwrap().dequantize(), [99_840.0; 64]);
        let error = refused(&values(64), [8, 9], 64);
        assert!(error.contains("[8, 9]"), "{error}");
    }
}
