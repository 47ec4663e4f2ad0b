//! What a model says of its adapters, compared with PEFT.

use std::path::PathBuf;

use burn::tensor::{DType, FloatDType};
use lora_core::{Agreement, Aspect, LoraConfig, LoraModule, ModelStatus};
use lora_core_tests::{Model, fill_adapters, training_device};
use serde_json::{Value, json};

/// The adapters of `scripts/make_status_cases.py`.
fn adapted() -> Model {
    let one = LoraConfig::new()
        .with_r(2)
        .with_target_modules(["query", "value", "embed"])
        .with_modules_to_save(["classifier"]);
    let two = LoraConfig::new()
        .with_r(3)
        .with_target_modules(["query", "down"]);
    let model = Model::new(&training_device())
        .add_adapter("one", &one)
        .and_then(|model| model.add_adapter("two", &two))
        .unwrap();
    fill_adapters(model)
}

/// The states of that script, by their names in it.
fn in_state(state: &str) -> Model {
    let mut model = adapted();
    match state {
        "fresh" => {}
        "switched" => model = model.set_active(&["two"]).unwrap(),
        "merged" => model = model.merge().unwrap(),
        "disabled" => model = model.disable_adapters().unwrap(),
        "one_layer_switched" => {
            let query = model.layers[0].query.clone().set_active(&["two"]);
            model.layers[0].query = query.unwrap();
        }
        "one_layer_merged" => {
            let query = model.layers[1].query.clone().merge();
            model.layers[1].query = query.unwrap();
        }
        "one_layer_frozen" => {
            let value = model.layers[0].value.clone();
            model.layers[0].value = value.set_adapter_require_grad("one", false).unwrap();
        }
        other => panic!("unknown state {other}"),
    }
    model
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_str().unwrap().to_string()).collect()
}

#[test]
fn every_layer_is_in_the_state_that_peft_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peft/status/cases.json");
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 7);
    for (state, expected) in cases {
        let status = in_state(state).status();
        let layers = expected["layers"].as_array().unwrap();
        let paths: Vec<&str> = status.layers.iter().map(|l| l.path.as_str()).collect();
        let names: Vec<&str> = layers.iter().map(|l| l["name"].as_str().unwrap()).collect();
        assert_eq!(paths, names, "{state}");
        for (layer, expected) in status.layers.iter().zip(layers) {
            let place = format!("{state}: {}", layer.path);
            assert_eq!(json!(layer.enabled), expected["enabled"], "{place}");
            let names: Vec<&str> = layer.adapters.iter().map(|a| a.name.as_str()).collect();
            assert_eq!(json!(names), expected["available_adapters"], "{place}");
            let (active, merged) = (
                strings(&expected["active_adapters"]),
                strings(&expected["merged_adapters"]),
            );
            for adapter in &layer.adapters {
                assert_eq!(adapter.active, active.contains(&adapter.name), "{place}");
                assert_eq!(adapter.merged, merged.contains(&adapter.name), "{place}");
                // PEFT also freezes what it disables.
                if state != "disabled" {
                    let trained = &expected["requires_grad"][&adapter.name];
                    assert_eq!(json!(adapter.trainable), *trained, "{place}");
                }
            }
        }
        let model = &expected["model"];
        assert_eq!(json!(status.adapters), model["available_adapters"]);
        assert_eq!(json!(status.enabled), model["enabled"], "{state}");
        assert_eq!(status.total_parameters, model["total_params"], "{state}");
        if state != "disabled" {
            assert_eq!(json!(status.trainable), model["requires_grad"], "{state}");
            let trained = &model["trainable_params"];
            assert_eq!(json!(status.trainable_parameters), *trained, "{state}");
        }
    }
}

/// What is irregular: the aspect, the adapter and the number of modules with each value.
fn irregular(status: &ModelStatus) -> Vec<(Aspect, Option<&str>, Vec<usize>)> {
    let all = status.irregularities.iter();
    all.map(|irregularity| {
        let counts = irregularity.values.values().map(Vec::len).collect();
        (irregularity.aspect, irregularity.adapter.as_deref(), counts)
    })
    .collect()
}

#[test]
fn irregular_states_are_named_with_the_modules_they_are_in() {
    for regular in ["fresh", "switched", "merged", "disabled"] {
        let status = in_state(regular).status();
        assert_eq!(irregular(&status), [], "{regular}");
        assert!(!status.to_string().contains("irregular"), "{regular}");
    }
    let status = in_state("one_layer_switched").status();
    // `one` has five modules and a copy, `two` four modules.
    assert_eq!(
        irregular(&status),
        [
            (Aspect::Active, Some("one"), vec![5, 1]),
            (Aspect::Trainable, Some("one"), vec![5, 1]),
            (Aspect::Active, Some("two"), vec![1, 3]),
            (Aspect::Trainable, Some("two"), vec![1, 3]),
        ]
    );
    assert_eq!(status.active, ["one", "two"]);
    assert_eq!(
        status.irregularities[0].to_string(),
        "adapter \"one\" is active in 5 places (embed … classifier) and not active in \
         layers.0.query"
    );
    let status = in_state("one_layer_merged").status();
    assert_eq!(
        irregular(&status),
        [(Aspect::Merged, Some("one"), vec![4, 1])]
    );
    assert_eq!(status.merged, ["one"]);
    let status = in_state("one_layer_frozen").status();
    assert_eq!(
        irregular(&status),
        [(Aspect::Trainable, Some("one"), vec![5, 1])]
    );
    assert_eq!(status.trainable["one"], Agreement::Irregular);
    let mut model = adapted();
    model.layers[1].down = model.layers[1].down.clone().disable_adapters().unwrap();
    let status = model.status();
    assert_eq!(irregular(&status), [(Aspect::Enabled, None, vec![7, 1])]);
    assert_eq!(status.enabled, Agreement::Irregular);
}

#[test]
fn half_of_an_adapter_that_is_frozen_is_irregular() {
    use burn::module::{Module, ModuleMapper, Param};
    use burn::tensor::Tensor;
    struct FreezeB(Vec<String>);
    impl ModuleMapper for FreezeB {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.0.join(".").ends_with("lora.two.b") {
                true => param.set_require_grad(false),
                false => param,
            }
        }
    }
    let model = in_state("switched").map(&mut FreezeB(Vec::new()));
    let status = model.status();
    let down = status.layers.iter().find(|l| l.path == "layers.1.down");
    assert_eq!(
        down.unwrap().adapter("two").unwrap().trainable,
        Agreement::Irregular
    );
    assert_eq!(
        irregular(&status),
        [(Aspect::Trainable, Some("two"), vec![4, 4])]
    );
}

#[test]
fn types_and_devices_are_listed_and_compared() {
    let model = adapted();
    let status = model.status();
    for layer in &status.layers {
        assert_eq!(layer.dtypes, [DType::F32], "{}", layer.path);
        assert_eq!(layer.devices.len(), 1);
        assert!(layer.adapters.iter().all(|a| a.devices == layer.devices));
        assert!(layer.adapters.iter().all(|a| a.dtypes == layer.dtypes));
    }
    // One base in f16, with its adapters still in f32.
    let mut model = model;
    let value = model.layers[0].value.clone().unload().unwrap();
    let half = burn::nn::Linear {
        weight: value.weight.map(|weight| weight.cast(FloatDType::F16)),
        bias: value.bias,
    };
    model.layers[0].value = half.into();
    model = model.unload().unwrap();
    let config = LoraConfig::new().with_r(2).with_target_modules(["value"]);
    let status = model.add_adapter("one", &config).unwrap().status();
    let places = irregular(&status);
    assert!(
        places.contains(&(Aspect::Dtype, None, vec![1, 3])),
        "{places:?}"
    );
    let irregularity = status.irregularities.last().unwrap();
    assert_eq!(irregularity.values["F16"], ["layers.0.value"]);
    assert_eq!(
        irregularity.values["F32"],
        ["layers.0.value.one", "layers.1.value", "layers.1.value.one"]
    );
    assert!(
        irregularity
            .to_string()
            .starts_with("there are parameters of type F16 in layers.0.value and F32 in"),
        "{irregularity}"
    );
}

#[test]
fn what_is_not_initialized_yet_stays_so() {
    let device = training_device();
    #[derive(burn::module::Module, Debug)]
    struct Lazy {
        dense: lora_core::LoraLinear,
    }
    let dense = lora_core::LoraLinearConfig::new(3, 4).init(&device);
    let config = LoraConfig::new().with_r(2).with_target_modules(["dense"]);
    let model = config.inject(Lazy { dense }).unwrap();
    let status = model.status();
    assert!(!model.dense.weight.is_initialized());
    assert!(status.layers[0].dtypes.is_empty());
    assert_eq!(status.layers[0].adapters[0].dtypes, [DType::F32]);
}

#[test]
fn the_table_has_a_line_for_each_adapter_of_each_module() {
    let text = adapted().status().to_string();
    let lines: Vec<&str> = text.lines().collect();
    let words = |line: &str| -> Vec<String> { line.split_whitespace().map(String::from).collect() };
    assert_eq!(
        words(lines[0]),
        [
            "module", "type", "adapter", "enabled", "active", "merged", "trained", "rank", "dtype",
            "device"
        ]
    );
    let device = &adapted().status().layers[0].devices[0];
    assert_eq!(
        words(lines[2]),
        [
            "layers.0.query",
            "Linear",
            "one",
            "yes",
            "yes",
            "no",
            "yes",
            "2",
            "F32",
            device
        ]
    );
    assert_eq!(
        words(lines[3]),
        ["two", "yes", "no", "no", "no", "3", "F32", device]
    );
    assert_eq!(
        words(lines[10]),
        [
            "classifier",
            "Linear",
            "one",
            "yes",
            "yes",
            "-",
            "yes",
            "full",
            "F32",
            device
        ]
    );
    // The columns line up.
    let column = |line: &str, word: &str| line.find(word).unwrap();
    assert_eq!(column(lines[2], "one"), column(lines[3], "two"));
    assert_eq!(column(lines[0], "rank"), column(lines[10], "full"));
    assert_eq!(
        &lines[11..],
        [
            "adapters: one, two",
            "active: one",
            "merged: none",
            "trained parameters: 193 of 1088",
        ]
    );
    let disabled = in_state("disabled").status().to_string();
    assert!(disabled.contains("disabled: the base is computed alone"));
    let rows = adapted().set_active(&["two"]).unwrap();
    let rows = rows.for_rows(&["one", "one"]).unwrap().status();
    assert_eq!(
        rows.rows.as_deref(),
        Some(&["one".to_string(), "one".to_string()][..])
    );
    assert!(rows.to_string().contains("rows of the batch: one, one"));
    let plain = Model::new(&training_device()).status();
    assert_eq!(plain.to_string(), "no adapters");
    assert!(plain.layers.is_empty() && plain.rows.is_none());
}

#[test]
fn it_is_written_as_json() {
    let status = in_state("one_layer_frozen").status();
    let value = serde_json::to_value(&status).unwrap();
    assert_eq!(value["layers"][1]["path"], "layers.0.query");
    assert_eq!(value["layers"][1]["adapters"][0]["trainable"], true);
    assert_eq!(value["layers"][1]["adapters"][0]["rank"], 2);
    assert_eq!(value["layers"][1]["adapters"][0]["dtypes"], json!(["F32"]));
    assert_eq!(
        value["trainable"],
        json!({"one": "irregular", "two": false})
    );
    assert_eq!(value["irregularities"][0]["aspect"], "trainable");
    assert_eq!(
        value["irregularities"][0]["values"]["frozen"],
        json!(["layers.0.value"])
    );
}
