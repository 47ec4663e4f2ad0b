//! Checkpoints with weights in few bits, as transformers saves them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use lora_core::quantization::{
    LoadedWeight, PackedWeight, QuantizationConfig, WeightFormat, load_quantized, quantized,
    write_quantized,
};
use lora_core::tensor_file::{Precision, TensorFile};
use lora_core::{LoraLinear, LoraLinearConfig, default_device};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// The layers of scripts/make_quantization_cases.py.
#[derive(Module, Debug)]
struct Model {
    nf4: LoraLinear,
    fp4: LoraLinear,
    int8: LoraLinear,
}

const SHAPE: [usize; 2] = [32, 64];

fn model() -> Model {
    let linear = || LoraLinearConfig::new(64, 32).init(&default_device());
    Model {
        nf4: linear(),
        fp4: linear(),
        int8: linear(),
    }
}

fn recorded() -> PathBuf {
    PathBuf::from("bitsandbytes/checkpoint.safetensors")
}

fn read(path: &Path, tensor: &str) -> Result<Option<PackedWeight>, String> {
    let file = TensorFile::open(path).unwrap();
    PackedWeight::read(&file, tensor, SHAPE).map_err(|e| e.to_string())
}

fn load(path: &Path) -> Model {
    let file = TensorFile::open(path).unwrap();
    let model = load_quantized(model(), None, |info| {
        let packed = match info.is_linear() {
            true => PackedWeight::read(&file, &info.name, SHAPE)?,
            false => None,
        };
        match packed {
            Some(packed) => Ok(Some(LoadedWeight::Packed(packed))),
            None => Ok(file
                .read(&info.name, &info.shape)?
                .map(LoadedWeight::Values)),
        }
    });
    model.unwrap()
}

/// The script's weights.
fn values() -> Vec<f32> {
    let value = |i: usize| {
        if (64..128).contains(&i) {
            return 0.0;
        }
        let mixed = ((i as u64 * 2_654_435_761 + 12345) % (1 << 32)) >> 8;
        let uniform = mixed as f32 / (1 << 24) as f32 - 0.5;
        uniform * uniform * uniform
    };
    (0..SHAPE[0] * SHAPE[1]).map(value).collect()
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = file.tensors().into_iter();
    all.map(|(name, view)| {
        let parts = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, parts)
    })
    .collect()
}

/// The recorded file with a change.
fn changed(change: impl FnOnce(&mut Tensors)) -> tempfile::NamedTempFile {
    let mut all = tensors(&recorded());
    change(&mut all);
    let views = all.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn what_bitsandbytes_saved_is_what_is_made_here() {
    for (name, format, double) in [
        ("nf4", WeightFormat::Nf4, true),
        ("fp4", WeightFormat::Fp4, false),
        ("int8", WeightFormat::Int8, false),
    ] {
        let found = read(&recorded(), &format!("{name}.weight"))
            .unwrap()
            .unwrap();
        let made = PackedWeight::quantize(name, &values(), SHAPE, format, 64, double).unwrap();
        assert_eq!(found, made, "{name}");
    }
    assert!(read(&recorded(), "nf4.bias").unwrap().is_none());
}

#[test]
fn a_file_goes_in_and_comes_out_the_same() {
    let model = load(&recorded());
    assert_eq!(quantized(&model).len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_quantized(&model, &path, Precision::F32).unwrap();
    let (written, expected) = (tensors(&path), tensors(&recorded()));
    for (name, (dtype, shape, bytes)) in &expected {
        let (found_dtype, found_shape, found) = &written[name];
        assert_eq!(found_dtype, dtype, "{name}");
        if name.contains("quant_state") {
            // Spaces and the order of the fields are free.
            assert_eq!(json(found), json(bytes), "{name}");
            continue;
        }
        assert_eq!((found_shape, found), (shape, bytes), "{name}");
    }
    assert_eq!(written.len(), expected.len());
}

fn json(bytes: &[u8]) -> serde_json::Value {
    let mut fields: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    // bitsandbytes writes the digits of a 64-bit number.
    if let Some(offset) = fields["nested_offset"].as_f64() {
        fields["nested_offset"] = (offset as f32).into();
    }
    fields
}

#[test]
fn broken_states_are_errors_that_name_the_tensor() {
    let refused = |tensor: &str, parts: [&str; 2], change: fn(&mut Tensors)| {
        let file = changed(change);
        let error = read(file.path(), tensor).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    refused("nf4.weight", ["nf4.weight.absmax", "missing"], |all| {
        all.remove("nf4.weight.absmax");
    });
    refused("nf4.weight", ["nf4.weight`", "1024"], |all| {
        let tensor = all.get_mut("nf4.weight").unwrap();
        tensor.1 = vec![1023, 1];
        tensor.2.truncate(1023);
    });
    refused("fp4.weight", ["quant_map", "fp4"], |all| {
        all.get_mut("fp4.weight.quant_map").unwrap().2[5] ^= 1;
    });
    refused("fp4.weight", ["absmax", "NaN"], |all| {
        let bytes = &mut all.get_mut("fp4.weight.absmax").unwrap().2;
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    refused("fp4.weight", ["quant_state", "fp4.weight"], |all| {
        all.get_mut("fp4.weight.quant_state.bitsandbytes__fp4")
            .unwrap()
            .2[0] = b'!';
    });
    refused("fp4.weight", ["int4", "nf4 or fp4"], |all| {
        let state = all
            .remove("fp4.weight.quant_state.bitsandbytes__fp4")
            .unwrap();
        all.insert(
            "fp4.weight.quant_state.bitsandbytes__int4".to_string(),
            state,
        );
    });
    refused("fp4.weight", ["U8", "no quantization state"], |all| {
        all.remove("fp4.weight.quant_state.bitsandbytes__fp4");
    });
    refused("int8.weight", ["int8.weight", "weight_format"], |all| {
        all.get_mut("int8.weight_format").unwrap().2[0] = 1;
    });
    refused("int8.weight", ["int8.SCB", "32"], |all| {
        let tensor = all.get_mut("int8.SCB").unwrap();
        tensor.1 = vec![31];
        tensor.2.truncate(31 * 4);
    });
    let file = TensorFile::open(recorded()).unwrap();
    let error = PackedWeight::read(&file, "nf4.weight", [64, 64]).unwrap_err();
    assert!(error.to_string().contains("[64, 64]"), "{error}");
}

#[test]
fn a_loaded_base_is_not_quantized_again() {
    let model = load(&recorded());
    let config = QuantizationConfig::new(WeightFormat::Nf4);
    let error = config.quantize(model).unwrap_err().to_string();
    assert!(error.contains("already"), "{error}");
}
