//! BERT (Devlin et al. 2018) and RoBERTa (Liu et al. 2019) on one encoder.
//!
//! Every module goes by Hugging Face's name, `roberta.encoder.layer.0.attention.self.query`, in
//! reports, records, configurations and checkpoints.

mod attention;
mod config;
mod embeddings;
mod encoder;
mod heads;
mod pretrained;

use burn::nn::{Initializer, LayerNorm, LayerNormConfig};
use burn::tensor::Device;
use lora_core::{LoraEmbedding, LoraEmbeddingConfig, LoraLinear};

pub use crate::Activation;
pub use attention::{Attention, ResidualOutput, SelfAttention};
pub use config::{Architecture, BertConfig};
pub use embeddings::Embeddings;
pub use encoder::{Encoder, EncoderInput, Intermediate, Layer, Layers, Pooler};
pub use heads::{Classifier, MaskedLm, QuestionAnswering, RobertaHead, SequenceClassification};

/// A linear layer that starts out as Hugging Face's do: a normal weight and a zero bias.
fn linear(d_input: usize, d_output: usize, config: &BertConfig, device: &Device) -> LoraLinear {
    let normal = Initializer::Normal {
        mean: 0.0,
        std: config.initializer_range,
    };
    LoraLinear {
        weight: normal.init([d_input, d_output], device),
        bias: Some(Initializer::Zeros.init([d_output], device)),
    }
}

fn embedding(rows: usize, config: &BertConfig, device: &Device) -> LoraEmbedding {
    let normal = Initializer::Normal {
        mean: 0.0,
        std: config.initializer_range,
    };
    LoraEmbeddingConfig::new(rows, config.hidden_size)
        .with_initializer(normal)
        .init(device)
}

fn layer_norm(config: &BertConfig, device: &Device) -> LayerNorm {
    LayerNormConfig::new(config.hidden_size)
        .with_epsilon(config.layer_norm_eps)
        .init(device)
}
