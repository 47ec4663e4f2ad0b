use burn::tensor::TensorData;
use lora_core::analysis::ModuleUpdate;

use super::Anatomy;
use crate::testing::assert_well_formed;

/// Query and value in each of three layers, with `rank` directions; the first layer's query has none.
fn updates(rank: usize, seed: usize) -> Vec<ModuleUpdate> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5;
    let data = |rows: usize, columns: usize, scale: f32| {
        let values: Vec<f32> = (0..rows * columns)
            .map(|i| scale * value(i + rows))
            .collect();
        TensorData::new(values, [rows, columns])
    };
    let paths = (0..3).flat_map(|layer| ["query", "value"].map(|kind| (layer, kind)));
    paths
        .map(|(layer, kind)| {
            let strength = if (layer, kind) == (0, "query") {
                0.0
            } else {
                1.0 + layer as f32
            };
            let (a, b) = (data(rank, 6, 1.0), data(5, rank, strength));
            ModuleUpdate::new(&format!("encoder.layer.{layer}.{kind}"), &a, &b, 2.0).unwrap()
        })
        .collect()
}

fn anatomy(other: &[ModuleUpdate]) -> Anatomy {
    let mut weight = |module: &str, [outputs, inputs]: [usize; 2]| {
        let values = vec![1.0f32; outputs * inputs];
        let known = !module.ends_with("2.value");
        Ok(known.then(|| TensorData::new(values, [outputs, inputs])))
    };
    Anatomy::of(&updates(2, 1), other, &mut weight, 0).unwrap()
}

#[test]
fn a_table_has_a_line_for_each_module() {
    let text = anatomy(&[]).table();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    let width = |line: &str| line.chars().count();
    assert!(
        lines.iter().all(|line| width(line) == width(lines[0])),
        "{text}"
    );
    // No update, so nothing amplified; then a weight that is not known.
    assert!(
        lines[1].contains("0.000") && lines[1].ends_with('-'),
        "{text}"
    );
    assert!(
        lines[2].ends_with('×') && lines[2].contains("5.48"),
        "{text}"
    );
    let columns: Vec<&str> = lines[6].split_whitespace().collect();
    assert_eq!(columns[4..], ["-", "-"], "{text}");
}

#[test]
fn numbers_and_pictures_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let anatomy = anatomy(&updates(3, 2));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    anatomy
        .write_json(&folder.path().join("anatomy.json"))
        .unwrap();
    let json: serde_json::Value = serde_json::from_str(&read("anatomy.json")).unwrap();
    assert_eq!(json["modules"].as_array().unwrap().len(), 6);
    assert_eq!(
        json["modules"][1]["singular_values"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(json["modules"][5]["amplification"].is_null());
    let similarity = &json["similarities"][0]["a"];
    assert_eq!(similarity[1].as_array().unwrap().len(), 3);

    anatomy
        .write_spectra(&folder.path().join("spectra.svg"))
        .unwrap();
    let svg = read("spectra.svg");
    assert_well_formed(&svg);
    for text in [
        "Effective rank",
        "‖ΔW‖",
        "σᵢ / σ₁ of query",
        "σᵢ / σ₁ of value",
        "layer",
    ] {
        assert!(svg.contains(text), "no {text:?}");
    }
    assert!(!svg.contains("NaN"));
    anatomy
        .write_similarities(&folder.path().join("similarities.svg"))
        .unwrap();
    let svg = read("similarities.svg");
    assert_well_formed(&svg);
    for text in ["2: query", "0: value", "at random"] {
        assert!(svg.contains(text), "no {text:?}");
    }
}

#[test]
fn layers_are_in_the_order_of_their_numbers() {
    let mut paths = ["h.10.a", "h.2.b", "h.2.a", "classifier", "h.9.a"];
    paths.sort_by_cached_key(|path| super::natural(path));
    assert_eq!(paths, ["classifier", "h.2.a", "h.2.b", "h.9.a", "h.10.a"]);
}

#[test]
fn adapters_with_nothing_in_common_are_an_error() {
    let alone = ModuleUpdate::new(
        "h.0.c_attn",
        &TensorData::new(vec![1.0f32; 6], [1, 6]),
        &TensorData::new(vec![1.0f32; 5], [5, 1]),
        1.0,
    );
    let found = Anatomy::of(&updates(2, 1), &[alone.unwrap()], &mut |_, _| Ok(None), 0);
    let text = found.unwrap_err().to_string();
    assert!(text.contains("no module of the same path"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("similarities.svg");
    let error = anatomy(&[]).write_similarities(&path).unwrap_err();
    assert!(error.to_string().contains("no other"), "{error}");
}
