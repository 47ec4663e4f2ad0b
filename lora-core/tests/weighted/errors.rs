//! What cannot be combined, and what is said about it.

use lora_core::{Bias, Combination, CombinationType, InitLoraWeights, LoraError, LoraModule};

use super::{EVEN, cat, config, linear, pair, with};
use lora_core_tests::Model;

#[test]
fn what_cannot_be_combined_says_why() {
    let error = |model: Model, adapters: &[(&str, f64)], combination: &Combination| {
        let error = model.add_weighted_adapter("new", adapters, combination);
        error.unwrap_err()
    };
    let text = |error: LoraError| error.to_string();

    let found = text(error(pair(), &[("one", 1.0), ("three", 1.0)], &linear()));
    assert!(
        found.contains("no adapter \"three\"; it has one, two"),
        "{found}"
    );
    let found = text(error(pair(), &[], &linear()));
    assert!(found.contains("`adapters` is an empty list"), "{found}");
    let found = text(error(pair(), &[("one", 1.0), ("two", f64::NAN)], &linear()));
    assert!(found.contains("`weights` is NaN for \"two\""), "{found}");

    for (name, expected) in [("one", "already has an adapter \"one\""), ("a.b", "no dot")] {
        let found = pair().add_weighted_adapter(name, &EVEN, &linear());
        let found = text(found.unwrap_err());
        assert!(found.contains(expected), "{found}");
    }

    let wide = with(&[
        ("one", config(&["query"])),
        ("two", config(&["query"]).with_r(3)),
    ]);
    for kind in [
        CombinationType::Linear,
        CombinationType::Ties,
        CombinationType::DareLinear,
        CombinationType::DareTies,
        CombinationType::MagnitudePrune,
    ] {
        let combination = match kind {
            CombinationType::Linear => Combination::new(kind),
            kind => Combination::new(kind).with_density(0.5),
        };
        let found = error(wide.clone(), &EVEN, &combination);
        assert!(matches!(found, LoraError::CombinedRanks { .. }), "{found}");
        let found = text(found);
        assert!(
            found.contains("layers.0.query have different ranks (one: 2, two: 3)")
                && found.contains("`cat`"),
            "{found}"
        );
    }

    let ties = Combination::new(CombinationType::Ties);
    let found = text(error(pair(), &EVEN, &ties));
    assert!(found.contains("`density` is missing for `ties`"), "{found}");
    for density in [0.0, 1.5] {
        let found = text(error(pair(), &EVEN, &ties.clone().with_density(density)));
        assert!(
            found.contains(&format!("`density` is {density}, expected")),
            "{found}"
        );
    }

    let dora = with(&[
        ("one", config(&["query"])),
        ("two", config(&["query"]).with_use_dora(true)),
    ]);
    let found = text(error(dora, &EVEN, &cat()));
    assert!(
        found.contains("\"two\", which has DoRA's magnitudes"),
        "{found}"
    );

    let pissa = config(&["query"]).with_init_lora_weights(InitLoraWeights::Pissa);
    let pissa = with(&[("one", config(&["query"])), ("two", pissa)]);
    let found = text(error(pissa.clone(), &EVEN, &cat()));
    assert!(
        found.contains("`add_weighted_adapter` is not possible with adapter \"two\""),
        "{found}"
    );
    assert!(
        pissa
            .add_weighted_adapter("new", &[("one", 1.0)], &linear())
            .is_ok()
    );

    let biased = with(&[("one", config(&["query"]).with_bias(Bias::All))]);
    let found = error(biased, &[("one", 1.0)], &linear());
    assert!(matches!(found, LoraError::BiasShared { .. }), "{found}");

    // What the first adapter's configuration asks for has to be possible in the others' modules.
    let dropping = config(&["value"]).with_lora_dropout(0.1);
    let model = with(&[("one", dropping), ("two", config(&["query"]))]);
    let found = error(model.clone(), &EVEN, &cat());
    assert!(
        matches!(found, LoraError::DropoutUnsupported { .. }),
        "{found}"
    );
    assert!(
        model
            .add_weighted_adapter("new", &[("two", 1.0), ("one", 1.0)], &cat())
            .is_ok()
    );

    let broken = lora_core::state::load_state(pair(), |info| {
        let values = vec![f32::NAN; info.count()];
        Ok(info
            .is_lora()
            .then(|| burn::tensor::TensorData::new(values, info.shape.clone())))
    });
    let svd = Combination::new(CombinationType::Svd);
    let found = text(error(broken.unwrap(), &EVEN, &svd));
    assert!(
        found.contains("decompose") && found.contains(".weight"),
        "{found}"
    );
}
