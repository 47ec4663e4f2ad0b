//! RoBERTa: some tokens are hidden and are to be found (Devlin et al. 2018, section 3.1).

use std::error::Error;

use burn::tensor::{Device, Tensor};
use lora_models::Tokenizer;
use lora_models::bert::{BertConfig, EncoderInput, MaskedLm};
use lora_models::tokenizer::train_byte_level_bpe;
use rand::RngExt;
use rand::rngs::StdRng;

use super::corpus::{Corpus, vector};
use super::{Arguments, Batch, LanguageModel};

/// Ids below this are special tokens: never masked, never drawn.
const SPECIAL: u32 = 5;
const START: i32 = 0;
const END: i32 = 2;

impl LanguageModel for MaskedLm {
    fn train_tokenizer(
        documents: &[String],
        vocabulary: usize,
    ) -> Result<Tokenizer, Box<dyn Error>> {
        Ok(train_byte_level_bpe(documents.iter(), vocabulary, 2)?)
    }

    fn shape(arguments: &Arguments, tokenizer: &Tokenizer) -> Result<BertConfig, Box<dyn Error>> {
        tokenizer
            .mask_id()
            .ok_or("the tokenizer has no mask token")?;
        Ok(BertConfig {
            vocab_size: tokenizer.vocab_size(),
            hidden_size: arguments.hidden,
            num_hidden_layers: arguments.layers,
            num_attention_heads: arguments.heads,
            intermediate_size: 4 * arguments.hidden,
            max_position_embeddings: arguments.max_len + 2,
            // A model this small underfits: dropout would only slow it down.
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            ..BertConfig::roberta_base()
        })
    }

    /// Documents are separated by `</s>`, without the `<s>` that starts each.
    fn document(mut ids: Vec<u32>, _: &Tokenizer) -> Vec<u32> {
        ids.remove(0);
        ids
    }

    /// 80 % of the chosen tokens are masked, 10 % replaced and 10 % kept.
    fn draw(
        corpus: &Corpus,
        text: &[u32],
        length: usize,
        arguments: &Arguments,
        rng: &mut StdRng,
    ) -> Batch {
        let rows = (arguments.batch_tokens / arguments.parallel / length).max(1);
        let mut ids = Vec::with_capacity(rows * length);
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let start = rng.random_range(0..text.len() - length);
            ids.push(START);
            for &token in &text[start..start + length - 2] {
                let chosen = token >= SPECIAL && rng.random_bool(arguments.mask);
                if !chosen {
                    ids.push(token as i32);
                    continue;
                }
                positions.push(ids.len() as i32);
                targets.push(token as i32);
                ids.push(match (rng.random_range(0..10), corpus.mask) {
                    (1, _) => rng.random_range(SPECIAL..corpus.vocabulary),
                    (2.., Some(mask)) => mask,
                    _ => token,
                } as i32);
            }
            ids.push(END);
        }
        Batch {
            ids,
            shape: [rows, length],
            positions,
            targets,
        }
    }

    fn predict(&self, batch: &Batch, device: &Device) -> Tensor<2> {
        let ids = vector(&batch.ids, device).reshape(batch.shape);
        self.forward_at(EncoderInput::new(ids), vector(&batch.positions, device))
    }
}
