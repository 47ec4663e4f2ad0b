//! What the sequence classifiers of all architectures have in common.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use crate::bert::{self, BertConfig, EncoderInput};
use crate::gpt2::{self, Gpt2Config, Gpt2Input};
use crate::pretrained::{PretrainedConfig, PretrainedModel};

/// What a task has to know of a text model's configuration.
pub trait TextConfig: PretrainedConfig {
    /// The number of tokens.
    fn vocab_size(&self) -> usize;

    /// The number of segments; `None` if the model reads none.
    fn segments(&self) -> Option<usize>;

    /// The longest sequence, special tokens included.
    fn max_tokens(&self) -> usize;

    /// The id that pads a batch, if there is one.
    fn pad_token_id(&self) -> Option<usize>;

    /// The label of each class; one label is regression.
    fn id2label(&self) -> &BTreeMap<usize, String>;

    /// The modules PEFT adapts when a configuration names none.
    fn default_target_modules(&self) -> Vec<String>;
}

/// A model that sorts texts into classes, whatever its architecture.
pub trait SequenceClassifier: PretrainedModel<Config: TextConfig> {
    /// The logits of each class. A model without segments ignores `token_type_ids`; GPT-2 pools at
    /// the last token that the mask has, even if it is the padding token.
    ///
    /// # Shapes
    ///
    /// - `input`: `[batch, sequence]`; without a mask, nothing is padding
    /// - output: `[batch, num_labels]`
    ///
    /// # Panics
    ///
    /// Panics if a sequence is longer than the model's positions or an id is out of range, as every
    /// Burn lookup does.
    fn logits(&self, input: EncoderInput) -> Tensor<2>;

    /// Switches the gradients of everything but the head on or off.
    fn set_base_require_grad(self, require_grad: bool) -> Self;
}

impl TextConfig for BertConfig {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn segments(&self) -> Option<usize> {
        Some(self.type_vocab_size)
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens()
    }

    fn pad_token_id(&self) -> Option<usize> {
        Some(self.pad_token_id)
    }

    fn id2label(&self) -> &BTreeMap<usize, String> {
        &self.id2label
    }

    fn default_target_modules(&self) -> Vec<String> {
        self.model_type
            .default_target_modules()
            .map(String::from)
            .into()
    }
}

impl SequenceClassifier for bert::SequenceClassification {
    fn logits(&self, input: EncoderInput) -> Tensor<2> {
        self.forward(input)
    }

    /// BERT's pooler belongs to the head: it only serves the classifier, and many checkpoints lack
    /// it.
    fn set_base_require_grad(mut self, require_grad: bool) -> Self {
        self.base.embeddings = self.base.embeddings.set_require_grad(require_grad);
        self.base.encoder = self.base.encoder.set_require_grad(require_grad);
        self
    }
}

impl TextConfig for Gpt2Config {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn segments(&self) -> Option<usize> {
        None
    }

    fn max_tokens(&self) -> usize {
        self.n_positions
    }

    fn pad_token_id(&self) -> Option<usize> {
        self.pad_token_id
    }

    fn id2label(&self) -> &BTreeMap<usize, String> {
        &self.id2label
    }

    fn default_target_modules(&self) -> Vec<String> {
        self.default_target_modules().map(String::from).into()
    }
}

impl SequenceClassifier for gpt2::SequenceClassification {
    fn logits(&self, input: EncoderInput) -> Tensor<2> {
        let [batch, sequence] = input.input_ids.dims();
        let real = match &input.attention_mask {
            Some(mask) => mask.clone(),
            None => Tensor::<2, Int>::ones([batch, sequence], &input.input_ids.device()),
        };
        let input = Gpt2Input {
            input_ids: input.input_ids,
            attention_mask: Some(real.clone()),
            position_ids: None,
        };
        self.forward_real(input, real.bool())
    }

    fn set_base_require_grad(mut self, require_grad: bool) -> Self {
        self.transformer = self.transformer.set_require_grad(require_grad);
        self
    }
}
