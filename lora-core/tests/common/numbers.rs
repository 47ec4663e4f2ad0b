//! Numbers that look random and are the same in every run, so that what is compared to the last bits
//! always is, or never.
//!
//! Burn's generator is one for the process: what a test draws from it depends on the tests that run
//! at the same time.

use std::cell::RefCell;
use std::f32::consts::TAU;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use lora_core::state::{load_state, values};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

thread_local! {
    /// Of each test its own, as tests run in threads of their own.
    static GENERATOR: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(31));
}

/// Standard normal values, by Box and Muller.
fn draw(count: usize) -> Vec<f32> {
    GENERATOR.with_borrow_mut(|generator| {
        let mut normal = || {
            let (radius, angle): (f32, f32) = generator.random();
            (-2.0 * (1.0 - radius).ln()).sqrt() * (TAU * angle).cos()
        };
        (0..count).map(|_| normal()).collect()
    })
}

/// Standard normal values.
pub fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = draw(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The module with normal values of this standard deviation in each parameter that is not all zeros
/// or all ones.
pub fn redrawn<M: Module>(module: M, deviation: f32) -> M {
    let before = values(&module, |_| true).into_iter();
    let random = before.filter(|(_, data)| {
        let all = |constant| data.iter::<f32>().all(|value| value == constant);
        !all(0.0) && !all(1.0)
    });
    let random: Vec<String> = random.map(|(info, _)| info.path).collect();
    load_state(module, |info| {
        let values = || draw(info.count()).iter().map(|v| v * deviation).collect();
        let drawn = random.contains(&info.path);
        Ok(drawn.then(|| TensorData::new::<f32, _>(values(), info.shape.clone())))
    })
    .unwrap()
}

/// Fills every factor of every adapter, so that no adapter is without effect; with the same values in
/// each call.
pub fn fill_adapters<M: Module>(model: M) -> M {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    load_state(model, |info| {
        let values: Vec<f32> = (0..info.count()).map(|_| 0.3 * next()).collect();
        Ok(info
            .is_lora()
            .then(|| TensorData::new(values, info.shape.clone())))
    })
    .unwrap()
}
