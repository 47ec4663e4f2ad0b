//! The text to train on.

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_models::Tokenizer;

use super::{HELD_OUT, LanguageModel};

/// The documents of text files, one a line.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut documents = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        documents.extend(lines.map(String::from));
    }
    Ok(documents)
}

/// The tokens of all documents, one after the other.
pub(crate) struct Corpus {
    pub(crate) train: Vec<u32>,
    pub(crate) held_out: Vec<u32>,
    /// The id that hides a token, if the tokenizer has one.
    pub(crate) mask: Option<u32>,
    pub(crate) vocabulary: u32,
}

impl Corpus {
    pub(crate) fn new<M: LanguageModel>(
        tokenizer: &Tokenizer,
        documents: &[String],
    ) -> Result<Self, Box<dyn Error>> {
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (first, chunk) in (0..).step_by(1024).zip(documents.chunks(1024)) {
            let encodings = tokenizer.encode_batch(chunk, usize::MAX)?;
            for (i, encoding) in encodings.into_iter().enumerate() {
                let side = match (first + i) % HELD_OUT {
                    0 => &mut held_out,
                    _ => &mut train,
                };
                side.extend(M::document(encoding.ids, tokenizer));
            }
        }
        Ok(Self {
            train,
            held_out,
            mask: tokenizer.mask_id(),
            vocabulary: tokenizer.vocab_size() as u32,
        })
    }
}

/// `[values]`.
pub(crate) fn vector(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}
