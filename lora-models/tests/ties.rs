//! The decoder of a masked language model is the table of its token embeddings.

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Int, Tensor};
use lora_core::{LoraConfig, LoraError, LoraModule, SavedCopies, default_device};
use lora_models::bert::{Architecture, BertConfig, EncoderInput, MaskedLm, SequenceClassification};

fn config(architecture: Architecture) -> BertConfig {
    let config = match architecture {
        Architecture::Bert => BertConfig::bert_base(),
        Architecture::Roberta => BertConfig::roberta_base(),
    };
    BertConfig {
        vocab_size: 11,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 12,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..config
    }
}

fn targets(names: &[&str]) -> LoraConfig {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    LoraConfig::new().with_r(2).with_target_modules(names)
}

const BOTH: [(Architecture, &str, &str); 2] = [
    (
        Architecture::Bert,
        "bert.embeddings.word_embeddings",
        "cls.predictions.decoder",
    ),
    (
        Architecture::Roberta,
        "roberta.embeddings.word_embeddings",
        "lm_head.decoder",
    ),
];

#[test]
fn the_table_of_a_masked_language_model_is_not_adapted() {
    let device = default_device();
    for (architecture, table, decoder) in BOTH {
        for (target, module, other) in [
            ("word_embeddings", table, decoder),
            ("decoder", decoder, table),
        ] {
            let model = MaskedLm::new(&config(architecture), &device);
            let error = targets(&["query", target]).inject(model).unwrap_err();
            assert!(matches!(error, LoraError::Tied { .. }), "{error}");
            let error = error.to_string();
            let sides = format!("means {module}, which shares its weight with {other}");
            let remedy = format!("put {table} into `modules_to_save`");
            assert!(error.contains(&sides) && error.contains(&remedy), "{error}");
        }
        // Nothing else is tied, and without a decoder the table is not.
        let model = MaskedLm::new(&config(architecture), &device);
        assert!(
            targets(&["query", "position_embeddings"])
                .inject(model)
                .is_ok()
        );
        let model = SequenceClassification::new(&config(architecture), &device);
        let plan = targets(&["word_embeddings"]).plan(&model).unwrap();
        assert_eq!(plan.patterns[0].1, [table]);
    }
}

#[test]
fn a_table_trained_in_full_stays_the_decoder() {
    let device = default_device().autodiff();
    for (architecture, table, _) in BOTH {
        let config = config(architecture);
        let lora = targets(&["query"]).with_modules_to_save(["word_embeddings"]);
        let model = lora.inject(MaskedLm::new(&config, &device)).unwrap();
        let ids = Tensor::<2, Int>::from_data([[3, 4, 5]], &device);
        let logits = |model: &MaskedLm| model.forward(EncoderInput::new(ids.clone()));
        let gradients = logits(&model).square().sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        let before = logits(&model);
        let model = SgdConfig::new().init().step(0.1, model, gradients);
        let weight = &model.base.embeddings.word_embeddings.weight;
        let copies = weight.reparameterization::<SavedCopies<2>>().unwrap();
        let copy = copies.get("default").unwrap().val();
        let moved = |id: usize| -> f32 {
            let difference = copy.clone() - weight.base();
            difference.slice(id..id + 1).abs().max().into_scalar()
        };
        // Token 9 is not embedded: it moved because it was predicted.
        assert!(moved(3) > 0.0 && moved(9) > 0.0, "{table}");
        assert!((logits(&model) - before).abs().max().into_scalar::<f32>() > 0.0);
        // Merged, the table is the copy, at both ends.
        let output = logits(&model);
        let merged = model.merge_and_unload().unwrap();
        let difference = (logits(&merged) - output).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "{difference}");
    }
}
