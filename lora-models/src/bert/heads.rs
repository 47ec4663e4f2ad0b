//! Models with a task's head on the encoder.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Initializer, LayerNorm};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Int, Tensor};
use lora_core::LoraLinear;
use lora_core::ops::tied_linear;

use super::config::{Architecture, BertConfig};
use super::encoder::{Encoder, EncoderInput};
use super::{layer_norm, linear};
use crate::Activation;
use crate::named_module::{named_module, transparent_module};

/// RoBERTa's classification head: dense, tanh, projection.
#[derive(Module, Debug)]
pub struct RobertaHead {
    /// `[hidden_size, hidden_size]`.
    pub dense: LoraLinear,
    /// Before each of the two layers.
    pub dropout: Dropout,
    /// `[hidden_size, num_labels]`.
    pub out_proj: LoraLinear,
}

/// Either architecture's classifier; both are called `classifier`.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a model has one; its tensors are elsewhere"
)]
pub enum Classifier {
    /// BERT's: one layer on the pooled state.
    Linear(LoraLinear),
    /// RoBERTa's: two layers on the first token's state.
    Roberta(RobertaHead),
}

transparent_module!(Classifier { Linear, Roberta });

/// Sequence classification, or regression with one label.
///
/// Hugging Face's `BertForSequenceClassification` and `RobertaForSequenceClassification`.
#[derive(Clone, Debug)]
pub struct SequenceClassification {
    /// The encoder, called `bert` or `roberta`.
    pub base: Encoder,
    /// The head.
    pub classifier: Classifier,
    dropout: Dropout,
    config: BertConfig,
}

named_module!(this: SequenceClassification {
    base => this.config.model_type.prefix(),
    classifier => "classifier",
    dropout => "dropout",
} skip { config });

impl SequenceClassification {
    /// A model with fresh weights.
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        let bert = config.model_type == Architecture::Bert;
        let probability = config
            .classifier_dropout
            .unwrap_or(config.hidden_dropout_prob);
        let dropout = DropoutConfig::new(probability).init();
        let output = linear(config.hidden_size, config.num_labels(), config, device);
        let classifier = match bert {
            true => Classifier::Linear(output),
            false => Classifier::Roberta(RobertaHead {
                dense: linear(config.hidden_size, config.hidden_size, config, device),
                dropout: dropout.clone(),
                out_proj: output,
            }),
        };
        let base = Encoder::new(config, bert, device);
        Self {
            base,
            classifier,
            dropout,
            config: config.clone(),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Classifies.
    ///
    /// # Shapes
    ///
    /// - output: logits, `[batch, num_labels]`
    ///
    /// # Panics
    ///
    /// As [`Encoder::forward`].
    pub fn forward(&self, input: EncoderInput) -> Tensor<2> {
        let first = self.base.forward_first(input);
        match &self.classifier {
            Classifier::Linear(output) => {
                let pooled = match &self.base.pooler {
                    Some(pooler) => pooler.forward(first),
                    None => first,
                };
                output.forward(self.dropout.forward(pooled))
            }
            Classifier::Roberta(head) => {
                let first = head.dropout.forward(first);
                let dense = tanh(head.dense.forward(first));
                head.out_proj.forward(head.dropout.forward(dense))
            }
        }
    }
}

/// Masked language modelling; the decoder is the table of token embeddings, one parameter.
///
/// Hugging Face's `BertForMaskedLM` and `RobertaForMaskedLM`.
#[derive(Clone, Debug)]
pub struct MaskedLm {
    /// The encoder, called `bert` or `roberta`.
    pub base: Encoder,
    /// `[hidden_size, hidden_size]`.
    pub dense: LoraLinear,
    /// After the activation.
    pub norm: LayerNorm,
    /// `[vocab_size]`.
    pub bias: Param<Tensor<1>>,
    config: BertConfig,
}

named_module!(this: MaskedLm {
    base => this.config.model_type.prefix(),
    dense => match this.config.model_type {
        Architecture::Bert => "cls.predictions.transform.dense",
        Architecture::Roberta => "lm_head.dense",
    },
    norm => match this.config.model_type {
        Architecture::Bert => "cls.predictions.transform.LayerNorm",
        Architecture::Roberta => "lm_head.layer_norm",
    },
    bias => match this.config.model_type {
        Architecture::Bert => "cls.predictions.bias",
        Architecture::Roberta => "lm_head.bias",
    },
} skip { config } ties {
    match this.config.model_type {
        Architecture::Bert => "cls.predictions.decoder",
        Architecture::Roberta => "lm_head.decoder",
    } => &format!("{}.embeddings.word_embeddings.weight", this.config.model_type.prefix()),
});

impl MaskedLm {
    /// A model with fresh weights.
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        Self {
            base: Encoder::new(config, false, device),
            dense: linear(config.hidden_size, config.hidden_size, config, device),
            norm: layer_norm(config, device),
            bias: Initializer::Zeros.init([config.vocab_size], device),
            config: config.clone(),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// Predicts every token.
    ///
    /// # Shapes
    ///
    /// - output: logits, `[batch, sequence, vocab_size]`
    ///
    /// # Panics
    ///
    /// As [`Encoder::forward`].
    pub fn forward(&self, input: EncoderInput) -> Tensor<3> {
        let [batch, sequence] = input.input_ids.dims();
        let hidden = self.base.forward(input);
        let [_, _, width] = hidden.dims();
        let logits = self.decode(hidden.reshape([batch * sequence, width]));
        let [_, vocabulary] = logits.dims();
        logits.reshape([batch, sequence, vocabulary])
    }

    /// Predicts the tokens at `positions` only: with 15 % of the tokens masked, that saves most
    /// of the product with the vocabulary.
    ///
    /// # Shapes
    ///
    /// - `positions`: `[masked]`, indices into the flattened `[batch · sequence]`
    /// - output: logits, `[masked, vocab_size]`, on the device of the table of tokens
    ///
    /// # Panics
    ///
    /// As [`Encoder::forward`], and if a position is out of range.
    pub fn forward_at(&self, input: EncoderInput, positions: Tensor<1, Int>) -> Tensor<2> {
        let hidden = self.base.forward(input);
        let [batch, sequence, width] = hidden.dims();
        self.decode(
            hidden
                .reshape([batch * sequence, width])
                .select(0, positions),
        )
    }

    fn decode(&self, hidden: Tensor<2>) -> Tensor<2> {
        let activation = match self.config.model_type {
            Architecture::Bert => self.config.hidden_act,
            // RoBERTa's head uses GELU whatever the layers use.
            Architecture::Roberta => Activation::Gelu,
        };
        let hidden = self
            .norm
            .forward(activation.apply(self.dense.forward(hidden)));
        let table = self.base.embeddings.word_embeddings.weight.val();
        let bias = self.bias.val().to_device(&table.device());
        tied_linear(hidden, table) + bias.unsqueeze()
    }
}

/// Extractive question answering: where an answer starts and ends.
///
/// Hugging Face's `BertForQuestionAnswering` and `RobertaForQuestionAnswering`.
#[derive(Clone, Debug)]
pub struct QuestionAnswering {
    /// The encoder, called `bert` or `roberta`.
    pub base: Encoder,
    /// `[hidden_size, 2]`.
    pub qa_outputs: LoraLinear,
    config: BertConfig,
}

named_module!(this: QuestionAnswering {
    base => this.config.model_type.prefix(),
    qa_outputs => "qa_outputs",
} skip { config });

impl QuestionAnswering {
    /// A model with fresh weights.
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        Self {
            base: Encoder::new(config, false, device),
            qa_outputs: linear(config.hidden_size, 2, config, device),
            config: config.clone(),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The logits of an answer's start and end at each position, padding included.
    ///
    /// # Shapes
    ///
    /// - outputs: `[batch, sequence]` each
    ///
    /// # Panics
    ///
    /// As [`Encoder::forward`].
    pub fn forward(&self, input: EncoderInput) -> (Tensor<2>, Tensor<2>) {
        let hidden = self.base.forward(input);
        let [batch, sequence, width] = hidden.dims();
        let columns = self.columns(hidden.reshape([batch * sequence, width]));
        columns
            .map(|logits| logits.reshape([batch, sequence]))
            .into()
    }

    /// The logits of an answer's start and end at each token. Those of padding mean nothing: they are 0
    /// where padding costs nothing, as it does where the backend computes sequences of different lengths
    /// as fast.
    ///
    /// # Shapes
    ///
    /// - outputs: `[batch, sequence]` each
    ///
    /// # Panics
    ///
    /// As [`Encoder::forward`].
    pub fn forward_tokens(&self, input: EncoderInput) -> (Tensor<2>, Tensor<2>) {
        let (hidden, rows) = self.base.forward_rows(input);
        self.columns(hidden)
            .map(|logits| rows.spread(logits))
            .into()
    }

    /// The logits of starts and of ends of each row, `[rows]`.
    fn columns(&self, hidden: Tensor<2>) -> [Tensor<1>; 2] {
        let logits = self.qa_outputs.forward(hidden);
        let [rows, _] = logits.dims();
        [0, 1].map(|i| logits.clone().slice([0..rows, i..i + 1]).reshape([rows]))
    }
}
