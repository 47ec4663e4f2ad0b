//! GPT-2: the cache, padding on either side, and files.

use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_core::state::parameters;
use lora_core::{Bias, LoraConfig, LoraModule, ParameterReport, default_device};
use lora_core_tests::redrawn;
use lora_models::gpt2::{Cache, CausalLm, Gpt2Config, Gpt2Input, SequenceClassification};
use lora_models::{ModelError, Precision, PretrainedModel};

fn tiny() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 50,
        n_positions: 24,
        n_embd: 16,
        n_layer: 2,
        n_head: 2,
        scale_attn_by_inverse_layer_idx: true,
        ..Gpt2Config::small()
    }
}

fn language_model(device: &Device) -> CausalLm {
    redrawn(CausalLm::new(&tiny(), device), 0.3)
}

fn ids<const B: usize, const T: usize>(rows: [[i64; T]; B], device: &Device) -> Tensor<2, Int> {
    let data = TensorData::new(rows.concat(), [B, T]);
    Tensor::from_data(data, device)
}

fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

#[test]
fn the_cache_changes_nothing_but_the_work() {
    let device = default_device();
    let model = language_model(&device);
    let all = ids(
        [[3, 14, 15, 9, 26, 5, 35, 8], [2, 7, 18, 28, 1, 8, 2, 8]],
        &device,
    );
    let whole = model.forward(Gpt2Input::new(all.clone()), None);
    // In one piece, then token by token: the buffers have to grow on the way.
    let mut cache = Cache::new();
    let mut pieces = vec![model.forward(
        Gpt2Input::new(all.clone().narrow(1, 0, 3)),
        Some(&mut cache),
    )];
    for position in 3..8 {
        let next = Gpt2Input::new(all.clone().narrow(1, position, 1));
        pieces.push(model.forward(next, Some(&mut cache)));
        assert_eq!(cache.len(), position + 1);
    }
    assert!(difference(Tensor::cat(pieces, 1), whole.clone()) < 1e-5);

    // The last positions alone.
    let rows = Tensor::<1, Int>::from_data([7, 15], &device);
    let last = model.forward_at(Gpt2Input::new(all), rows, None);
    let expected = whole.narrow(1, 7, 1).reshape([2, 50]);
    assert!(difference(last, expected) < 1e-6);
}

#[test]
fn a_cache_can_be_reordered() {
    let device = default_device();
    let model = language_model(&device);
    let start = ids([[3, 14, 15], [2, 7, 18]], &device);
    let mut cache = Cache::new();
    model.forward(Gpt2Input::new(start), Some(&mut cache));
    cache.select(&Tensor::from_data([1, 1, 0], &device));
    let next = ids([[9], [9], [9]], &device);
    let logits = model.forward(Gpt2Input::new(next), Some(&mut cache));
    let expected = ids([[2, 7, 18, 9], [2, 7, 18, 9], [3, 14, 15, 9]], &device);
    let expected = model
        .forward(Gpt2Input::new(expected), None)
        .narrow(1, 3, 1);
    assert!(difference(logits, expected) < 1e-5);
}

#[test]
fn left_padding_is_not_seen() {
    let device = default_device();
    let model = language_model(&device);
    let alone = model.forward(Gpt2Input::new(ids([[3, 14, 15]], &device)), None);
    let padded = Gpt2Input {
        input_ids: ids([[0, 0, 3, 14, 15], [1, 2, 3, 4, 5]], &device),
        attention_mask: Some(ids([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], &device)),
        position_ids: Some(ids([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]], &device)),
    };
    let padded = model.forward(padded, None);
    assert!(difference(padded.slice([0..1, 2..5]), alone) < 1e-5);
}

#[test]
fn classification_reads_the_last_real_token() {
    let device = default_device();
    let with_pad = tiny().with_pad_token_id(49).with_num_labels(3);
    let model = redrawn(SequenceClassification::new(&with_pad, &device), 0.3);
    let alone = model
        .forward(Gpt2Input::new(ids([[3, 14, 15]], &device)))
        .unwrap();
    assert_eq!(alone.dims(), [1, 3]);
    // By the padding id, and by a mask.
    let padded = ids([[3, 14, 15, 49, 49], [1, 2, 3, 4, 5]], &device);
    let mask = ids([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], &device);
    for attention_mask in [None, Some(mask)] {
        let input = Gpt2Input {
            input_ids: padded.clone(),
            attention_mask,
            position_ids: None,
        };
        let logits = model.forward(input).unwrap();
        assert!(difference(logits.narrow(0, 0, 1), alone.clone()) < 1e-5);
    }
    // On the left, with positions that start at the text.
    let input = Gpt2Input {
        input_ids: ids([[49, 49, 3, 14, 15], [1, 2, 3, 4, 5]], &device),
        attention_mask: Some(ids([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], &device)),
        position_ids: Some(ids([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]], &device)),
    };
    let logits = model.forward(input).unwrap();
    assert!(difference(logits.narrow(0, 0, 1), alone) < 1e-5);
}

#[test]
fn a_batch_without_a_pad_token_is_an_error() {
    let device = default_device();
    let model = SequenceClassification::new(&tiny(), &device);
    let one = Gpt2Input::new(ids([[3, 14]], &device));
    assert!(model.forward(one).is_ok());
    let two = Gpt2Input::new(ids([[3, 14], [5, 6]], &device));
    let error = model.forward(two).unwrap_err();
    assert!(
        matches!(error, ModelError::NoPadToken { batch: 2 }),
        "{error}"
    );
    assert!(error.to_string().contains("`pad_token_id`"), "{error}");
}

#[test]
fn files_are_transformers_own() {
    let device = default_device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let model = language_model(&device);
    model.save_pretrained(&path, Precision::F32, false).unwrap();
    let file = lora_core::tensor_file::TensorFile::open(path.join("model.safetensors")).unwrap();
    // `Conv1D` weights stay `[in, out]`, and the tied head is there once.
    let shape = |name: &str| file.shape(name).unwrap().to_vec();
    assert_eq!(shape("transformer.h.1.attn.c_attn.weight"), [16, 48]);
    assert_eq!(shape("transformer.h.0.mlp.c_proj.weight"), [64, 16]);
    assert!(!file.names().iter().any(|name| name.contains("lm_head")));

    let loaded = CausalLm::from_pretrained(&path.to_string_lossy(), &device).unwrap();
    assert_eq!(loaded.model.config(), model.config());
    let input = || Gpt2Input::new(ids([[3, 14, 15]], &device));
    assert_eq!(
        difference(
            model.forward(input(), None),
            loaded.model.forward(input(), None)
        ),
        0.0
    );
    // A head that is not in the file starts fresh, and says so.
    let classifier = SequenceClassification::from_pretrained(&path.to_string_lossy(), &device);
    assert_eq!(classifier.unwrap().report.fresh, ["score.weight"]);
}

#[test]
fn configurations_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        Gpt2Config::from_folder(folder.path())
            .unwrap_err()
            .to_string()
    };
    assert!(
        error(r#"{"model_type": "bert"}"#).contains("`model_type` is \"bert\", expected \"gpt2\"")
    );
    assert!(error(r#"{"model_type": "gpt2", "n_head": 7}"#).contains("`n_head` is 7"));
    let untied = r#"{"model_type": "gpt2", "tie_word_embeddings": false}"#;
    assert!(error(untied).contains("`tie_word_embeddings` is false"));
    let pad = r#"{"model_type": "gpt2", "pad_token_id": 50257}"#;
    assert!(error(pad).contains("`pad_token_id` is 50257, outside"));
    assert!(error(r#"{"model_type": "gpt2", "n_embd": "wide"}"#).contains("`n_embd`"));
}

#[test]
fn adapters_know_the_layout() {
    let device = default_device();
    let config = LoraConfig::new()
        .with_r(2)
        .with_target_modules("all-linear")
        .with_lora_dropout(0.1)
        .with_bias(Bias::None);
    let model = config.inject(language_model(&device)).unwrap();
    // c_attn, c_proj, c_fc and c_proj of each block.
    assert_eq!(
        ParameterReport::of(&model).lora,
        2 * 2 * (16 + 48 + 16 + 16 + 16 + 64 + 64 + 16)
    );
    assert!(model.adapter_config("default").unwrap().fan_in_fan_out);
    let b = parameters(&model)
        .into_iter()
        .find(|p| p.name.ends_with("0.attn.c_attn.lora_B.weight"));
    assert_eq!(b.unwrap().shape, [48, 2]);
    // A linear layer's layout is the other one, whatever the configuration says.
    let head = LoraConfig::new().with_target_modules(["score"]);
    let head = LoraConfig {
        fan_in_fan_out: true,
        ..head
    };
    let model = head
        .inject(SequenceClassification::new(&tiny(), &device))
        .unwrap();
    assert!(!model.adapter_config("default").unwrap().fan_in_fan_out);
}
