//! Steps of the 8-bit AdamW beside those of bitsandbytes.

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, ModuleOptimizer, OptimizerRecord};
use burn::tensor::{Device, Tensor, TensorData};
use lora_core::default_device;
use lora_core::tensor_file::TensorFile;
use lora_train::AdamW8bitConfig;

const STEPS: usize = 30;
const RECORDED: [usize; 4] = [1, 2, 10, 30];
/// Of what bitsandbytes computed every 7th value was kept.
const EVERY: usize = 7;

/// One parameter.
#[derive(Module, Debug)]
struct Model {
    weight: Param<Tensor<2>>,
}

/// The numbers of scripts/make_adamw_8bit_cases.py.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let one = |index: u64| {
        let mixed = (((index + seed * 7919) * 2_654_435_761 + 12345) % (1 << 32)) >> 8;
        mixed as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count as u64).map(one).collect()
}

fn tensor(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn model(shape: [usize; 2]) -> Model {
    let values = noise(shape[0] * shape[1], 1000);
    Model {
        weight: Param::from_tensor(tensor(values, shape, &default_device().autodiff())),
    }
}

fn step(optimizer: &mut ModuleOptimizer, model: Model, step: usize) -> Model {
    let shape = model.weight.val().dims();
    let mut values = noise(shape[0] * shape[1], step as u64);
    values.iter_mut().for_each(|v| *v = *v * *v * *v);
    if step < 10 {
        values.iter_mut().step_by(50).for_each(|v| *v = 0.0);
    }
    let mut gradients = GradientsParams::new();
    let gradient = tensor(values, shape, &default_device());
    gradients.register(model.weight.id, gradient);
    optimizer.step(1e-2, model, gradients)
}

fn values(model: &Model) -> Vec<f32> {
    model.weight.val().into_data().iter().collect()
}

fn optimizer() -> ModuleOptimizer {
    let config = AdamW8bitConfig::new().with_weight_decay(0.1);
    config.init().unwrap()
}

#[test]
fn steps_are_those_of_bitsandbytes() {
    let cases = TensorFile::open("tests/bitsandbytes/adamw_8bit.safetensors").unwrap();
    for (name, shape) in [("large", [90, 100]), ("small", [40, 30])] {
        let (mut optimizer, mut model) = (optimizer(), model(shape));
        for number in 1..=STEPS {
            model = step(&mut optimizer, model, number);
            if !RECORDED.contains(&number) {
                continue;
            }
            let kept = (shape[0] * shape[1]).div_ceil(EVERY);
            let key = format!("{name}.{number}.values");
            let expected = cases.read(&key, &[kept]).unwrap().unwrap();
            let found = values(&model).into_iter().step_by(EVERY);
            let pairs: Vec<(f32, f32)> = found.zip(expected.iter::<f32>()).collect();
            assert_eq!(pairs.len(), kept);
            let off = pairs.iter().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // A code that differs would be some 1e-4.
            assert!(off < 1e-6, "{key}: {off}");
        }
    }
}

#[test]
fn a_loaded_record_goes_on_bit_for_bit() {
    let shape = [90, 100];
    let (mut first, mut whole) = (optimizer(), model(shape));
    for number in 1..=3 {
        whole = step(&mut first, whole, number);
    }
    let bytes = first.to_record().into_bytes().unwrap();
    let mut second = optimizer().load_record(OptimizerRecord::from_bytes(bytes).unwrap());
    let mut resumed = whole.clone();
    for number in 4..=6 {
        whole = step(&mut first, whole, number);
        resumed = step(&mut second, resumed, number);
    }
    assert_eq!(values(&resumed), values(&whole));
}
