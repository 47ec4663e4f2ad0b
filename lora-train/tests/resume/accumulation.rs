//! Steps in parts, and outputs that are computed again.

use lora_core::state::initialize;
use lora_core::{LoraConfig, default_device};
use lora_models::bert::{BertConfig, SequenceClassification};
use lora_models::gpt2::{CausalLm, Gpt2Config};
use lora_train::data::{CausalExample, TokenizedDataset};
use lora_train::{Method, Task, Trained, TrainingConfig};

use crate::common::{all, config, data, model, one_at_a_time, tiny_config, trainer};

#[test]
fn accumulated_batches_make_the_same_step() {
    let _lock = one_at_a_time();
    let dry = BertConfig {
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..tiny_config()
    };
    let device = default_device();
    device.seed(5);
    let base = SequenceClassification::new(&dry, &device);
    initialize(&base);
    let lora = LoraConfig::new()
        .with_r(4)
        .with_target_modules("all-linear");
    let prepared = Method::lora(lora, &dry).prepare(base).unwrap();
    let run = |size, count| {
        // 20 examples in steps of 8, the last of which has 4.
        let config = config()
            .with_batch_size(size)
            .with_gradient_accumulation_steps(count);
        trainer(config)
            .train(prepared.clone(), &data(), &data())
            .unwrap()
    };
    assert_close(&run(8, 1), &run(2, 4));
    assert_close(&run(8, 1), &run(1, 8));
}

#[test]
fn accumulation_averages_over_tokens() {
    let _lock = one_at_a_time();
    let config = Gpt2Config {
        vocab_size: 12,
        n_positions: 16,
        n_embd: 16,
        n_layer: 1,
        n_head: 2,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::small()
    };
    let device = default_device();
    device.seed(5);
    let base = CausalLm::new(&config, &device);
    initialize(&base);
    let prepared = Method::Full.prepare(base).unwrap();
    // From 1 to 9 tokens to predict: a mean of the batches' means would be another step.
    let examples = (0..9)
        .map(|i| CausalExample::new((0..i + 2).map(|id| id % 12).collect(), 1).unwrap())
        .collect();
    let data = TokenizedDataset::new(examples).unwrap();
    let run = |size, count| {
        let training = TrainingConfig::new()
            .with_batch_size(size)
            .with_gradient_accumulation_steps(count)
            .with_learning_rate(1e-2);
        trainer(training)
            .train(prepared.clone(), &data, &data)
            .unwrap()
    };
    assert_close(&run(9, 1), &run(2, 5));
}

fn assert_close<T: Task>(first: &Trained<T>, second: &Trained<T>) {
    let steps = first.history.steps.iter().zip(&second.history.steps);
    for (first, second) in steps {
        assert!(
            (first.loss - second.loss).abs() < 1e-5,
            "{first:?} {second:?}"
        );
        assert!(
            (first.grad_norm - second.grad_norm).abs() < 1e-4,
            "{first:?} {second:?}"
        );
    }
    for ((name, first), (_, second)) in all(&first.model).iter().zip(&all(&second.model)) {
        for (a, b) in first.iter::<f32>().zip(second.iter::<f32>()) {
            // Adam divides by the gradient: of one that is nearly 0, rounding makes a step.
            assert!(
                (a - b).abs() < 1e-5 || name.contains("key.bias"),
                "{name}: {a} {b}"
            );
        }
    }
}

#[test]
fn recomputed_activations_are_the_same() {
    let _lock = one_at_a_time();
    let run = |again| {
        let config = config().with_epochs(1).with_gradient_checkpointing(again);
        trainer(config).train(model(), &data(), &data()).unwrap()
    };
    assert_close(&run(true), &run(false));
}
