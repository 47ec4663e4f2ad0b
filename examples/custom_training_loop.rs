//! LoRA in a training loop of one's own: Burn and `lora-core`, nothing else.

use std::error::Error;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor, activation::relu};
use lora_core::{LoraConfig, LoraLinear, LoraLinearConfig, LoraModule, default_device};

#[derive(Module, Debug)]
struct Network {
    hidden: LoraLinear, // Burn's `Linear` with room for adapters
    head: Linear,
}

impl Network {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.head.forward(relu(self.hidden.forward(x)))
    }
}

/// Points, and whether their first two coordinates have the same sign.
fn batch(device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    let x = Tensor::<2>::random([64, 8], Distribution::Normal(0.0, 1.0), device);
    let product = x.clone().slice([0..64, 0..1]) * x.clone().slice([0..64, 1..2]);
    (x, product.greater_elem(0.0).int().reshape([64]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = default_device().autodiff();
    device.seed(42);
    let network = Network {
        hidden: LoraLinearConfig::new(8, 64).init(&device),
        head: LinearConfig::new(64, 2).init(&device),
    };
    let config = LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(8.0)
        .with_target_modules(["hidden"])
        .with_modules_to_save(["head"]);
    let mut network = config.inject(network)?; // all but adapters and head is frozen now

    let mut optimizer = AdamWConfig::new().init();
    let loss_function = CrossEntropyLossConfig::new().init(&device);
    for step in 1..=300 {
        let (x, targets) = batch(&device);
        let loss = loss_function.forward(network.forward(x), targets);
        if step % 100 == 0 {
            println!("step {step}: loss {:.3}", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(1e-2, network, gradients);
    }
    network.save_adapter("default", "out/custom_training_loop", true)?; // PEFT's files
    let merged = network.merge_and_unload()?; // the plain network again
    let (x, targets) = batch(&device);
    let right = merged.forward(x).argmax(1).reshape([64]).equal(targets);
    println!("accuracy {:.2}", right.float().mean().into_scalar::<f32>());
    Ok(())
}
