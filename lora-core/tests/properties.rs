//! Identities that hold for every shape, rank, scaling and type.

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use lora_core::state::{Role, values};
use lora_core::{DEFAULT_ADAPTER, LoraConfig, LoraEmbedding, LoraLinear, LoraModule};
use lora_core_tests::{difference, fill_adapters, normal};
use proptest::prelude::*;

/// One linear layer behind one table, of any size.
#[derive(Module, Debug)]
struct Model {
    table: LoraEmbedding,
    layer: LoraLinear,
}

#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    d_in: usize,
    d_out: usize,
    config: LoraConfig,
}

fn case() -> impl Strategy<Value = Case> {
    let shapes = (1usize..9, 1usize..20, 1usize..20);
    // JSON keeps eighths exactly.
    let settings = (1usize..9, 1u32..64, any::<bool>(), any::<bool>());
    (shapes, settings).prop_map(
        |((rows, d_in, d_out), (r, alpha, use_rslora, use_dora))| Case {
            rows,
            d_in,
            d_out,
            config: LoraConfig::new()
                .with_r(r)
                .with_lora_alpha(alpha as f64 / 8.0)
                .with_use_rslora(use_rslora)
                .with_use_dora(use_dora)
                .with_target_modules(["table", "layer"]),
        },
    )
}

impl Case {
    fn base(&self, device: &Device) -> Model {
        Model {
            table: LoraEmbedding {
                weight: Param::from_tensor(normal([self.rows, self.d_in], device)),
            },
            layer: LoraLinear {
                weight: Param::from_tensor(normal([self.d_in, self.d_out], device)),
                bias: Some(Param::from_tensor(normal([self.d_out], device))),
            },
        }
    }
}

/// Every row of the table, through the layer.
fn outputs(model: &Model) -> (Tensor<2>, Tensor<2>) {
    let device = model.table.weight.lazy_device();
    let [rows, d_in] = model.table.weight.lazy_shape().dims();
    let ids = Tensor::arange(0..rows as i64, &device).reshape([1, rows]);
    let looked_up = model.table.forward(ids).reshape([rows, d_in]);
    (looked_up.clone(), model.layer.forward(looked_up))
}

fn bits(model: &Model, role: impl Fn(Role) -> bool) -> Vec<Vec<u32>> {
    let all = values(model, |info| role(info.role)).into_iter();
    all.map(|(_, data)| data.iter::<f32>().map(f32::to_bits).collect())
        .collect()
}

/// Close, relative to the largest value.
fn near(a: &Tensor<2>, b: &Tensor<2>) -> bool {
    let largest = a.clone().abs().max().into_scalar::<f32>().max(1.0);
    difference(a, b) <= 2e-5 * largest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_new_adapter_changes_nothing(case in case()) {
        let device = lora_core::default_device();
        let base = case.base(&device);
        let model = case.config.inject(base.clone()).unwrap();
        let (expected, found) = (outputs(&base), outputs(&model));
        prop_assert!(near(&expected.0, &found.0) && near(&expected.1, &found.1));
        if !case.config.use_dora {
            prop_assert_eq!(difference(&expected.1, &found.1), 0.0);
        }
    }

    #[test]
    fn factored_dense_and_merged_forward_are_one(case in case()) {
        let device = lora_core::default_device();
        let model = fill_adapters(case.config.inject(case.base(&device)).unwrap());
        let (rows, factored) = outputs(&model);
        // `val` composes the dense weight, as any module that is not ours sees it.
        let bias = model.layer.bias.as_ref().unwrap().val().unsqueeze();
        let dense = model.table.weight.val().matmul(model.layer.weight.val()) + bias;
        prop_assert!(near(&factored, &dense));
        prop_assert!(near(&rows, &model.table.weight.val()));
        let merged = outputs(&model.merge_and_unload().unwrap());
        prop_assert!(near(&factored, &merged.1) && near(&rows, &merged.0));
    }

    #[test]
    fn unmerging_undoes_merging(case in case()) {
        let device = lora_core::default_device();
        let model = fill_adapters(case.config.inject(case.base(&device)).unwrap());
        let before = bits(&model, |_| true);
        let merged = model.merge().unwrap();
        prop_assert_eq!(bits(&merged.unmerge().unwrap(), |_| true), before);
    }

    #[test]
    fn loading_undoes_saving(case in case()) {
        let device = lora_core::default_device();
        let base = case.base(&device);
        let model = fill_adapters(case.config.inject(base.clone()).unwrap());
        let folder = tempfile::tempdir().unwrap();
        model.save_adapter(DEFAULT_ADAPTER, folder.path(), false).unwrap();
        let loaded = base.load_adapter("again", folder.path()).unwrap();
        prop_assert_eq!(loaded.adapter_config("again").unwrap(), case.config);
        prop_assert_eq!(bits(&loaded, |_| true), bits(&model, |_| true));
        prop_assert_eq!(difference(&outputs(&loaded).1, &outputs(&model).1), 0.0);
    }

    #[test]
    fn merging_rounds_once_for_a_narrow_base(case in case(), wide in any::<bool>()) {
        let device = lora_core::default_device();
        let dtype = if wide { FloatDType::BF16 } else { FloatDType::F16 };
        let base = case.base(&device);
        let narrow = Model {
            table: base.table,
            layer: LoraLinear {
                weight: base.layer.weight.map(|weight| weight.cast(dtype)),
                bias: base.layer.bias,
            },
        };
        let config = case.config.clone().with_use_dora(false).with_target_modules(["layer"]);
        let model = fill_adapters(config.inject(narrow).unwrap());
        let adapters = model.layer.weight.reparameterization::<lora_core::LoraAdapters>().unwrap();
        let delta = adapters.get(DEFAULT_ADAPTER).unwrap().delta();
        let sum = model.layer.weight.base().cast(FloatDType::F32) + delta;
        let expected = sum.cast(dtype).cast(FloatDType::F32);
        let merged = model.merge_and_unload().unwrap().layer.weight.val();
        prop_assert_eq!(FloatDType::from(merged.dtype()), dtype);
        prop_assert_eq!(difference(&merged.cast(FloatDType::F32), &expected), 0.0);
    }
}

/// The number after `"lora_alpha": ` in a configuration's text.
fn written_alpha(text: &str) -> &str {
    let (_, rest) = text.split_once("\"lora_alpha\": ").unwrap();
    rest.split([',', '\n']).next().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn numbers_are_written_exactly_and_read_to_the_last_bits(alpha in -1e300..1e300f64, small: bool) {
        let alpha = if small { alpha / 1e299 } else { alpha };
        let text = LoraConfig::new().with_lora_alpha(alpha).to_json();
        // Rust's parser rounds correctly, as Python's does.
        prop_assert_eq!(written_alpha(&text).parse::<f64>().unwrap(), alpha);
        let read = LoraConfig::from_json(&text).unwrap().lora_alpha;
        prop_assert!(read.to_bits().abs_diff(alpha.to_bits()) <= 2, "{} {}", alpha, read);
    }

    #[test]
    fn numbers_of_fifteen_digits_are_read_exactly(
        digits in -999_999_999_999_999i64..=999_999_999_999_999,
        exponent in -22i32..=0,
    ) {
        let alpha: f64 = format!("{digits}e{exponent}").parse().unwrap();
        let text = LoraConfig::new().with_lora_alpha(alpha).to_json();
        prop_assert_eq!(LoraConfig::from_json(&text).unwrap().lora_alpha, alpha);
    }
}
