//! Whole training runs of tiny GPT-2s.

use lora_core::state::{parameters, state};
use lora_core::{DEFAULT_ADAPTER, LoraConfig, LoraModule, ParameterReport, default_device};
use lora_core_tests::redrawn;
use lora_models::generation::GenerationConfig;
use lora_models::gpt2::{CausalLm, Gpt2Config, SequenceClassification};
use lora_models::tokenizer::train_gpt2_bpe;
use lora_models::{SequenceClassifier, Tokenizer, bert::EncoderInput};
use lora_train::data::{
    CausalExample, Example, Label, PromptResponse, TokenizedDataset, encode_prompts,
};
use lora_train::{Method, Progress, Task, TrainError, Trainer, TrainingConfig, evaluate, predict};

fn trainer<T: Task>(config: TrainingConfig) -> Trainer<T> {
    Trainer::new(config).progress(Progress::Silent)
}

const FOODS: [&str; 4] = ["French", "Indian", "Thai", "Greek"];

fn pairs() -> Vec<PromptResponse> {
    let pair = |food: &str| PromptResponse {
        prompt: format!("food : {food}"),
        response: format!("It serves {food} food ."),
    };
    FOODS.map(pair).to_vec()
}

fn tokenizer() -> Tokenizer {
    let texts = pairs().into_iter().map(|p| p.prompt + " " + &p.response);
    train_gpt2_bpe(texts, 300, 1).unwrap()
}

fn config(tokenizer: &Tokenizer) -> Gpt2Config {
    Gpt2Config {
        vocab_size: tokenizer.vocab_size(),
        n_positions: 32,
        n_embd: 32,
        n_layer: 2,
        n_head: 2,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        bos_token_id: 0,
        eos_token_id: 0,
        pad_token_id: Some(0),
        ..Gpt2Config::small()
    }
}

fn training() -> TrainingConfig {
    TrainingConfig::new()
        .with_epochs(60)
        .with_batch_size(4)
        .with_learning_rate(1e-2)
        .with_warmup_steps(Some(5))
}

#[test]
fn a_language_model_learns_its_responses_and_writes_them() {
    let tokenizer = tokenizer();
    let config = config(&tokenizer);
    let data = TokenizedDataset::pairs(&pairs(), &tokenizer, &config, 32).unwrap();
    let base = redrawn(CausalLm::new(&config, &default_device()), 0.1);
    let lora = LoraConfig::new()
        .with_r(8)
        .with_lora_alpha(16.0)
        .with_target_modules("all-linear");
    for method in [Method::causal_lora(lora, &config), Method::Full] {
        let model = method.prepare(base.clone()).unwrap();
        let frozen: Vec<String> = parameters(&model)
            .into_iter()
            .filter(|parameter| !parameter.trainable)
            .map(|parameter| parameter.path)
            .collect();
        assert_eq!(frozen.is_empty(), method == Method::Full);
        let values = |model: &CausalLm| state(model, |info| frozen.contains(&info.path));
        let before = (values(&model), evaluate(&model, &data, 2).unwrap());
        let trained = trainer(training()).train(model, &data, &data).unwrap();
        assert!(
            before.0 == values(&trained.model),
            "a frozen weight changed"
        );
        let after = trained.evaluation.unwrap();
        assert!(
            after.get("perplexity") < 0.2 * before.1.get("perplexity"),
            "{}: {} {after}",
            method.name(),
            before.1
        );
        let last = trained.history.evaluations.last().unwrap();
        assert!((last.dev.loss() - after.get("loss")).abs() < 1e-4);
        assert!((last.dev.get("perplexity") - after.get("perplexity")).abs() < 1e-3);
        assert!(last.to_string().contains(", perplexity "), "{last}");

        let prompts: Vec<String> = pairs().into_iter().map(|pair| pair.prompt).collect();
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let prompts = encode_prompts(&prompts, &tokenizer, &config).unwrap();
        let writing = GenerationConfig {
            num_beams: 2,
            max_new_tokens: 12,
            ..GenerationConfig::default()
        };
        let texts = trained.model.generate(&prompts, &writing).unwrap();
        let right = texts.iter().zip(FOODS).filter(|(text, food)| {
            let written = tokenizer.decode(&text.tokens, true).unwrap();
            written == format!(" It serves {food} food .")
        });
        assert!(right.count() >= 3, "{}: {texts:?}", method.name());
    }
}

#[test]
fn smoothing_changes_training_and_not_what_is_measured() {
    let tokenizer = tokenizer();
    let config = config(&tokenizer);
    let data = TokenizedDataset::pairs(&pairs(), &tokenizer, &config, 32).unwrap();
    let base = redrawn(CausalLm::new(&config, &default_device()), 0.1);
    let run = |smoothing| {
        let training = training().with_epochs(1).with_label_smoothing(smoothing);
        let model = Method::Full.prepare(base.clone()).unwrap();
        trainer(training).train(model, &data, &data).unwrap()
    };
    // The first step has a rate of 0, so that both are measured as they were made.
    let (plain, smoothed) = (run(0.0), run(0.5));
    assert_ne!(plain.history.steps[0].loss, smoothed.history.steps[0].loss);
    assert_eq!(plain.evaluation, smoothed.evaluation);
}

#[test]
fn a_classifier_learns_and_predicts() {
    let tokenizer = tokenizer();
    let config = config(&tokenizer);
    let example = |food: &str, class| Example {
        text: format!("It serves {food} food ."),
        pair: None,
        label: Label::Class(class),
    };
    let examples: Vec<_> = FOODS.iter().zip([0, 1, 1, 0]).collect();
    let examples: Vec<_> = examples.into_iter().map(|(f, c)| example(f, c)).collect();
    let data = TokenizedDataset::encode(&examples, &tokenizer, &config, 32).unwrap();
    let model = SequenceClassification::new(&config, &default_device());
    let head = Method::Head.prepare(model.clone()).unwrap();
    let report = ParameterReport::of(&head);
    assert_eq!(report.trainable(), 2 * 32);
    let lora = LoraConfig::new().with_r(4).with_lora_alpha(16.0);
    let method = Method::lora(lora, &config);
    let model = method.prepare(model).unwrap();
    let trained = trainer(training()).train(model, &data, &data).unwrap();
    let evaluation = trained.evaluation.as_ref().unwrap();
    assert_eq!(
        (evaluation.get("accuracy"), evaluation.get("f1_weighted")),
        (1.0, 1.0)
    );
    let last = trained.history.evaluations.last().unwrap();
    assert_eq!(last.dev.get("f1_weighted"), 1.0);
    assert!(
        last.to_string().contains(", f1 weighted 100.00 %"),
        "{last}"
    );
    let texts: Vec<&str> = examples
        .iter()
        .map(|example| example.text.as_str())
        .collect();
    let said = predict(&trained.model, &tokenizer, &texts, 32, 3).unwrap();
    let classes: Vec<usize> = said.iter().map(|prediction| prediction.class).collect();
    assert_eq!(classes, [0, 1, 1, 0]);
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    trained
        .model
        .save_adapter(DEFAULT_ADAPTER, &adapter, false)
        .unwrap();
    let config = std::fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    assert!(
        config.contains("\"SEQ_CLS\"") && config.contains("\"c_attn\""),
        "{config}"
    );
}

#[test]
fn padding_does_not_change_a_classifiers_logits() {
    let tokenizer = tokenizer();
    let config = config(&tokenizer);
    let model = SequenceClassification::new(&config, &default_device());
    let device = default_device();
    let ids = |rows: &[[i32; 5]]| {
        let values: Vec<i32> = rows.concat();
        let data = burn::tensor::TensorData::new(values, [rows.len(), 5]);
        burn::tensor::Tensor::from_data(data, &device)
    };
    let mut padded = EncoderInput::new(ids(&[[7, 8, 9, 10, 11], [7, 8, 9, 0, 0]]));
    padded.attention_mask = Some(ids(&[[1; 5], [1, 1, 1, 0, 0]]));
    let together: Vec<f32> = model.logits(padded).try_into_vec_as().unwrap();
    let alone = burn::tensor::Tensor::from_data([[7, 8, 9]], &device);
    let alone: Vec<f32> = model
        .logits(EncoderInput::new(alone))
        .try_into_vec_as()
        .unwrap();
    for (found, expected) in together[2..].iter().zip(alone) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn what_cannot_be_trained_is_an_error() {
    let tokenizer = tokenizer();
    let config = config(&tokenizer);
    let model = CausalLm::new(&config, &default_device());
    let error = Method::Head.prepare(model.clone()).unwrap_err();
    assert!(matches!(error, TrainError::NoHead), "{error}");
    let long = CausalExample::new(vec![1; 34], 1).unwrap();
    let long = TokenizedDataset::new(vec![long]).unwrap();
    assert!(model.check(long.examples(), 1).is_err());
    let fits = CausalExample::new(vec![1; 33], 1).unwrap();
    model.check(&[fits], 1).unwrap();
    let error = trainer(training()).train(model, &long, &long).unwrap_err();
    assert!(
        error.to_string().contains("model's 32 positions"),
        "{error}"
    );
}
