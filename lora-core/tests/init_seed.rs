//! Randomized PiSSA after seeding the device. The seed is the whole process's, so this is the only
//! test here.

use lora_core::state::values;
use lora_core::{InitLoraWeights, LoraConfig};
use lora_core_tests::{Model, training_device};

#[test]
fn the_seed_makes_randomized_pissa_repeatable() {
    let device = training_device();
    let base = Model::new(&device);
    let config = LoraConfig::new()
        .with_r(2)
        .with_target_modules(["query"])
        .with_init_lora_weights(InitLoraWeights::PissaNiter(1));
    let start = |seed| {
        device.seed(seed);
        let model = config.inject(base.clone()).unwrap();
        let factors = values(&model, |info| info.is_lora()).into_iter();
        factors.map(|(_, data)| data).collect::<Vec<_>>()
    };
    assert_eq!(start(3), start(3));
    assert_ne!(start(3), start(4));
}
