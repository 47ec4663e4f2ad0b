//! Adapters in a model of your own: first as it is, then with `LoraLinear` in it.
//!
//! A small network learns to tell two interleaved spirals apart. A third spiral, turned by a
//! quarter, is then learned by adapters alone: the network itself stays as it was.
//!
//! ```text
//! cargo run --release --example custom_model
//! ```

use std::error::Error;
use std::process::ExitCode;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::{log_softmax, tanh};
use burn::tensor::{Device, Int, Tensor};
use lora_core::{DEFAULT_ADAPTER, LoraConfig, LoraLinear, LoraModule, ParameterReport};

/// A model as anybody would write it with Burn.
#[derive(Module, Debug)]
struct Network {
    first: Linear,
    second: Linear,
    head: Linear,
}

impl Network {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(2, 64).init(device),
            second: LinearConfig::new(64, 64).init(device),
            head: LinearConfig::new(64, 2).init(device),
        }
    }
}

/// The same with [`LoraLinear`] in the hidden layer: its adapter is never composed with the
/// weight, and may have dropout.
#[derive(Module, Debug)]
struct FactoredNetwork {
    first: Linear,
    second: LoraLinear,
    head: Linear,
}

impl From<Network> for FactoredNetwork {
    fn from(network: Network) -> Self {
        Self {
            first: network.first,
            second: network.second.into(),
            head: network.head,
        }
    }
}

trait Forward: Module {
    /// Points `[rows, 2]` to logits `[rows, 2]`.
    fn forward(&self, points: Tensor<2>) -> Tensor<2>;
}

impl Forward for Network {
    fn forward(&self, points: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.first.forward(points));
        self.head.forward(tanh(self.second.forward(x)))
    }
}

impl Forward for FactoredNetwork {
    fn forward(&self, points: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.first.forward(points));
        self.head.forward(tanh(self.second.forward(x)))
    }
}

fn main() -> ExitCode {
    burn_lora_examples::run(custom_model)
}

fn custom_model() -> Result<(), Box<dyn Error>> {
    let device = lora_core::default_device().autodiff();
    device.seed(42);
    let old = spirals(0.0, &device);
    let new = spirals(std::f32::consts::FRAC_PI_2, &device);

    let base = train(Network::new(&device), &old, 600);
    println!("the base model on its own data: {}", percent(&base, &old));
    println!("the base model on the new data: {}", percent(&base, &new));

    // One call; the type stays `Network`.
    let config = LoraConfig::new()
        .with_r(8)
        .with_lora_alpha(16.0)
        .with_target_modules(["first", "second"])
        .with_modules_to_save(["head"]);
    let adapted = config.inject(base.clone())?;
    println!("\n{}\n", ParameterReport::of(&adapted));
    let adapted = train(adapted, &new, 600);
    println!(
        "with an adapter, on the new data: {}",
        percent(&adapted, &new)
    );
    let plain = adapted.with_adapters_disabled(|base| percent(base, &old))?;
    println!("with the adapter disabled, on the old data: {plain}");

    // The drop-in: the same weights, the adapter in factored form and with dropout.
    let config = LoraConfig::new()
        .with_r(8)
        .with_lora_alpha(16.0)
        .with_target_modules(["second"])
        .with_modules_to_save(["head"])
        .with_lora_dropout(0.05);
    let factored = config.inject(FactoredNetwork::from(base.clone()))?;
    let factored = train(factored, &new, 600);
    println!(
        "with `LoraLinear`, on the new data: {}",
        percent(&factored, &new)
    );

    // Out to PEFT's files, back in, and merged into a model without adapters.
    let folder = std::path::Path::new("out/custom_model");
    factored.save_adapter(DEFAULT_ADAPTER, folder, true)?;
    let loaded = FactoredNetwork::from(base).load_adapter("turned", folder)?;
    let merged = loaded.merge_and_unload()?;
    println!("saved, loaded and merged: {}", percent(&merged, &new));
    println!("the adapter is in {}", folder.display());
    Ok(())
}

/// Two interleaved spirals, turned by `angle`: points `[400, 2]` and their classes `[400]`.
fn spirals(angle: f32, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    const POINTS: usize = 400;
    let mut points = Vec::with_capacity(2 * POINTS);
    let mut classes = Vec::with_capacity(POINTS);
    for i in 0..POINTS {
        let class = (i % 2) as i32;
        let radius = i as f32 / POINTS as f32;
        let turn = angle + 6.0 * radius + std::f32::consts::PI * class as f32;
        points.extend([radius * turn.cos(), radius * turn.sin()]);
        classes.push(class);
    }
    let points = Tensor::<1>::from_floats(&points[..], device).reshape([POINTS, 2]);
    (points, Tensor::from_ints(&classes[..], device))
}

fn train<M: Forward>(
    mut model: M,
    (points, classes): &(Tensor<2>, Tensor<1, Int>),
    steps: usize,
) -> M {
    let mut optimizer = AdamWConfig::new().init();
    for _ in 0..steps {
        let log_probabilities = log_softmax(model.forward(points.clone()), 1);
        let loss = log_probabilities
            .gather(1, classes.clone().unsqueeze_dim(1))
            .mean()
            .neg();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-2, model, gradients);
    }
    model
}

/// The share of the points whose class is found.
fn percent<M: Forward>(model: &M, (points, classes): &(Tensor<2>, Tensor<1, Int>)) -> String {
    let found = model.forward(points.clone()).argmax(1);
    let right = found
        .equal(classes.clone().unsqueeze_dim(1))
        .int()
        .sum()
        .into_scalar::<i32>();
    format!("{:.1} %", 100.0 * right as f32 / classes.dims()[0] as f32)
}
