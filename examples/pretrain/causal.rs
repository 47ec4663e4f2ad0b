//! GPT-2: every token is to be found from those before it.

use std::error::Error;

use burn::tensor::{Device, Tensor};
use lora_models::Tokenizer;
use lora_models::gpt2::{CausalLm, Gpt2Config, Gpt2Input};
use lora_models::tokenizer::train_gpt2_bpe;
use rand::RngExt;
use rand::rngs::StdRng;

use super::corpus::{Corpus, vector};
use super::{Arguments, Batch, LanguageModel};

impl LanguageModel for CausalLm {
    fn train_tokenizer(
        documents: &[String],
        vocabulary: usize,
    ) -> Result<Tokenizer, Box<dyn Error>> {
        Ok(train_gpt2_bpe(documents.iter(), vocabulary, 2)?)
    }

    fn shape(arguments: &Arguments, tokenizer: &Tokenizer) -> Result<Gpt2Config, Box<dyn Error>> {
        let end = tokenizer.eos_id().ok_or("the tokenizer has no end token")? as usize;
        Ok(Gpt2Config {
            vocab_size: tokenizer.vocab_size(),
            n_positions: arguments.max_len,
            n_embd: arguments.hidden,
            n_layer: arguments.layers,
            n_head: arguments.heads,
            // A model this small underfits: dropout would only slow it down.
            resid_pdrop: 0.0,
            embd_pdrop: 0.0,
            attn_pdrop: 0.0,
            bos_token_id: end,
            eos_token_id: end,
            ..Gpt2Config::small()
        })
    }

    /// Documents are separated by `<|endoftext|>`.
    fn document(mut ids: Vec<u32>, tokenizer: &Tokenizer) -> Vec<u32> {
        ids.extend(tokenizer.eos_id());
        ids
    }

    fn draw(
        _: &Corpus,
        text: &[u32],
        length: usize,
        arguments: &Arguments,
        rng: &mut StdRng,
    ) -> Batch {
        let rows = (arguments.batch_tokens / arguments.parallel / length).max(1);
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let start = rng.random_range(0..text.len() - length);
            let token = |id: &u32| *id as i32;
            ids.extend(text[start..start + length].iter().map(token));
            targets.extend(text[start + 1..=start + length].iter().map(token));
        }
        Batch {
            positions: (0..ids.len() as i32).collect(),
            ids,
            shape: [rows, length],
            targets,
        }
    }

    fn predict(&self, batch: &Batch, device: &Device) -> Tensor<2> {
        let ids = vector(&batch.ids, device).reshape(batch.shape);
        let logits = self.forward(Gpt2Input::new(ids), None);
        let [rows, length, vocabulary] = logits.dims();
        logits.reshape([rows * length, vocabulary])
    }
}
