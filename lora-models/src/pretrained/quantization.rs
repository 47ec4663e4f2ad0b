//! What `config.json` says about weights in few bits.

use burn::module::Module;
use lora_core::LoraError;
use lora_core::quantization::{QuantizationConfig, WeightFormat, quantized};
use lora_core::state::parameters;
use serde_json::{Value, json};

/// transformers' `quantization_config` for a model, if it has weights in few bits; those in 16-bit
/// floats are saved as plain tensors.
///
/// # Errors
///
/// [`LoraError::QuantizationConfig`] if they are not all of one format.
pub(super) fn saved_config<M: Module>(model: &M) -> Result<Option<Value>, LoraError> {
    let weights = quantized(model);
    let Some(first) = weights.first() else {
        return Ok(None);
    };
    let format = first.weight.format();
    if let Some(other) = weights.iter().find(|w| w.weight.format() != format) {
        return Err(LoraError::QuantizationConfig {
            field: "bnb_4bit_quant_type",
            value: format!(
                "{format} and, for {}, {}",
                other.path,
                other.weight.format()
            ),
            expected: "weights of one format",
        });
    }
    if format.float_name().is_some() {
        return Ok(None);
    }
    let is_packed = |path: &str| weights.iter().any(|weight| weight.path == path);
    let skipped = parameters(model).into_iter();
    let skipped = skipped.filter(|info| info.is_linear() && !is_packed(&info.path));
    let skipped: Vec<String> = skipped
        .filter_map(|info| Some(info.name.strip_suffix(".weight")?.to_string()))
        .collect();
    let mut config = QuantizationConfig::new(format);
    config.bnb_4bit_use_double_quant = first.weight.is_nested();
    let mut fields = json!(config.with_skip_modules(skipped));
    if let Some(fields) = fields.as_object_mut() {
        // A setting that transformers does not have: it reads the size from each weight's state.
        fields.remove("bnb_4bit_blocksize");
        fields.insert("bnb_4bit_compute_dtype".into(), "float32".into());
        fields.insert("quant_method".into(), "bitsandbytes".into());
        if format == WeightFormat::Int8 {
            fields.retain(|name, _| !name.starts_with("bnb_4bit"));
        }
    }
    Ok(Some(fields))
}
