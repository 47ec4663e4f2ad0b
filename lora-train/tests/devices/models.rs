//! Models with adapters: what they say, their gradients, steps, merging, files and text.

use std::sync::OnceLock;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use lora_core::quantization::{QuantizationConfig, WeightFormat};
use lora_core::state::{parameters, state};
use lora_core::{DEFAULT_ADAPTER, LoraConfig, LoraModule};
use lora_core_tests::{fill_adapters, redrawn};
use lora_models::SequenceClassifier;
use lora_models::bert::{BertConfig, EncoderInput, SequenceClassification};
use lora_models::generation::GenerationConfig;
use lora_models::gpt2::{CausalLm, Gpt2Config, Gpt2Input};
use lora_train::loss::cross_entropy;

use crate::compare::{Named, assert_near, ids, reference, tested};

fn bert(base: BertConfig) -> SequenceClassification {
    let config = BertConfig {
        vocab_size: 60,
        hidden_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 40,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..base
    };
    let model = SequenceClassification::new(&config, &reference());
    redrawn(model, 0.3)
}

fn gpt2_config() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 60,
        n_embd: 24,
        n_layer: 2,
        n_head: 3,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::small()
    }
}

fn gpt2() -> CausalLm {
    // Tests run side by side: one of them draws it.
    static MODEL: OnceLock<CausalLm> = OnceLock::new();
    let model = MODEL.get_or_init(|| redrawn(CausalLm::new(&gpt2_config(), &reference()), 0.3));
    model.clone()
}

/// Adapters on every linear layer, whose `B` is not 0.
fn adapted<M: Module>(model: M) -> M {
    let config = LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(8.0)
        .with_target_modules("all-linear");
    fill_adapters(config.inject(model).unwrap())
}

/// The gradients of `module`, with the names of its parameters.
pub fn gradients<M: Module>(module: &M, gradients: &GradientsParams) -> Named {
    struct Collect<'a>(&'a GradientsParams, Vec<Option<TensorData>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id);
            self.1.push(gradient.map(Tensor::into_data));
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    module.visit(&mut collect);
    let names = parameters(module).into_iter().map(|info| info.path);
    let found = names.zip(collect.1);
    found
        .filter_map(|(name, data)| Some((name, data?)))
        .collect()
}

fn bert_logits(model: &SequenceClassification, device: &Device) -> Tensor<2> {
    let mut mask = vec![1; 4 * 7];
    mask[5] = 0;
    mask[6] = 0;
    let mask = TensorData::new(mask, [4, 7]);
    model.logits(EncoderInput {
        attention_mask: Some(Tensor::from_data(mask, device)),
        ..EncoderInput::new(ids([4, 7], 60, device))
    })
}

fn gpt2_logits(model: &CausalLm, device: &Device) -> Tensor<2> {
    let logits = model.forward(Gpt2Input::new(ids([3, 6], 60, device)), None);
    logits.reshape([18, 60])
}

/// Logits, loss, gradients, five steps, and what the merged model says.
fn everything<M: Module + LoraModule>(
    mut model: M,
    classes: usize,
    device: &Device,
    logits: impl Fn(&M, &Device) -> Tensor<2>,
) -> Named {
    let mut named = Vec::new();
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    for step in 0..5 {
        let output = logits(&model, device);
        let [rows, _] = output.dims();
        let loss = cross_entropy(output.clone(), ids([rows], classes, device), None);
        named.push((format!("loss {step}"), loss.clone().into_data()));
        let found = GradientsParams::from_grads(loss.backward(), &model);
        if step == 0 {
            named.push(("logits".into(), output.into_data()));
            named.extend(gradients(&model, &found));
        }
        model = optimizer.step(1e-2, model, found);
    }
    named.extend(state(&model, |info| info.trainable));
    let merged = model.merge_and_unload().unwrap();
    named.push(("merged".into(), logits(&merged, device).into_data()));
    named
}

fn assert_same<M: Module + LoraModule>(
    model: M,
    classes: usize,
    logits: impl Fn(&M, &Device) -> Tensor<2> + Copy,
) {
    let model = adapted(model);
    let expected = everything(model.clone(), classes, &reference(), logits);
    let found = everything(model.fork(&tested()), classes, &tested(), logits);
    assert_eq!(found.len(), expected.len());
    assert!(
        expected.len() > 20,
        "gradients and parameters are among them"
    );
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert_near(name, found, expected);
    }
}

#[test]
fn bert_is_the_same() {
    assert_same(bert(BertConfig::bert_base()), 2, bert_logits);
}

#[test]
fn roberta_is_the_same() {
    assert_same(bert(BertConfig::roberta_base()), 2, bert_logits);
}

#[test]
fn bases_in_few_bits_are_the_same() {
    for format in [
        WeightFormat::Nf4,
        WeightFormat::Fp4,
        WeightFormat::Int8,
        WeightFormat::Bf16,
    ] {
        let base = QuantizationConfig::new(format);
        let model = base.quantize(bert(BertConfig::roberta_base())).unwrap();
        assert_same(model, 2, bert_logits);
    }
}

#[test]
fn gpt2_is_the_same() {
    assert_same(gpt2(), 60, gpt2_logits);
}

/// With only adapters trained, gradients have come out as NaN or zero on some backends.
#[test]
fn gradients_of_adapters_alone_are_finite_and_not_zero() {
    let device = tested();
    let config = LoraConfig::new().with_target_modules("all-linear");
    let mut model = config.inject(gpt2()).unwrap().fork(&device);
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..2 {
        let loss = cross_entropy(gpt2_logits(&model, &device), ids([18], 60, &device), None);
        let found = GradientsParams::from_grads(loss.backward(), &model);
        let named = gradients(&model, &found);
        assert_eq!(
            named.len(),
            2 * 4 * 2,
            "A and B of four layers in two blocks"
        );
        for (name, gradient) in named {
            assert!(gradient.iter::<f32>().all(f32::is_finite), "{name}");
            // B starts at 0, and with it A's gradient.
            let may_be_zero = step == 0 && name.ends_with(".a");
            assert!(
                may_be_zero || gradient.iter::<f32>().any(|x| x != 0.0),
                "{name}"
            );
        }
        model = optimizer.step(1e-2, model, found);
    }
}

#[test]
fn an_adapter_goes_through_a_file_to_another_device() {
    let folder = tempfile::tempdir().unwrap();
    let model = adapted(gpt2()).fork(&tested());
    let expected = gpt2_logits(&model, &tested()).into_data();
    model
        .save_adapter(DEFAULT_ADAPTER, folder.path(), true)
        .unwrap();
    let loaded = gpt2().load_adapter(DEFAULT_ADAPTER, folder.path()).unwrap();
    let found = gpt2_logits(&loaded, &reference()).into_data();
    assert_near("logits", &found, &expected);
}

#[test]
fn text_is_the_same() {
    let model = adapted(gpt2());
    let config = GenerationConfig {
        max_new_tokens: 8,
        eos_token_id: Some(vec![]),
        pad_token_id: Some(1),
        ..GenerationConfig::default()
    };
    let prompts = [vec![5, 9, 2], vec![7]];
    let generate = |model: &CausalLm| {
        let texts = model.generate(&prompts, &config).unwrap();
        texts
            .into_iter()
            .map(|text| text.tokens)
            .collect::<Vec<_>>()
    };
    let expected = generate(&model);
    assert!(expected.iter().all(|tokens| tokens.len() == 8));
    assert_eq!(generate(&model.fork(&tested())), expected);
}
