//! What holds for any weights.

use lora_core::{Combination, LoraModule};
use proptest::prelude::*;

use super::{MODULES, TYPES, adapter, cat, config, delta, modules_of, pair, with};
use lora_core_tests::difference;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn side_by_side_is_the_weighted_sum(weights in proptest::collection::vec(-2.0f64..2.0, 3)) {
        let model = with(&[
            ("one", config(&["query", "value", "embed"])),
            ("two", config(&["query", "down"]).with_r(3).with_rank_pattern("1.query", 5)),
            ("three", config(&["query", "up"]).with_r(1).with_use_rslora(true)),
        ]);
        let adapters: Vec<(&str, f64)> =
            ["one", "two", "three"].into_iter().zip(weights).collect();
        let combined = model.add_weighted_adapter("new", &adapters, &cat()).unwrap();
        prop_assert_eq!(modules_of(&combined, "new").len(), MODULES.len());
        for module in MODULES {
            let updates = adapters.iter().filter_map(|(name, weight)| {
                delta(&combined, module, name).map(|delta| delta * *weight)
            });
            let sum = updates.reduce(|a, b| a + b).unwrap();
            let new = delta(&combined, module, "new").unwrap();
            prop_assert!(difference(&new, &sum) < 1e-5, "{}", module);
        }
    }

    #[test]
    fn one_adapter_alone_is_itself_times_its_weight(
        weight in prop_oneof![Just(1.0f64), -2.0f64..2.0],
        kind in 0..TYPES.len(),
    ) {
        let pruned = TYPES[kind].name().contains("ties")
            || TYPES[kind].name().contains("dare")
            || TYPES[kind].name().contains("prune");
        let combination = Combination::new(TYPES[kind]);
        let combination = match pruned {
            true => combination.with_density(0.5),
            false => combination,
        };
        let model = pair();
        let combined = model.add_weighted_adapter("new", &[("one", weight)], &combination).unwrap();
        prop_assert_eq!(modules_of(&combined, "new"), modules_of(&combined, "one"));
        for module in modules_of(&combined, "one") {
            let of = |name| delta(&combined, module, name).unwrap();
            prop_assert!(difference(&of("new"), &(of("one") * weight)) < 1e-5);
            let rank = |name| adapter(&combined, module, name).unwrap().rank();
            prop_assert_eq!(rank("new"), rank("one"));
        }
    }
}
