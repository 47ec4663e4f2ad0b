//! What the unit tests share.

use std::io::Write;
use std::sync::{Arc, Mutex};

use lora_models::Tokenizer;
use lora_models::bert::BertConfig;
use lora_models::tokenizer::train_byte_level_bpe;

use crate::data::{Example, Label};

/// A RoBERTa that trains in no time; its longest sequence is 32 tokens.
pub(crate) fn tiny_config() -> BertConfig {
    BertConfig {
        vocab_size: 300,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 34,
        ..BertConfig::roberta_base()
    }
}

/// A tokenizer that fits [`tiny_config`].
pub(crate) fn tokenizer() -> Tokenizer {
    let texts = [
        "a good film",
        "a bad film",
        "the plot of this film is good and bad and dull",
    ];
    train_byte_level_bpe(texts.into_iter(), 300, 1).unwrap()
}

pub(crate) fn example(text: &str, class: usize) -> Example {
    Example {
        text: text.to_string(),
        pair: None,
        label: Label::Class(class),
    }
}

/// An output whose clones write to the same place.
#[derive(Clone, Default)]
pub(crate) struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl SharedOutput {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
