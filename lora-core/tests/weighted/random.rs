//! Random pruning, which leaves a fraction of the values and the expectation.

use burn::tensor::Tensor;
use lora_core::{Combination, CombinationType, LoraAdapter, LoraModule};

use super::{adapter, config, with};
use lora_core_tests::{Model, difference};

/// The density of the random types below.
const DENSITY: f64 = 0.25;

fn dare(model: &Model, combination: Combination) -> LoraAdapter {
    let combination = combination.with_density(DENSITY);
    let weights = [("one", -0.5), ("two", 1.0)];
    let model = model.clone();
    let model = model.add_weighted_adapter("new", &weights, &combination);
    adapter(&model.unwrap(), "layers.0.value", "new").unwrap()
}

/// The fraction of values that are not zero, each of which has to be that of `full`.
#[track_caller]
fn fraction_kept(pruned: Tensor<2>, full: Tensor<2>) -> f64 {
    let zero = pruned.clone().abs().lower_elem(1e-5);
    let difference = difference(&pruned, &full.mask_fill(zero.clone(), 0.0));
    assert!(difference < 1e-5, "{difference}");
    let values = zero.dims().iter().product::<usize>() as f64;
    1.0 - zero.int().sum().into_scalar::<i64>() as f64 / values
}

#[test]
fn random_pruning_keeps_a_fraction_and_the_expectation() {
    let model = with(&[("one", config(&["0.value"])), ("two", config(&["1.value"]))]);
    let one = adapter(&model, "layers.0.value", "one").unwrap();
    let expected = one.delta().detach() * -0.5;
    let draws = 200;
    for kind in [CombinationType::DareLinearSvd, CombinationType::DareTiesSvd] {
        let mut sum = expected.zeros_like();
        let mut kept = 0.0;
        for _ in 0..draws {
            // A decomposition to full rank loses nothing.
            let pruned = dare(&model, Combination::new(kind).with_svd_rank(8)).delta();
            kept += fraction_kept(pruned.clone(), expected.clone().div_scalar(DENSITY));
            sum = sum + pruned.detach();
        }
        // Five deviations of the mean, here and below.
        let kept = kept / draws as f64;
        assert!((kept - DENSITY).abs() < 0.02, "{kind}: {kept}");
        let deviation = ((1.0 / DENSITY - 1.0) / draws as f64).sqrt() as f32;
        let largest = expected.clone().abs().max().into_scalar::<f32>();
        let off = difference(&sum.div_scalar(draws as f64), &expected);
        assert!(off < 5.0 * deviation * largest, "{kind}: {off}");
    }
    // Without a decomposition the factors are pruned, each by itself.
    for kind in [CombinationType::DareLinear, CombinationType::DareTies] {
        let scale = (0.5 * one.scaling).sqrt() / DENSITY;
        let mut kept = 0.0;
        for _ in 0..draws {
            let new = dare(&model, Combination::new(kind));
            kept += fraction_kept(new.a.val(), one.a.val() * -scale) / 2.0;
            kept += fraction_kept(new.b.val(), one.b.val() * scale) / 2.0;
        }
        let kept = kept / draws as f64;
        assert!((kept - DENSITY).abs() < 0.03, "{kind}: {kept}");
    }
}
