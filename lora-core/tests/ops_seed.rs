//! A seed decides what dropout drops. Burn's generator is one for the process, so this is alone in
//! its own.

use burn::tensor::Tensor;
use lora_core::ops::{AttentionOptions, Sequences, attention, dropout};

#[test]
fn the_devices_seed_decides_and_every_call_draws_anew() {
    let device = lora_core::default_device().autodiff();
    let run = || {
        device.seed(17);
        let x = Tensor::<2>::ones([33, 64], &device);
        let options = AttentionOptions {
            heads: 2,
            scale: 1.0,
            causal: false,
            dropout: 0.5,
        };
        let sequences = Sequences::packed([20, 13]);
        let attend = || attention(x.clone(), x.clone(), x.clone(), &sequences, &options);
        let drop = || dropout(x.clone(), 0.5);
        [drop(), drop(), attend(), attend()].map(|x| x.into_data())
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert_ne!(first[0], first[1]);
    assert_ne!(first[2], first[3]);
}
