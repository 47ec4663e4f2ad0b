//! loralib's `MergedLinear`: one layer that computes several projections, some with an adapter.
//!
//! GPT-2's `c_attn` is query, key and value in one, and `enable_lora = [true, false, true]` adapts
//! the first and the last. Each of the `n` enabled parts has factors of its own, all in two
//! tensors: `lora_A` `[n·r, in]` and `lora_B` `[n·out / len(enable_lora), r]`. The update is
//!
//! ```text
//! zero_pad(conv1d(lora_A, lora_B, groups = n))
//! ```
//!
//! so the product of the parts' own factors, one below the other, with zeros for the other parts.
//! The same is a plain adapter of rank `n·r`: `lora_A` as it is, and each part of `lora_B` in the
//! rows of its outputs and the columns of its rank.

use std::path::Path;

use burn::tensor::TensorData;

use crate::LoraError;

/// The factors of one layer as they lie in the file.
pub(super) struct MergedLinear<'a> {
    pub(super) path: &'a Path,
    pub(super) module: &'a str,
    /// The rows of `lora_A`.
    pub(super) a_rows: usize,
    /// The shape of `lora_B`.
    pub(super) b_shape: [usize; 2],
    /// The outputs of the layer.
    pub(super) d_out: usize,
}

impl MergedLinear<'_> {
    /// Which parts are enabled: as given, or, where that is all the shapes allow, every one. A
    /// plain layer is one part.
    pub(super) fn enable_lora(&self, given: Option<&[bool]>) -> Result<Vec<bool>, LoraError> {
        let [b_rows, r] = self.b_shape;
        let groups = self.a_rows.checked_div(r).unwrap_or_default();
        let enabled = match given {
            Some(given) => given.to_vec(),
            None if self.is_partly_enabled(groups) => return Err(self.unknown()),
            None => vec![true; groups.max(1)],
        };
        let (parts, groups) = (enabled.len(), count(&enabled));
        if groups == 0 || !self.d_out.is_multiple_of(parts) {
            return Err(LoraError::ConfigValue {
                field: "enable_lora",
                value: format!("{enabled:?} for {}", self.module),
                expected: "at least one true, and a length that divides the layer's outputs",
            });
        }
        self.check("lora_A", self.a_rows, groups * r)?;
        self.check("lora_B", b_rows, self.d_out / parts * groups)?;
        Ok(enabled)
    }

    /// Whether the shapes are those of a layer of which `groups` parts, and not all, are enabled.
    fn is_partly_enabled(&self, groups: usize) -> bool {
        let [b_rows, r] = self.b_shape;
        let size = b_rows.checked_div(groups).unwrap_or_default();
        let whole = groups * r == self.a_rows && groups * size == b_rows;
        whole && b_rows < self.d_out && size > 0 && self.d_out.is_multiple_of(size)
    }

    fn unknown(&self) -> LoraError {
        LoraError::EnableLora {
            path: self.path.to_path_buf(),
            module: self.module.to_string(),
            a_rows: self.a_rows,
            b_shape: self.b_shape,
            d_out: self.d_out,
        }
    }

    fn check(&self, factor: &str, found: usize, expected: usize) -> Result<(), LoraError> {
        if found == expected {
            return Ok(());
        }
        Err(LoraError::Shape {
            path: self.path.to_path_buf(),
            tensor: format!("{}.{factor} (rows)", self.module),
            found: vec![found],
            expected: vec![expected],
        })
    }
}

/// The number of enabled parts, each with factors of its own.
pub(super) fn count(enable_lora: &[bool]) -> usize {
    enable_lora.iter().filter(|enabled| **enabled).count()
}

/// `lora_B` of the plain adapter that is the same: `[n·d, r]` to `[len·d, n·r]`, where `d` is the
/// number of outputs of a part.
pub(super) fn plain_b(b: &TensorData, enable_lora: &[bool]) -> TensorData {
    let groups = count(enable_lora);
    let values: Vec<f32> = b.iter::<f32>().collect();
    let (rows, r) = (b.shape()[0], b.shape()[1]);
    let (d, rank) = (rows / groups, groups * r);
    let mut plain = vec![0.0; enable_lora.len() * d * rank];
    let enabled = (0..enable_lora.len()).filter(|&part| enable_lora[part]);
    for (group, part) in enabled.enumerate() {
        for row in 0..d {
            let from = (group * d + row) * r;
            let to = (part * d + row) * rank + group * r;
            plain[to..to + r].copy_from_slice(&values[from..from + r]);
        }
    }
    TensorData::new(plain, [enable_lora.len() * d, rank])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tensor, Tolerance};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_plain_product_is_the_padded_grouped_one(
            enabled in prop::collection::vec(any::<bool>(), 1..5)
                .prop_filter("one part at least", |parts| count(parts) > 0),
            d in 1..4usize,
            r in 1..4usize,
            d_in in 1..5usize,
        ) {
            let device = crate::default_device();
            let random = |shape: [usize; 2]| {
                Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device)
            };
            let n = count(&enabled);
            let (a, b) = (random([n * r, d_in]), random([n * d, r]));
            // Part by part, as a grouped convolution computes it.
            let mut group = 0;
            let parts = enabled.iter().map(|enabled| match enabled {
                false => Tensor::zeros([d, d_in], &device),
                true => {
                    let rows = |t: &Tensor<2>, size| t.clone().narrow(0, group * size, size);
                    let product = rows(&b, d).matmul(rows(&a, r));
                    group += 1;
                    product
                }
            });
            let expected: Tensor<2> = Tensor::cat(parts.collect(), 0);
            let plain = plain_b(&b.into_data(), &enabled);
            let plain = Tensor::<2>::from_data(plain, &device).matmul(a);
            plain
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn shapes_tell_the_parts_only_if_all_are_enabled() {
        let layer = |a_rows, b_shape| MergedLinear {
            path: Path::new("file"),
            module: "c_attn",
            a_rows,
            b_shape,
            d_out: 12,
        };
        let parts = |layer: MergedLinear<'_>| layer.enable_lora(None).unwrap();
        assert_eq!(parts(layer(2, [12, 2])), [true]);
        assert_eq!(parts(layer(6, [12, 2])), [true; 3]);
        let error = layer(4, [8, 2]).enable_lora(None).unwrap_err().to_string();
        assert!(
            error.contains("c_attn") && error.contains("with_enable_lora"),
            "{error}"
        );
        // A plain layer of another size, or no layer at all.
        for (a_rows, b_shape) in [(2, [7, 2]), (2, [13, 2]), (3, [12, 2]), (2, [12, 0])] {
            let error = layer(a_rows, b_shape).enable_lora(None).unwrap_err();
            assert!(matches!(&error, LoraError::Shape { .. }), "{error}");
        }
        let given = |enabled: &[bool]| layer(4, [8, 2]).enable_lora(Some(enabled));
        assert!(given(&[true, false, true]).is_ok());
        let error = given(&[true, true, true]).unwrap_err().to_string();
        assert!(error.contains("c_attn.lora_A"), "{error}");
        let error = given(&[true, false, true, false]).unwrap_err().to_string();
        assert!(error.contains("c_attn.lora_B"), "{error}");
        for bad in [&[false, false][..], &[], &[true; 5]] {
            let error = given(bad).unwrap_err().to_string();
            assert!(error.contains("`enable_lora`"), "{error}");
        }
    }
}
