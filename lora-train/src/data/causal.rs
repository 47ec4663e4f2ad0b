//! Texts for language models that predict the next token.

use std::path::Path;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use indexmap::IndexMap;
use lora_models::gpt2::{Gpt2Config, Gpt2Input};
use lora_models::{TextConfig, Tokenizer};

use super::TokenizedDataset;
use super::encode::embeddable;
use crate::TrainError;

/// A text as token ids, of which the first few are given and the others are to be predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CausalExample {
    ids: Vec<i32>,
    prompt: usize,
}

impl CausalExample {
    /// Token ids, the first `prompt` of which are given.
    ///
    /// # Errors
    ///
    /// [`TrainError::CausalExample`] unless at least one is given and one is not.
    pub fn new(ids: Vec<i32>, prompt: usize) -> Result<Self, TrainError> {
        match (1..ids.len()).contains(&prompt) {
            true => Ok(Self { ids, prompt }),
            false => Err(TrainError::CausalExample {
                tokens: ids.len(),
                prompt,
            }),
        }
    }

    /// All tokens.
    pub fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// How many of them are given.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// How many of them are to be predicted.
    pub fn predicted(&self) -> usize {
        self.ids.len() - self.prompt
    }
}

/// What is said, and what is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptResponse {
    /// What is given.
    pub prompt: String,
    /// What is to be predicted.
    pub response: String,
}

/// Examples side by side.
#[derive(Debug, Clone)]
pub struct CausalBatch {
    /// What the model reads, `[batch, sequence]`. Padding is at the end, where no token that counts
    /// can see it, so that there is no mask.
    pub input: Gpt2Input,
    /// The places whose next token is predicted, as indices into the flattened input, `[tokens]`.
    pub positions: Tensor<1, Int>,
    /// Those next tokens, `[tokens]`.
    pub targets: Tensor<1, Int>,
}

/// Makes batches that are as long as their longest example.
#[derive(Debug, Clone, Copy)]
pub struct CausalBatcher;

impl CausalBatcher {
    pub(crate) fn make(examples: &[&CausalExample], device: &Device) -> CausalBatch {
        // The last token of an example is only ever a target.
        let inputs = examples.iter().map(|example| example.ids.len() - 1);
        let length = inputs.max().unwrap_or_default();
        let mut ids = Vec::with_capacity(examples.len() * length);
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for (row, example) in examples.iter().enumerate() {
            let start = row * length;
            for at in example.prompt..example.ids.len() {
                positions.push((start + at - 1) as i32);
                targets.push(example.ids[at]);
            }
            ids.extend_from_slice(&example.ids[..example.ids.len() - 1]);
            ids.resize(start + length, 0);
        }
        let vector = |values: Vec<i32>| {
            let count = values.len();
            Tensor::from_data(TensorData::new(values, [count]), device)
        };
        let ids = TensorData::new(ids, [examples.len(), length]);
        CausalBatch {
            input: Gpt2Input::new(Tensor::from_data(ids, device)),
            positions: vector(positions),
            targets: vector(targets),
        }
    }
}

impl Batcher<CausalExample, CausalBatch> for CausalBatcher {
    fn batch(&self, items: Vec<CausalExample>, device: &Device) -> CausalBatch {
        let examples: Vec<&CausalExample> = items.iter().collect();
        Self::make(&examples, device)
    }
}

impl TokenizedDataset<CausalExample> {
    /// Texts one after the other, each followed by the model's end token, cut into blocks of
    /// `block_len` tokens: as Hugging Face's `run_clm.py`, which puts no end token there. Every token
    /// but a block's first is predicted. What is left over at the end is dropped, unless it is all
    /// there is.
    ///
    /// # Errors
    ///
    /// [`TrainError::MaxLen`] if the model has fewer positions, [`TrainError::Setting`] for a block
    /// of fewer than two tokens, [`TrainError::TokenizerMismatch`], [`TrainError::Tokenizer`],
    /// [`TrainError::Empty`].
    pub fn blocks<S: AsRef<str> + Sync>(
        texts: &[S],
        tokenizer: &Tokenizer,
        config: &Gpt2Config,
        block_len: usize,
    ) -> Result<Self, TrainError> {
        check_length("block_len", block_len, config)?;
        let [_, end] = marks(config)?;
        let mut ids = Vec::new();
        for (text, encoding) in texts.iter().zip(tokenizer.encode_batch(texts, usize::MAX)?) {
            ids.extend(embeddable(
                encoding.ids,
                "token",
                config.vocab_size,
                text.as_ref(),
            )?);
            ids.push(end as i32);
        }
        let block = |ids: &[i32]| CausalExample::new(ids.to_vec(), 1);
        let mut blocks: Vec<_> = ids.chunks_exact(block_len).map(block).collect();
        if blocks.is_empty() && !ids.is_empty() {
            blocks.push(block(&ids));
        }
        Self::new(blocks.into_iter().collect::<Result<_, _>>()?)
    }

    /// Prompts with their responses, as the LoRA paper's GPT-2 experiments have them: the prompt,
    /// the model's start token, a space and the response, the end token. The loss is on the response
    /// and the end token only. A response that is too long is cut.
    ///
    /// # Errors
    ///
    /// [`TrainError::Prompt`] if a prompt leaves no room for a response; the rest as
    /// [`blocks`](Self::blocks).
    pub fn pairs(
        pairs: &[PromptResponse],
        tokenizer: &Tokenizer,
        config: &Gpt2Config,
        max_len: usize,
    ) -> Result<Self, TrainError> {
        check_length("max_len", max_len, config)?;
        let [_, end] = marks(config)?;
        let prompts: Vec<&str> = pairs.iter().map(|pair| pair.prompt.as_str()).collect();
        let prompts = encode_prompts(&prompts, tokenizer, config)?;
        let responses: Vec<String> = pairs
            .iter()
            .map(|pair| format!(" {}", pair.response.trim()))
            .collect();
        let responses = tokenizer.encode_batch(&responses, usize::MAX)?;
        let mut examples = Vec::with_capacity(pairs.len());
        for (pair, (given, response)) in pairs.iter().zip(prompts.into_iter().zip(responses)) {
            let mut ids: Vec<i32> = given.into_iter().map(|id| id as i32).collect();
            let prompt = ids.len();
            if prompt >= max_len {
                return Err(TrainError::Prompt {
                    text: pair.prompt.clone(),
                    tokens: prompt,
                    max_len,
                });
            }
            let text = &pair.response;
            ids.extend(embeddable(response.ids, "token", config.vocab_size, text)?);
            ids.push(end as i32);
            ids.truncate(max_len);
            examples.push(CausalExample::new(ids, prompt)?);
        }
        Self::new(examples)
    }
}

/// What a model that was trained on [`pairs`](TokenizedDataset::pairs) is given to answer: each
/// prompt with the start token behind it.
///
/// # Errors
///
/// [`TrainError::TokenizerMismatch`], [`TrainError::Tokenizer`].
pub fn encode_prompts(
    prompts: &[&str],
    tokenizer: &Tokenizer,
    config: &Gpt2Config,
) -> Result<Vec<Vec<u32>>, TrainError> {
    let [start, _] = marks(config)?;
    let encodings = tokenizer.encode_batch(prompts, usize::MAX)?;
    let mut encoded = Vec::with_capacity(prompts.len());
    for (mut encoding, text) in encodings.into_iter().zip(prompts) {
        embeddable(encoding.ids.clone(), "token", config.vocab_size, text)?;
        encoding.ids.push(start);
        encoded.push(encoding.ids);
    }
    Ok(encoded)
}

/// Each prompt once, in the order they first come, with all its responses: what generated text is
/// compared with.
pub fn group_by_prompt(pairs: &[PromptResponse]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut groups: IndexMap<&str, Vec<String>> = IndexMap::new();
    for pair in pairs {
        let responses = groups.entry(&pair.prompt).or_default();
        responses.push(pair.response.clone());
    }
    let owned = |(prompt, responses): (&str, Vec<String>)| (prompt.to_string(), responses);
    groups.into_iter().map(owned).unzip()
}

/// Reads the E2E challenge's `mr||reference` lines.
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Line`] for a line without `||`, with an empty side, or that is
/// not UTF-8; [`TrainError::Empty`].
pub fn read_e2e(path: &Path) -> Result<Vec<PromptResponse>, TrainError> {
    let bytes = std::fs::read(path).map_err(|e| TrainError::io("read", path, e))?;
    let mut pairs = Vec::new();
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let error = |message: &str| TrainError::Line {
            path: path.to_path_buf(),
            line,
            message: message.to_string(),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| error("it is not UTF-8 text"))?;
        if text.trim().is_empty() {
            continue;
        }
        let (prompt, response) = text
            .split_once("||")
            .ok_or_else(|| error("it has no `||` between the record and its sentence"))?;
        let (prompt, response) = (prompt.trim(), response.trim());
        if prompt.is_empty() || response.is_empty() {
            return Err(error("it has nothing on one side of its `||`"));
        }
        pairs.push(PromptResponse {
            prompt: prompt.to_string(),
            response: response.to_string(),
        });
    }
    match pairs.is_empty() {
        true => Err(TrainError::Empty {
            place: path.display().to_string(),
        }),
        false => Ok(pairs),
    }
}

/// The tokens that start and end a text, which the model has embeddings for.
fn marks(config: &Gpt2Config) -> Result<[u32; 2], TrainError> {
    let ids = [config.bos_token_id, config.eos_token_id];
    let names = ["`bos_token_id`", "`eos_token_id`"];
    for (id, name) in ids.into_iter().zip(names) {
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        embeddable(vec![id], "token", config.vocab_size, name)?;
    }
    Ok(ids.map(|id| id as u32))
}

fn check_length(field: &'static str, length: usize, config: &Gpt2Config) -> Result<(), TrainError> {
    if length < 2 {
        return Err(TrainError::Setting {
            field,
            value: length.to_string(),
            expected: "at least 2: one token to see and one to predict",
        });
    }
    match length > config.max_tokens() {
        true => Err(TrainError::MaxLen {
            max_len: length,
            max_tokens: config.max_tokens(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lora_core::default_device;
    use lora_models::tokenizer::train_gpt2_bpe;

    fn tokenizer() -> Tokenizer {
        let texts = ["name : The Mill", "The Mill is a pub."];
        train_gpt2_bpe(texts.into_iter(), 270, 1).unwrap()
    }

    fn config() -> Gpt2Config {
        Gpt2Config {
            vocab_size: 270,
            n_positions: 40,
            bos_token_id: 0,
            eos_token_id: 0,
            ..Gpt2Config::small()
        }
    }

    fn ids(text: &str) -> Vec<i32> {
        let encoding = tokenizer().encode(text, None, 1000).unwrap();
        encoding.ids.into_iter().map(|id| id as i32).collect()
    }

    fn pair(prompt: &str, response: &str) -> PromptResponse {
        PromptResponse {
            prompt: prompt.to_string(),
            response: response.to_string(),
        }
    }

    fn file(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        file
    }

    #[test]
    fn blocks_cut_the_texts_laid_end_to_end() {
        let texts = ["The Mill", "is a pub."];
        let all = [ids(texts[0]), vec![0], ids(texts[1]), vec![0]].concat();
        let data = TokenizedDataset::blocks(&texts, &tokenizer(), &config(), 4).unwrap();
        assert_eq!(data.examples().len(), all.len() / 4);
        for (block, expected) in data.examples().iter().zip(all.chunks(4)) {
            assert_eq!((block.ids(), block.prompt()), (expected, 1));
        }
        let whole = TokenizedDataset::blocks(&texts, &tokenizer(), &config(), 40).unwrap();
        assert_eq!(whole.examples()[0].ids, all);
    }

    #[test]
    fn a_pair_is_prompt_start_response_end() {
        let pairs = [pair("name : The Mill", "The Mill is a pub. ")];
        let data = TokenizedDataset::pairs(&pairs, &tokenizer(), &config(), 40).unwrap();
        let prompt = [ids("name : The Mill"), vec![0]].concat();
        let expected = [prompt.clone(), ids(" The Mill is a pub."), vec![0]].concat();
        let example = &data.examples()[0];
        assert_eq!((&example.ids, example.prompt), (&expected, prompt.len()));
        let given = encode_prompts(&["name : The Mill"], &tokenizer(), &config()).unwrap();
        let given: Vec<i32> = given[0].iter().map(|id| *id as i32).collect();
        assert_eq!(given, prompt);
        let room = prompt.len() + 2;
        let short = TokenizedDataset::pairs(&pairs, &tokenizer(), &config(), room).unwrap();
        assert_eq!(short.examples()[0].ids, expected[..room]);
    }

    #[test]
    fn a_batch_predicts_the_responses_only() {
        let example = |ids: &[i32], prompt| CausalExample::new(ids.to_vec(), prompt).unwrap();
        let items = vec![example(&[5, 6, 7, 8, 9], 3), example(&[1, 2], 1)];
        let batch = CausalBatcher.batch(items, &default_device());
        let values = |data: TensorData| data.iter::<i64>().collect::<Vec<_>>();
        assert_eq!(
            values(batch.input.input_ids.into_data()),
            [5, 6, 7, 8, 1, 0, 0, 0]
        );
        assert_eq!(values(batch.positions.into_data()), [2, 3, 4]);
        assert_eq!(values(batch.targets.into_data()), [8, 9, 2]);
    }

    #[test]
    fn what_cannot_be_used_is_an_error() {
        let (tokenizer, config) = (tokenizer(), config());
        let pairs = |prompt: &str, max_len| {
            TokenizedDataset::pairs(&[pair(prompt, "a pub")], &tokenizer, &config, max_len)
                .unwrap_err()
                .to_string()
        };
        let message = pairs("name : The Mill", 3);
        assert!(
            message.starts_with("the prompt \"name : The Mill\" has "),
            "{message}"
        );
        assert!(pairs("a", 1).contains("`max_len` is 1, expected at least 2"));
        assert!(pairs("a", 41).contains("41 tokens is more than the model's 40 positions"));
        let small = Gpt2Config {
            vocab_size: 9,
            ..config.clone()
        };
        let error = TokenizedDataset::blocks(&["pub"], &tokenizer, &small, 4).unwrap_err();
        assert!(error.to_string().contains("does not fit"), "{error}");
        let far = Gpt2Config {
            eos_token_id: 270,
            ..config.clone()
        };
        let error = TokenizedDataset::blocks(&["pub"], &tokenizer, &far, 4).unwrap_err();
        assert!(error.to_string().contains("`eos_token_id`"), "{error}");
        for (ids, prompt) in [(vec![], 0), (vec![1, 2], 0), (vec![1, 2], 2)] {
            let error = CausalExample::new(ids, prompt).unwrap_err();
            assert!(matches!(error, TrainError::CausalExample { .. }), "{error}");
        }
        let none: [&str; 0] = [];
        let error = TokenizedDataset::blocks(&none, &tokenizer, &config, 4).unwrap_err();
        assert!(matches!(error, TrainError::Empty { .. }), "{error}");
    }

    #[test]
    fn responses_are_grouped_by_prompt() {
        let pairs = [pair("a", "1"), pair("b", "2"), pair("a", "3")];
        let (prompts, responses) = group_by_prompt(&pairs);
        assert_eq!(prompts, ["a", "b"]);
        assert_eq!(responses, [vec!["1", "3"], vec!["2"]]);
    }

    #[test]
    fn e2e_lines_are_read_and_bad_ones_named() {
        let good = file(b"name : A || It is A. \n\narea : b||There.\n");
        let expected = [pair("name : A", "It is A."), pair("area : b", "There.")];
        assert_eq!(read_e2e(good.path()).unwrap(), expected);
        let message = |contents: &[u8]| read_e2e(file(contents).path()).unwrap_err().to_string();
        assert!(message(b"a||b\nc|d\n").contains("line 2: it has no `||`"));
        assert!(message(b"||b\n").contains("line 1: it has nothing on one side"));
        assert!(message(b"a||\xff\n").contains("line 1: it is not UTF-8"));
        assert!(message(b"\n").contains("has no examples"));
        let missing = read_e2e(Path::new("/no/such/e2e.txt"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.starts_with("cannot read /no/such/e2e.txt"),
            "{missing}"
        );
    }
}
