//! Tables larger than the part of a buffer that some devices' kernels can take.

use burn::module::Module;
use burn::optim::GradientsParams;
use lora_core::{LoraConfig, LoraEmbeddingConfig};
use lora_models::gpt2::{CausalLm, Gpt2Config, Gpt2Input};
use lora_train::loss::cross_entropy;

use crate::compare::{assert_near, ids, reference, tested};

/// RoBERTa-base's vocabulary and width: 154 MB.
const TABLE: [usize; 2] = [50_265, 768];

#[test]
fn vectors_of_a_table_over_the_limit() {
    let [rows, width] = TABLE;
    let table = LoraEmbeddingConfig::new(rows, width).init(&reference());
    let expected = table.forward(ids([2, 40], rows, &reference())).into_data();
    let table = table.no_grad().fork(&tested());
    let found = table.forward(ids([2, 40], rows, &tested())).into_data();
    assert_near("vectors", &found, &expected);

    let fresh = LoraEmbeddingConfig::new(rows, width).init(&tested());
    let vectors = fresh.no_grad().forward(ids([2, 4], rows, &tested()));
    assert!(
        vectors
            .into_data()
            .iter::<f32>()
            .all(|x| x.is_finite() && x != 0.0)
    );
}

#[test]
fn a_language_model_whose_output_layer_is_a_table_over_the_limit() {
    let config = Gpt2Config {
        n_layer: 1,
        n_positions: 16,
        resid_pdrop: 0.0,
        embd_pdrop: 0.0,
        attn_pdrop: 0.0,
        ..Gpt2Config::small()
    };
    let device = reference();
    device.seed(1);
    let model = CausalLm::new(&config, &device);
    let lora = LoraConfig::new().with_target_modules("all-linear");
    let model = lora.inject(model).unwrap();
    let compute = |model: &CausalLm, device| {
        let tokens = ids([2, 8], config.vocab_size, device);
        let logits = model.forward(Gpt2Input::new(tokens), None);
        let logits = logits.reshape([16, config.vocab_size]);
        let loss = cross_entropy(logits, ids([16], config.vocab_size, device), None);
        let value = loss.clone().into_data();
        let gradients = GradientsParams::from_grads(loss.backward(), model);
        (value, crate::models::gradients(model, &gradients))
    };
    let (loss, gradients) = compute(&model, &device);
    let (found, theirs) = compute(&model.fork(&tested()), &tested());
    assert_near("loss", &found, &loss);
    for ((name, expected), (_, found)) in gradients.iter().zip(&theirs) {
        // B is 0 at the start, so that A's gradient is, too.
        if expected.iter::<f32>().any(|value| value != 0.0) {
            assert_near(name, found, expected);
        }
    }
}
