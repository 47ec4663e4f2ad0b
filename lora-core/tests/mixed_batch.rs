//! Batches whose rows name their adapters, compared with PEFT and with each row alone.

#[path = "mixed_batch/copies.rs"]
mod copies;

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use lora_core::state::{Role, load_state, parameters};
use lora_core::tensor_file::TensorFile;
use lora_core::{
    BASE_ADAPTER, LoraConfig, LoraConv1D, LoraEmbedding, LoraEmbeddingConfig, LoraError,
    LoraLinear, LoraLinearConfig, LoraModule,
};
use lora_core_tests::{difference, fill_adapters, training_device};
use proptest::prelude::*;

/// The model of `scripts/make_mixed_batch_cases.py`.
#[derive(Module, Debug)]
struct Mlp {
    embed: LoraEmbedding,
    up: LoraLinear,
    down: LoraLinear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let model = Self {
            embed: LoraEmbeddingConfig::new(11, 8).init(device),
            up: LoraLinearConfig::new(8, 6).init(device),
            down: LoraLinearConfig::new(6, 8).with_bias(false).init(device),
        };
        lora_core_tests::redrawn(model, 0.3)
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embed.forward(ids);
        x.clone() + self.down.forward(tanh(self.up.forward(x)))
    }
}

const NAMES: [&str; 3] = ["first", "second", "third"];

/// The adapters of the cases, with values that are not zero.
fn three(dora: bool) -> Mlp {
    let config = |r, targets: [&str; 2]| {
        LoraConfig::new()
            .with_r(r)
            .with_lora_alpha(4.0)
            .with_target_modules(targets)
    };
    let model = Mlp::new(&training_device())
        .add_adapter("first", &config(2, ["embed", "up"]))
        .and_then(|m| m.add_adapter("second", &config(3, ["up", "down"]).with_use_dora(dora)))
        .and_then(|m| m.add_adapter("third", &config(1, ["embed", "down"]).with_use_dora(dora)))
        .unwrap();
    fill_adapters(model)
}

/// All three adapters trained.
fn trained<M: Module>(mut model: M) -> M {
    for name in NAMES {
        model = model.set_adapter_require_grad(name, true).unwrap();
    }
    model
}

fn tokens(rows: usize, sequence: usize) -> Tensor<2, Int> {
    let ids: Vec<i64> = (0..rows * sequence).map(|i| (i * 7 % 11) as i64).collect();
    Tensor::from_data(TensorData::new(ids, [rows, sequence]), &training_device())
}

/// What each row gives when it runs alone, with its own adapter active.
fn row_by_row(model: &Mlp, names: &[&str], ids: Tensor<2, Int>) -> Tensor<3> {
    let outputs = names.iter().enumerate().map(|(row, name)| {
        let ids = ids.clone().slice(row..row + 1);
        match *name == BASE_ADAPTER {
            true => model
                .with_adapters_disabled(|base| base.forward(ids))
                .unwrap(),
            false => model.clone().set_active(&[name]).unwrap().forward(ids),
        }
    });
    Tensor::cat(outputs.collect(), 0)
}

/// The gradients of an adapter's factors, by PEFT's names and in its layout.
fn gradients<M: Module>(
    model: &M,
    adapter: &str,
    gradients: &Gradients,
) -> BTreeMap<String, Option<Tensor<2>>> {
    struct Collect<'a>(&'a Gradients, Vec<Option<Tensor<2>>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.base().grad(self.0);
            self.1.push(gradient.map(|gradient| {
                let shape = gradient.dims();
                gradient.reshape([shape[0], shape[1..].iter().product()])
            }));
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    model.visit(&mut collect);
    let all = parameters(model).into_iter().zip(collect.1);
    all.filter(|(info, _)| info.adapter.as_deref() == Some(adapter))
        .map(|(info, gradient)| {
            let published = |g: Tensor<2>| if info.transposed { g.transpose() } else { g };
            (info.name, gradient.map(published))
        })
        .collect()
}

struct Case<M> {
    model: M,
    rows: Vec<String>,
    ids: Tensor<2, Int>,
    file: TensorFile,
}

impl<M: Module> Case<M> {
    fn open(name: &str, base: M) -> Self {
        let device = training_device();
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peft/mixed_batch");
        let folder = folder.join(name);
        let file = TensorFile::open(folder.join("base.safetensors")).unwrap();
        let mut model = load_state(base, |info| file.read(&info.name, &info.shape)).unwrap();
        for name in NAMES {
            model = model.load_adapter(name, folder.join(name)).unwrap();
        }
        let text = std::fs::read_to_string(folder.join("case.json")).unwrap();
        let mut case: serde_json::Value = serde_json::from_str(&text).unwrap();
        let rows: Vec<String> = serde_json::from_value(case["rows"].take()).unwrap();
        let ids: Vec<Vec<i64>> = serde_json::from_value(case["ids"].take()).unwrap();
        let shape = [rows.len(), ids[0].len()];
        let ids = TensorData::new(ids.concat(), shape);
        Self {
            model,
            rows,
            ids: Tensor::from_data(ids, &device),
            file: TensorFile::open(folder.join("case.safetensors")).unwrap(),
        }
    }

    fn rows(&self) -> Vec<&str> {
        self.rows.iter().map(String::as_str).collect()
    }

    fn mixed(&self) -> M {
        self.model.for_rows(&self.rows()).unwrap()
    }

    fn read<const D: usize>(&self, name: &str, shape: [usize; D]) -> Tensor<D> {
        let data = self.file.read(name, &shape).unwrap().unwrap();
        Tensor::from_data(data, &training_device())
    }
}

#[test]
fn a_mixed_batch_gives_what_pefts_does() {
    for name in ["lora", "dora"] {
        let case = Case::open(name, Mlp::new(&training_device()));
        let output = case.mixed().forward(case.ids.clone());
        let expected = case.read("output", output.dims());
        assert!(difference(&output, &expected) < 1e-5, "{name}");
        let alone = row_by_row(&case.model, &case.rows(), case.ids.clone());
        assert!(difference(&output, &alone) < 1e-5, "{name}");
        // The adapters differ by far more than that.
        let first = case.model.clone().set_active(&["first"]).unwrap();
        assert!(difference(&output, &first.forward(case.ids.clone())) > 0.1);
    }
}

#[test]
fn gradients_of_a_mixed_batch_are_pefts() {
    let mut case = Case::open("lora", Mlp::new(&training_device()));
    case.model = trained(case.model);
    let output = case.mixed().forward(case.ids.clone());
    let factors = case.read("factors", output.dims());
    let all = (output * factors).sum().backward();
    for adapter in NAMES {
        let found = gradients(&case.model, adapter, &all);
        assert_eq!(found.len(), 4);
        for (name, gradient) in found {
            let gradient = gradient.unwrap();
            let key = format!("{adapter}/base_model.model.{name}");
            let expected = case.read(&key, gradient.dims());
            assert!(difference(&gradient, &expected) < 1e-5, "{key}");
        }
    }
}

#[test]
fn gradients_reach_an_adapter_from_its_own_rows_only() {
    let names = ["third", "first", BASE_ADAPTER, "second", "first"];
    let model = trained(three(true));
    let ids = tokens(names.len(), 3);
    for adapter in NAMES {
        let output = model.for_rows(&names).unwrap().forward(ids.clone());
        // A loss that only sees the rows of one adapter.
        let own: Vec<f32> = names.iter().map(|n| f32::from(*n == adapter)).collect();
        let own = Tensor::<3>::from_data(
            TensorData::new(own, [names.len(), 1, 1]),
            &training_device(),
        );
        let loss = (output.clone() * own).square().sum();
        let mixed = loss.backward();
        for other in NAMES {
            for (name, gradient) in gradients(&model, other, &mixed) {
                let largest = gradient.map_or(0.0, |g| g.abs().max().into_scalar::<f32>());
                assert_eq!(largest > 0.0, other == adapter, "{adapter} {other} {name}");
            }
        }
        // And they are those of the rows alone.
        let rows = names.iter().enumerate().filter(|(_, n)| **n == adapter);
        let rows: Vec<_> = rows
            .map(|(row, _)| ids.clone().slice(row..row + 1))
            .collect();
        let alone = model.clone().set_active(&[adapter]).unwrap();
        let alone_gradients = alone
            .forward(Tensor::cat(rows, 0))
            .square()
            .sum()
            .backward();
        let expected = gradients(&alone, adapter, &alone_gradients);
        for (name, gradient) in gradients(&model, adapter, &mixed) {
            let (found, expected) = (gradient.unwrap(), expected[&name].clone().unwrap());
            assert!(difference(&found, &expected) < 1e-4, "{adapter} {name}");
        }
    }
}

#[test]
fn adapters_that_are_not_trained_stay_so() {
    // The first is trained because it was added first.
    let model = three(false);
    let output = model
        .for_rows(&["first", "second"])
        .unwrap()
        .forward(tokens(2, 3));
    let all = output.sum().backward();
    assert!(
        gradients(&model, "first", &all)
            .values()
            .all(Option::is_some)
    );
    assert!(
        gradients(&model, "second", &all)
            .values()
            .all(Option::is_none)
    );
    assert_eq!(model.active_adapters(), ["first"]);
}

#[test]
fn rows_of_the_base_are_the_base_bit_for_bit() {
    let model = three(true);
    let names = [BASE_ADAPTER, "second", BASE_ADAPTER, "first"];
    let ids = tokens(4, 3);
    let base = |model: &Mlp| model.forward(ids.clone());
    let plain = model.with_adapters_disabled(base).unwrap();
    let mixed = model.for_rows(&names).unwrap().forward(ids.clone());
    for row in [0, 2] {
        let of = |output: &Tensor<3>| output.clone().slice(row..row + 1);
        assert_eq!(difference(&of(&mixed), &of(&plain)), 0.0, "{row}");
    }
    let all = model
        .for_rows(&[BASE_ADAPTER; 4])
        .unwrap()
        .forward(ids.clone());
    assert_eq!(difference(&all, &plain), 0.0);
}

#[test]
fn a_choice_of_rows_survives_copies_and_ends_with_any_change() {
    let model = three(false);
    let names = ["second", "third", "first"];
    let ids = tokens(3, 2);
    let rows = model.for_rows(&names).unwrap();
    let output = rows.forward(ids.clone());
    let device = training_device();
    for copy in [rows.valid().train(), rows.clone().fork(&device)] {
        assert_eq!(difference(&copy.forward(ids.clone()), &output), 0.0);
    }
    // The module it was made of is as it was, and so is what comes after a change.
    let active = model.forward(ids.clone());
    assert!(difference(&active, &output) > 1e-3);
    let changed = rows.clone().set_scale("second", 2.0).unwrap();
    assert_eq!(difference(&changed.forward(ids.clone()), &active), 0.0);
    let merged = rows.clone().merge_and_unload().unwrap();
    assert!(difference(&merged.forward(ids.clone()), &active) < 1e-5);
    let base = |m: &Mlp| m.forward(ids.clone());
    assert_eq!(
        difference(
            &rows.with_adapters_disabled(base).unwrap(),
            &model.with_adapters_disabled(base).unwrap()
        ),
        0.0
    );
}

#[test]
fn what_cannot_be_chosen_by_row_is_refused() {
    let model = three(false);
    let error = |result: Result<Mlp, LoraError>| result.unwrap_err();
    assert!(matches!(error(model.for_rows(&[])), LoraError::NoRows));
    let absent = error(model.for_rows(&["first", "fourth"])).to_string();
    assert!(
        absent.contains("no adapter \"fourth\"; it has "),
        "{absent}"
    );
    let merged = model.clone().merge().unwrap();
    assert!(matches!(
        error(merged.for_rows(&["second"])),
        LoraError::AdapterMerged { adapter } if adapter == "first"
    ));
    let disabled = model.disable_adapters().unwrap();
    assert!(matches!(
        error(disabled.for_rows(&["first"])),
        LoraError::AdaptersDisabled
    ));
    let plain = Mlp::new(&training_device());
    assert!(matches!(
        error(plain.for_rows(&[BASE_ADAPTER])),
        LoraError::NotInjected
    ));
}

#[test]
fn a_composed_weight_takes_one_adapter_for_all_rows() {
    let config = |targets: &[&str]| {
        let targets: Vec<String> = targets.iter().map(|t| t.to_string()).collect();
        LoraConfig::new().with_r(2).with_target_modules(targets)
    };
    let model = lora_core_tests::Model::new(&training_device())
        .add_adapter("one", &config(&["value", "query"]))
        .and_then(|model| model.add_adapter("two", &config(&["value", "down"])))
        .map(fill_adapters)
        .unwrap();
    let error = model.for_rows(&["two", "one"]).unwrap_err();
    assert!(
        matches!(&error, LoraError::MixedBatchUnsupported { module, kind }
            if module == "layers.0.query" && kind == "Linear"),
        "{error}"
    );
    assert!(error.to_string().contains("use `LoraLinear`"), "{error}");
    let on = |model: &lora_core_tests::Model| model.on(&training_device());
    // `two` has no adapter on Burn's `Linear`.
    let mixed = on(&model.for_rows(&["two", BASE_ADAPTER]).unwrap());
    let two = on(&model.clone().set_active(&["two"]).unwrap());
    let base = model.with_adapters_disabled(on).unwrap();
    let expected = Tensor::cat(vec![two.slice(0..1), base.slice(1..2)], 0);
    assert!(difference(&mixed, &expected) < 1e-5);
    let model = model.set_active(&["two"]).unwrap();
    let alike = on(&model.for_rows(&["one", "one"]).unwrap());
    let one = on(&model.set_active(&["one"]).unwrap());
    assert!(difference(&alike, &one) < 1e-6);
}

#[test]
fn the_layers_of_gpt2_choose_by_row_too() {
    #[derive(Module, Debug)]
    struct Layer {
        c_attn: LoraConv1D,
    }
    let device = training_device();
    let layer = || LoraLinearConfig::new(4, 6).init(&device);
    let config = LoraConfig::new().with_r(2).with_target_modules(["c_attn"]);
    let model = Layer {
        c_attn: layer().into(),
    };
    let model = model
        .add_adapter("one", &config)
        .and_then(|model| model.add_adapter("two", &config))
        .map(fill_adapters)
        .unwrap();
    let x = lora_core_tests::normal([3, 2, 4], &device);
    let of = |model: &Layer| model.c_attn.forward(x.clone());
    let mixed = of(&model.for_rows(&["two", BASE_ADAPTER, "one"]).unwrap());
    let two = of(&model.clone().set_active(&["two"]).unwrap());
    let base = model.with_adapters_disabled(of).unwrap();
    let expected = vec![two.slice(0..1), base.slice(1..2), of(&model).slice(2..3)];
    assert!(difference(&mixed, &Tensor::cat(expected, 0)) < 1e-6);
}

#[test]
#[should_panic(
    expected = "`for_rows` named the adapters of 3 rows, but the input of a layer has 8"
)]
fn a_batch_of_another_size_panics() {
    let model = three(false)
        .for_rows(&["first", "second", "third"])
        .unwrap();
    model.forward(tokens(4, 2));
}

#[test]
#[should_panic(expected = "go through different adapters of it: first, second")]
fn a_weight_that_differs_by_row_has_no_value() {
    let model = three(false).for_rows(&["first", "second"]).unwrap();
    model.up.weight.val();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_mixed_batch_is_its_rows_alone(
        chosen in prop::collection::vec(0usize..4, 1..7),
        sequence in 1usize..4,
        dora in any::<bool>(),
    ) {
        let all = ["first", "second", "third", BASE_ADAPTER];
        let names: Vec<&str> = chosen.into_iter().map(|i| all[i]).collect();
        let model = three(dora);
        let ids = tokens(names.len(), sequence);
        let mixed = model.for_rows(&names).unwrap().forward(ids.clone());
        let alone = row_by_row(&model, &names, ids);
        prop_assert!(difference(&mixed, &alone) < 1e-5);
    }
}
