//! Random pruning after seeding the device. The seed is the whole process's, so this is the only
//! test here.

use lora_core::{Combination, CombinationType, LoraAdapters, LoraConfig, LoraModule};
use lora_core_tests::{Model, difference, fill_adapters, training_device};

#[test]
fn the_seed_makes_random_pruning_repeatable() {
    let device = training_device();
    let config = LoraConfig::new().with_r(2).with_target_modules(["query"]);
    let model = Model::new(&device)
        .add_adapter("one", &config)
        .and_then(|model| model.add_adapter("two", &config))
        .map(fill_adapters)
        .unwrap();
    let seeded = |seed| {
        device.seed(seed);
        let dare = Combination::new(CombinationType::DareTies).with_density(0.5);
        let adapters = [("one", 0.5), ("two", 0.5)];
        let model = model.clone();
        let model = model.add_weighted_adapter("new", &adapters, &dare).unwrap();
        let adapters = model.layers[1].query.weight.reparameterization();
        let adapters: &LoraAdapters = adapters.unwrap();
        adapters.get("new").unwrap().delta()
    };
    assert_eq!(difference(&seeded(3), &seeded(3)), 0.0);
    assert!(difference(&seeded(3), &seeded(4)) > 1e-3);
}
