//! Figures that `scripts/make_quantization_cases.py` recorded from bitsandbytes.

use super::double::Scales;
use super::weight::Codes;
use super::*;

/// Of the dequantized values, every so manieth is in the file.
const EVERY: usize = 7;

struct Cases(Vec<u8>);

impl Cases {
    fn read() -> Self {
        let folder = env!("CARGO_MANIFEST_DIR");
        let path = format!("{folder}/tests/bitsandbytes/cases.safetensors");
        Self(std::fs::read(path).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let file = safetensors::SafeTensors::deserialize(&self.0).unwrap();
        file.tensor(name).unwrap().data().to_vec()
    }

    fn floats(&self, name: &str) -> Vec<u32> {
        let bytes = self.bytes(name);
        let (values, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        values.iter().map(|v| u32::from_le_bytes(*v)).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn every(values: &[f32]) -> Vec<u32> {
    let kept: Vec<f32> = values.iter().step_by(EVERY).copied().collect();
    bits(&kept)
}

/// The script's weights.
fn values(count: usize) -> Vec<f32> {
    let value = |i: usize| {
        if (64..128).contains(&i) {
            return 0.0;
        }
        let mixed = ((i as u64 * 2_654_435_761 + 12345) % (1 << 32)) >> 8;
        let uniform = mixed as f32 / (1 << 24) as f32 - 0.5;
        uniform * uniform * uniform
    };
    (0..count).map(value).collect()
}

fn pack(shape: [usize; 2], format: WeightFormat, double: bool) -> PackedWeight {
    let values = values(shape[0] * shape[1]);
    PackedWeight::quantize("weight", &values, shape, format, 64, double).unwrap()
}

#[test]
fn four_bit_weights_are_bitsandbytes_bit_for_bit() {
    let cases = Cases::read();
    for format in [WeightFormat::Nf4, WeightFormat::Fp4] {
        for (name, shape) in [("short", [6, 64]), ("long", [104, 192])] {
            let key = format!("{format}.{name}");
            let plain = pack(shape, format, false);
            let Codes::FourBit { packed, scales, .. } = &plain.codes else {
                panic!("{key}");
            };
            assert_eq!(*packed, cases.bytes(&format!("{key}.plain.codes")), "{key}");
            let Scales::Plain(scales) = scales else {
                panic!("{key}");
            };
            let expected = cases.floats(&format!("{key}.plain.absmax"));
            assert_eq!(bits(scales), expected, "{key}");
            let left = every(&plain.dequantize());
            assert_eq!(left, cases.floats(&format!("{key}.plain.left")), "{key}");

            let double = pack(shape, format, true);
            let Codes::FourBit { scales, .. } = &double.codes else {
                panic!("{key}");
            };
            let Scales::Nested { scales, offset } = scales else {
                panic!("{key}");
            };
            let key = format!("{key}.double");
            assert_eq!(bits(&[*offset]), cases.floats(&format!("{key}.offset")));
            assert_eq!(scales.codes, cases.bytes(&format!("{key}.absmax")), "{key}");
            let expected = cases.floats(&format!("{key}.nested_absmax"));
            assert_eq!(bits(&scales.scales), expected, "{key}");
            let left = every(&double.dequantize());
            assert_eq!(left, cases.floats(&format!("{key}.left")), "{key}");
        }
    }
}

#[test]
fn whole_numbers_are_bitsandbytes_bit_for_bit() {
    let cases = Cases::read();
    let weight = pack([24, 96], WeightFormat::Int8, false);
    let Codes::Int8 { codes, scales } = &weight.codes else {
        panic!("not whole numbers");
    };
    let codes: Vec<u8> = codes.iter().map(|code| code.cast_unsigned()).collect();
    assert_eq!(codes, cases.bytes("int8.codes"));
    assert_eq!(bits(scales), cases.floats("int8.absmax"));
    assert_eq!(every(&weight.dequantize()), cases.floats("int8.left"));
}

#[test]
fn dynamic_types_are_bitsandbytes_bit_for_bit() {
    let cases = Cases::read();
    for (key, kind) in [
        ("signed", Dynamic::signed()),
        ("unsigned", Dynamic::unsigned()),
    ] {
        let mut given = values(3000);
        if key == "unsigned" {
            given.iter_mut().for_each(|v| *v *= *v);
        }
        assert_eq!(bits(kind.values()), cases.floats(&format!("{key}.map")));
        let quantized = kind.quantize(&given, 256);
        assert_eq!(quantized.codes, cases.bytes(&format!("{key}.codes")));
        let expected = cases.floats(&format!("{key}.absmax"));
        assert_eq!(bits(&quantized.scales), expected);
        let left = every(&kind.dequantize(&quantized, 256));
        assert_eq!(left, cases.floats(&format!("{key}.left")));
    }
}
