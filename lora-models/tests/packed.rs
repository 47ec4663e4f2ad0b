//! Padding and the positions that no head reads cost nothing, and change nothing.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::activation::tanh;
use burn::tensor::{Int, Tensor};
use lora_core::{LoraConfig, LoraLinear, default_device};
use lora_core_tests::{fill_adapters, redrawn};
use lora_models::SequenceClassifier;
use lora_models::bert::{self, BertConfig, Classifier, EncoderInput};
use lora_models::gpt2::{self, CausalLm, Gpt2Config, Gpt2Input};

const PAD: i64 = 1;

fn bert_config(base: BertConfig) -> BertConfig {
    BertConfig {
        vocab_size: 50,
        hidden_size: 24,
        num_hidden_layers: 3,
        num_attention_heads: 3,
        intermediate_size: 40,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        pad_token_id: PAD as usize,
        ..base
    }
}

fn gpt2_config() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 50,
        n_embd: 24,
        n_layer: 3,
        n_head: 3,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::small()
    }
    .with_pad_token_id(PAD as usize)
}

const SENTENCES: [&[i64]; 4] = [&[5, 9, 2, 30, 7, 11], &[5, 7, 8], &[5], &[5, 31, 12, 40, 3]];

fn ids(rows: &[Vec<i64>]) -> Tensor<2, Int> {
    let width = rows[0].len();
    let values: Vec<i64> = rows.concat();
    Tensor::<1, Int>::from_data(&values[..], &default_device().autodiff())
        .reshape([rows.len(), width])
}

/// The sentences, filled up on the right or on the left, and the mask.
fn padded(left: bool) -> [Tensor<2, Int>; 2] {
    let longest = SENTENCES.iter().map(|s| s.len()).max().unwrap();
    let fill = |sentence: &[i64], value: i64| {
        let padding = vec![value; longest - sentence.len()];
        match left {
            true => [padding, sentence.to_vec()].concat(),
            false => [sentence.to_vec(), padding].concat(),
        }
    };
    let tokens: Vec<_> = SENTENCES.iter().map(|s| fill(s, PAD)).collect();
    let mask: Vec<_> = SENTENCES
        .iter()
        .map(|s| fill(&vec![1; s.len()], 0))
        .collect();
    [ids(&tokens), ids(&mask)]
}

fn batch(left: bool) -> EncoderInput {
    let [input_ids, mask] = padded(left);
    EncoderInput {
        attention_mask: Some(mask),
        ..EncoderInput::new(input_ids)
    }
}

fn alone(sentence: &[i64]) -> EncoderInput {
    EncoderInput::new(ids(&[sentence.to_vec()]))
}

#[track_caller]
fn near<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>) {
    let largest = expected.clone().abs().max().into_scalar::<f32>().max(1.0);
    let difference = (found.clone() - expected.clone())
        .abs()
        .max()
        .into_scalar::<f32>();
    assert!(difference <= 1e-5 * largest, "{difference} of {largest}");
}

/// All gradients of the sum of the logits' squares, one after the other.
fn gradients<M: Module>(model: &M, logits: impl Fn(&M) -> Vec<Tensor<2>>) -> Vec<Tensor<1>> {
    let squares = logits(model)
        .into_iter()
        .map(|logits| logits.powi_scalar(2).sum());
    let loss = squares.reduce(|a, b| a + b).unwrap();
    let gradients = GradientsParams::from_grads(loss.backward(), model);
    struct Collect<'a>(&'a GradientsParams, Vec<Tensor<1>>);
    impl burn::module::ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                let count = gradient.shape().num_elements();
                self.1.push(gradient.reshape([count]));
            }
        }
    }
    let mut collect = Collect(&gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}

fn check<M: SequenceClassifier>(model: M, targets: &[&str], left: bool) {
    let lora = LoraConfig::new()
        .with_r(3)
        .with_target_modules(targets.iter().map(|t| t.to_string()).collect::<Vec<_>>());
    let model = redrawn(model, 0.3);
    let adapted = lora.inject(model.clone().set_require_grad(true));
    let adapted = fill_adapters(adapted.unwrap());
    for model in [adapted, model.set_require_grad(true)] {
        let logits = model.logits(batch(left));
        for (row, sentence) in SENTENCES.iter().enumerate() {
            let [_, labels] = logits.dims();
            let found = logits.clone().slice([row..row + 1, 0..labels]);
            near(&found, &model.logits(alone(sentence)));
        }
        let found = gradients(&model, |model| vec![model.logits(batch(left))]);
        let expected = gradients(&model, |model| {
            SENTENCES.iter().map(|s| model.logits(alone(s))).collect()
        });
        assert!(found.len() == expected.len() && !found.is_empty());
        for (found, expected) in found.iter().zip(&expected) {
            near(found, expected);
        }
    }
}

#[test]
fn a_padded_batch_of_bert_is_its_sentences_alone() {
    let device = default_device().autodiff();
    for config in [BertConfig::roberta_base(), BertConfig::bert_base()] {
        let config = bert_config(config);
        let model = bert::SequenceClassification::new(&config, &device);
        check(model, &["query", "value", "dense"], false);
    }
}

/// The logits of starts and ends of the tokens, one sentence after the other.
fn of_tokens(model: &bert::QuestionAnswering, input: EncoderInput, left: bool) -> Tensor<2> {
    let (starts, ends) = model.forward_tokens(input);
    let [_, width] = starts.dims();
    let rows = (0..starts.dims()[0]).flat_map(|row| {
        let length = SENTENCES.map(<[i64]>::len)[row].min(width);
        let columns = if left {
            width - length..width
        } else {
            0..length
        };
        [&starts, &ends].map(|logits| {
            let row = logits.clone().slice([row..row + 1, columns.clone()]);
            row.reshape([length, 1])
        })
    });
    Tensor::cat(rows.collect(), 0)
}

#[test]
fn a_padded_batch_of_questions_is_its_questions_alone() {
    // BERT counts positions from the left, padding or not.
    let bases = [
        (BertConfig::bert_base(), &[false][..]),
        (BertConfig::roberta_base(), &[false, true]),
    ];
    for (base, sides) in bases {
        let config = bert_config(base);
        let device = default_device().autodiff();
        let model = redrawn(bert::QuestionAnswering::new(&config, &device), 0.3);
        let model = model.set_require_grad(true);
        for &left in sides {
            let together = |m: &bert::QuestionAnswering| vec![of_tokens(m, batch(left), left)];
            let each = |m: &bert::QuestionAnswering| {
                let logits = SENTENCES.map(|sentence| {
                    let (starts, ends) = m.forward(alone(sentence));
                    Tensor::cat(vec![starts, ends], 1).transpose()
                });
                vec![Tensor::cat(logits.to_vec(), 0)]
            };
            near(&together(&model)[0], &each(&model)[0]);
            let found = gradients(&model, together);
            let expected = gradients(&model, each);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                near(found, expected);
            }
            // Padding is not computed.
            let [_, mask] = padded(left);
            let (starts, _) = model.forward_tokens(batch(left));
            let padding = starts.mask_fill(mask.equal_elem(1), 0.0);
            assert_eq!(padding.abs().max().into_scalar::<f32>(), 0.0);
        }
    }
}

#[test]
fn a_padded_batch_of_gpt2_is_its_sentences_alone() {
    let model = gpt2::SequenceClassification::new(&gpt2_config(), &default_device().autodiff());
    check(model, &["c_attn", "c_proj"], false);
}

/// What the head makes of the first token's state, all states of the last layer computed.
fn through_all_states(model: &bert::SequenceClassification, input: EncoderInput) -> Tensor<2> {
    let hidden = model.base.forward(input);
    let [batch, _, width] = hidden.dims();
    let first = hidden.slice([0..batch, 0..1]).reshape([batch, width]);
    let dense = |layer: &LoraLinear, x| tanh(layer.forward(x));
    match &model.classifier {
        Classifier::Linear(output) => {
            let pooler = model.base.pooler.as_ref().unwrap();
            output.forward(dense(&pooler.dense, first))
        }
        Classifier::Roberta(head) => head.out_proj.forward(dense(&head.dense, first)),
    }
}

#[test]
fn the_last_layer_of_bert_may_compute_the_first_token_alone() {
    let device = default_device().autodiff();
    for config in [BertConfig::roberta_base(), BertConfig::bert_base()] {
        let model = bert::SequenceClassification::new(&bert_config(config), &device);
        let model = redrawn(model, 0.3);
        for left in [false, true] {
            near(
                &model.forward(batch(left)),
                &through_all_states(&model, batch(left)),
            );
        }
        // A sentence of which everything is masked is computed all the same.
        let mut input = batch(false);
        let [rows, width] = input.input_ids.dims();
        let nothing = Tensor::zeros([1, width], &device);
        let mask = input
            .attention_mask
            .unwrap()
            .slice_assign([1..2, 0..width], nothing);
        input.attention_mask = Some(mask);
        let logits = model.forward(input.clone());
        assert_eq!(logits.dims(), [rows, 2]);
        near(&logits, &through_all_states(&model, input));
    }
}

#[test]
fn gpt2s_logits_at_positions_are_those_of_all_positions() {
    let model = CausalLm::new(&gpt2_config(), &default_device().autodiff());
    let model = redrawn(model, 0.3);
    for left in [false, true] {
        let [input_ids, mask] = padded(left);
        let [rows, width] = input_ids.dims();
        let input = Gpt2Input {
            attention_mask: Some(mask.clone()),
            ..Gpt2Input::new(input_ids)
        };
        let all = model.forward(input.clone(), None);
        let [_, _, vocabulary] = all.dims();
        let all = all.reshape([rows * width, vocabulary]);
        let real: Vec<i64> = mask.into_data().iter::<i64>().collect();
        let real = real.iter().zip(0i64..).filter(|(real, _)| **real != 0);
        let real: Vec<i64> = real.map(|(_, place)| place).collect();
        let everywhere: Vec<i64> = (0..(rows * width) as i64).collect();
        for places in [real, everywhere] {
            let places = Tensor::<1, Int>::from_data(&places[..], &all.device());
            let found = model.forward_at(input.clone(), places.clone(), None);
            near(&found, &all.clone().select(0, places));
        }
    }
}
