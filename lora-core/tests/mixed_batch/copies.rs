//! Modules trained in full, of which each row takes its own adapter's copy.

use super::*;

/// The model of the case `copies` in `scripts/make_mixed_batch_cases.py`.
#[derive(Module, Debug)]
struct Headed {
    embed: LoraEmbedding,
    up: LoraLinear,
    down: LoraLinear,
    head: LoraLinear,
}

impl Headed {
    fn new(device: &Device) -> Self {
        let Mlp { embed, up, down } = Mlp::new(device);
        let head = LoraLinearConfig::new(8, 8).init(device);
        lora_core::state::initialize(&head);
        Self {
            embed,
            up,
            down,
            head,
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embed.forward(ids);
        let x = x.clone() + self.down.forward(tanh(self.up.forward(x)));
        self.head.forward(x)
    }

    /// What each row gives when it runs alone, with its own adapter active.
    fn row_by_row(&self, names: &[&str], ids: &Tensor<2, Int>) -> Tensor<3> {
        let outputs = names.iter().enumerate().map(|(row, name)| {
            let forward = |model: &Self| model.forward(ids.clone().slice(row..row + 1));
            match *name == BASE_ADAPTER {
                true => self.with_adapters_disabled(forward).unwrap(),
                false => forward(&self.clone().set_active(&[name]).unwrap()),
            }
        });
        Tensor::cat(outputs.collect(), 0)
    }
}

/// Gives every copy values of its own, far from the original's.
fn fill_copies<M: Module>(model: M) -> M {
    let mut number = 0u32;
    load_state(model, |info| {
        let mut next = || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let values: Vec<f32> = (0..info.count()).map(|_| next()).collect();
        let copied = info.role == Role::Saved;
        Ok(copied.then(|| TensorData::new(values, info.shape.clone())))
    })
    .unwrap()
}

/// Three adapters, of which the first has a copy of the head, the second of the head and the table,
/// and the third of nothing.
fn three_headed() -> Headed {
    let config = |saved: &[&str]| {
        let saved: Vec<String> = saved.iter().map(|name| name.to_string()).collect();
        LoraConfig::new()
            .with_r(2)
            .with_target_modules(["up", "down"])
            .with_modules_to_save(saved)
    };
    let model = Headed::new(&training_device())
        .add_adapter("first", &config(&["head"]))
        .and_then(|model| model.add_adapter("second", &config(&["head", "embed"])))
        .and_then(|model| model.add_adapter("third", &config(&[])))
        .unwrap();
    fill_copies(fill_adapters(model))
}

#[test]
fn each_row_takes_its_own_copy_as_in_peft() {
    let case = Case::open("copies", Headed::new(&training_device()));
    let output = case.mixed().forward(case.ids.clone());
    let expected = case.read("output", output.dims());
    assert!(difference(&output, &expected) < 1e-5);
    let alone = case.model.row_by_row(&case.rows(), &case.ids);
    assert!(difference(&output, &alone) < 1e-5);
    // Copies of others would have given something else.
    let first = case.model.clone().set_active(&["first"]).unwrap();
    assert!(difference(&output, &first.forward(case.ids.clone())) > 0.1);
}

#[test]
fn gradients_of_copies_are_pefts() {
    let mut case = Case::open("copies", Headed::new(&training_device()));
    case.model = trained(case.model);
    let output = case.mixed().forward(case.ids.clone());
    let factors = case.read("factors", output.dims());
    let all = (output * factors).sum().backward();
    for adapter in NAMES {
        let found = gradients(&case.model, adapter, &all);
        let copies = found.keys().filter(|name| !name.contains("lora_"));
        let copies: Vec<&str> = copies.map(String::as_str).collect();
        assert_eq!(copies, ["embed.weight", "head.bias", "head.weight"]);
        for (name, gradient) in found {
            let gradient = gradient.unwrap();
            let key = format!("{adapter}/base_model.model.{name}");
            let expected: Vec<f32> = case.file.read_floats(&key).unwrap().iter().collect();
            let expected = TensorData::new(expected, gradient.dims());
            let expected = Tensor::from_data(expected, &training_device());
            assert!(difference(&gradient, &expected) < 1e-5, "{key}");
        }
    }
}

#[test]
fn originals_that_are_chosen_by_row_stay_frozen() {
    let model = three_headed();
    let ids = tokens(3, 2);
    let rows = model.for_rows(&["first", BASE_ADAPTER, "third"]).unwrap();
    let all = rows.forward(ids).sum().backward();
    assert!(rows.head.weight.base().grad(&all).is_none());
    let names = lora_core_tests::with_gradient(&rows, &all);
    // Those of the active adapter; the table is as it is for all of these rows.
    assert!(names.iter().any(|name| name == "head.weight"), "{names:?}");
    assert!(
        !names.iter().any(|name| name == "embed.weight"),
        "{names:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_mixed_batch_of_copies_is_its_rows_alone(
        chosen in prop::collection::vec(0usize..4, 1..7),
        sequence in 1usize..4,
    ) {
        let all = ["first", "second", "third", BASE_ADAPTER];
        let names: Vec<&str> = chosen.into_iter().map(|i| all[i]).collect();
        let model = three_headed();
        let ids = tokens(names.len(), sequence);
        let mixed = model.for_rows(&names).unwrap().forward(ids.clone());
        let alone = model.row_by_row(&names, &ids);
        prop_assert!(difference(&mixed, &alone) < 1e-5);
    }
}

#[test]
#[should_panic(expected = "take different copies of it (`modules_to_save`): first, second")]
fn a_parameter_of_which_rows_take_different_copies_has_no_value() {
    let model = three_headed().for_rows(&["first", "second"]).unwrap();
    model.head.weight.val();
}

#[test]
fn copies_of_other_modules_are_chosen_for_the_whole_batch() {
    let config = |module: &str| {
        LoraConfig::new()
            .with_r(2)
            .with_target_modules(["value"])
            .with_modules_to_save([module])
    };
    let model = lora_core_tests::Model::new(&training_device())
        .add_adapter("one", &config("classifier"))
        .and_then(|model| model.add_adapter("two", &config("classifier")))
        .and_then(|model| model.add_adapter("three", &config("1.norm")))
        .map(fill_adapters)
        .unwrap();
    // Copies that differ from their originals and from each other.
    let model = load_state(model, |info| {
        let shift = match (info.role, info.adapter.as_deref()) {
            (Role::Saved, Some("one")) => 0.5f32,
            (Role::Saved, _) => -0.25,
            _ => return Ok(None),
        };
        let values = vec![shift; info.count()];
        Ok(Some(TensorData::new(values, info.shape.clone())))
    })
    .unwrap();
    for (names, parameter, owners, reader) in [
        (["one", "two"], "classifier.bias", "by one, two", "a Linear"),
        (
            ["one", BASE_ADAPTER],
            "classifier.bias",
            "by one,",
            "a Linear",
        ),
        (
            ["three", BASE_ADAPTER],
            "layers.1.norm.beta",
            "by three,",
            "a LayerNorm",
        ),
    ] {
        let error = model.for_rows(&names).unwrap_err();
        assert!(matches!(error, LoraError::MixedBatchOfCopies { .. }));
        let error = error.to_string();
        for part in [parameter, owners, reader] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let on = |model: &lora_core_tests::Model| model.on(&training_device());
    let alike = on(&model.for_rows(&["two", "two"]).unwrap());
    let two = on(&model.clone().set_active(&["two"]).unwrap());
    assert!(difference(&alike, &two) < 1e-6);
    assert!(difference(&alike, &on(&model)) > 1e-3);
}
