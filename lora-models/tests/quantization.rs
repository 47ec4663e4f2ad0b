//! Models whose weights are in few bits: while they are loaded, and in their files.

use burn::tensor::{Int, Tensor, Tolerance};
use lora_core::quantization::{QuantizationConfig, WeightFormat, dequantize, quantized};
use lora_core::tensor_file::Precision;
use lora_core::{LoraConfig, LoraModule, default_device};
use lora_models::bert::{EncoderInput, SequenceClassification};
use lora_models::gpt2::{CausalLm, Gpt2Input};
use lora_models::{PretrainedModel, SequenceClassifier};

const BERT: &str = "../assets/roberta-tiny";
const GPT2: &str = "../assets/gpt2-tiny";

fn ids() -> Tensor<2, Int> {
    let ids: Vec<i32> = (0..12).map(|i| 5 + 3 * i).collect();
    Tensor::<1, Int>::from_data(&ids[..], &default_device()).reshape([2, 6])
}

fn logits(model: &SequenceClassification) -> Tensor<2> {
    model.logits(EncoderInput::new(ids()))
}

fn next(model: &CausalLm) -> Tensor<3> {
    model.forward(Gpt2Input::new(ids()), None)
}

fn require_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
    let tolerance = Tolerance::<f32>::absolute(1e-4).set_relative(1e-4);
    let found = found.into_data();
    found.assert_approx_eq::<f32>(&expected.into_data(), tolerance);
}

#[test]
fn an_encoder_is_quantized_while_it_is_loaded_and_comes_back_from_its_file() {
    for format in WeightFormat::ALL {
        let config = QuantizationConfig::new(format);
        let load = |folder: &str, config: Option<&QuantizationConfig>| {
            let device = default_device();
            SequenceClassification::from_pretrained_quantized(folder, |c| c, config, &device)
                .unwrap()
                .model
        };
        let model = load(BERT, Some(&config));
        let weights = quantized(&model);
        assert!(!weights.is_empty());
        assert!(weights.iter().all(|w| !w.path.contains("classifier")));
        assert!(weights.iter().all(|w| !w.path.contains("embeddings")));
        let dense = config.quantize(load(BERT, None)).unwrap();
        for (weight, expected) in weights.iter().zip(quantized(&dense)) {
            assert_eq!(weight.weight, expected.weight, "{}", expected.path);
        }
        // The head, which no checkpoint has, is drawn anew each time.
        let dense = dequantize(model.clone()).unwrap();
        require_close(logits(&model), logits(&dense));

        let folder = tempfile::tempdir().unwrap();
        model
            .save_pretrained(folder.path(), Precision::F32, true)
            .unwrap();
        let name = folder.path().to_string_lossy();
        let again = load(&name, None);
        // What it was trained on is what lies in the file, whatever its form.
        let adapted = LoraConfig::new()
            .with_target_modules(["query"])
            .inject(again.clone());
        let report = adapted.unwrap().verify_frozen(&name).unwrap();
        assert!(
            report.is_unchanged() && report.parameters.len() > 30,
            "{report}"
        );
        // 16-bit floats are plain tensors in files.
        let packed = match format.float_name() {
            Some(_) => 0,
            None => weights.len(),
        };
        assert_eq!(quantized(&again).len(), packed);
        require_close(logits(&again), logits(&model));
    }
}

#[test]
fn gpt2s_projections_are_linear_layers_in_few_bits() {
    for format in [WeightFormat::Nf4, WeightFormat::Bf16] {
        let config = QuantizationConfig::new(format);
        let device = default_device();
        let load = |folder: &str, config: Option<&QuantizationConfig>| {
            CausalLm::from_pretrained_quantized(folder, |c| c, config, &device)
                .unwrap()
                .model
        };
        let model = load(GPT2, Some(&config));
        let expected = config.quantize(load(GPT2, None)).unwrap();
        assert!(!quantized(&model).is_empty());
        for (weight, expected) in quantized(&model).iter().zip(quantized(&expected)) {
            assert_eq!(weight.weight, expected.weight, "{}", expected.path);
        }
        let folder = tempfile::tempdir().unwrap();
        model
            .save_pretrained(folder.path(), Precision::F32, true)
            .unwrap();
        let again = load(&folder.path().to_string_lossy(), None);
        require_close(next(&again), next(&dequantize(model).unwrap()));
    }
}

#[test]
fn an_adapter_of_a_quantized_base_fits_a_dense_one() {
    let lora = LoraConfig::new()
        .with_r(2)
        .with_target_modules(["query", "value"]);
    let lora = lora.with_init_lora_weights(lora_core::InitLoraWeights::Random);
    let device = default_device();
    let config = QuantizationConfig::new(WeightFormat::Nf4);
    let loaded =
        SequenceClassification::from_pretrained_quantized(BERT, |c| c, Some(&config), &device);
    let base = loaded.unwrap().model;
    let model = lora.inject(base.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save_adapter("default", folder.path(), true).unwrap();
    let dense = dequantize(base).unwrap();
    let dense = dense.load_adapter("default", folder.path()).unwrap();
    require_close(logits(&model), logits(&dense));
}
