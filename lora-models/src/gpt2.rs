//! GPT-2 (Radford et al. 2019), small to XL by its configuration.
//!
//! Every module goes by Hugging Face's name, `transformer.h.0.attn.c_attn`, in reports, records,
//! configurations and checkpoints.

mod attention;
mod cache;
mod config;
mod heads;
mod pretrained;
mod transformer;

use burn::nn::{Initializer, LayerNorm, LayerNormConfig};
use burn::tensor::Device;
use lora_core::{LoraConv1D, LoraEmbedding, LoraEmbeddingConfig};

pub use attention::Attention;
pub use cache::Cache;
pub use config::Gpt2Config;
pub use heads::{CausalLm, SequenceClassification};
pub use transformer::{Block, Gpt2Input, Mlp, Transformer};

/// A layer that starts out as Hugging Face's do: a normal weight and a zero bias.
fn conv1d(d_input: usize, d_output: usize, std: f64, device: &Device) -> LoraConv1D {
    let normal = Initializer::Normal { mean: 0.0, std };
    LoraConv1D {
        weight: normal.init([d_input, d_output], device),
        bias: Some(Initializer::Zeros.init([d_output], device)),
    }
}

fn embedding(rows: usize, config: &Gpt2Config, device: &Device) -> LoraEmbedding {
    let normal = Initializer::Normal {
        mean: 0.0,
        std: config.initializer_range,
    };
    LoraEmbeddingConfig::new(rows, config.n_embd)
        .with_initializer(normal)
        .init(device)
}

fn layer_norm(config: &Gpt2Config, device: &Device) -> LayerNorm {
    LayerNormConfig::new(config.n_embd)
        .with_epsilon(config.layer_norm_epsilon)
        .init(device)
}
