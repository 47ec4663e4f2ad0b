//! Adapter folders: written and read bit for bit, and refused when they do not fit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::TensorData;
use lora_core::adapter_file::{CONFIG_NAME, WEIGHTS_NAME};
use lora_core::state::{Role, state};
use lora_core::tensor_file::{Precision, TensorFile, write_tensors};
use lora_core::{DEFAULT_ADAPTER, LoraAdapters, LoraConfig, LoraError, LoraModule};
use lora_core_tests::{
    CLASSES, Model, TOKENS, WIDTH, difference, fill_adapters, trainable, training_device,
};
use safetensors::tensor::{Dtype, TensorView};

fn config() -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_target_modules(["embed", "query", "value"])
        .with_modules_to_save(["classifier", "1.norm"])
}

fn fresh() -> Model {
    config().inject(Model::new(&training_device())).unwrap()
}

/// A folder that holds an adapter, and the model it was saved from.
fn saved() -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let model = fill_adapters(fresh());
    model
        .save_adapter(DEFAULT_ADAPTER, folder.path(), false)
        .unwrap();
    (folder, model)
}

fn tensors(folder: &Path) -> BTreeMap<String, TensorData> {
    let file = TensorFile::open(folder.join(WEIGHTS_NAME)).unwrap();
    file.names()
        .into_iter()
        .map(|n| (n.clone(), file.read_floats(&n).unwrap()))
        .collect()
}

/// Rewrites the folder's weights after a change.
fn rewrite(folder: &Path, change: impl FnOnce(&mut BTreeMap<String, TensorData>)) {
    let mut all = tensors(folder);
    change(&mut all);
    write_tensors(
        &folder.join(WEIGHTS_NAME),
        all.into_iter().collect(),
        Precision::F32,
    )
    .unwrap();
}

fn refused(folder: &Path) -> LoraError {
    fresh()
        .hotswap_adapter(DEFAULT_ADAPTER, folder)
        .unwrap_err()
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let (folder, model) = saved();
    // The frozen base is not in the file: the same one has to be there on the other side.
    let base: BTreeMap<_, _> = state(&model, |p| p.adapter.is_none()).into_iter().collect();
    let other = lora_core::state::load_state(fresh(), |info| {
        let in_base = info.role == Role::Base;
        Ok(base.get(&info.name).filter(|_| in_base).cloned())
    });
    let other = other
        .unwrap()
        .hotswap_adapter(DEFAULT_ADAPTER, folder.path())
        .unwrap();
    assert_eq!(state(&model, |_| true), state(&other, |_| true));
    let device = training_device();
    assert_eq!(difference(&model.on(&device), &other.on(&device)), 0.0);
    assert_eq!(trainable(&model), trainable(&other));

    let again = tempfile::tempdir().unwrap();
    other
        .save_adapter(DEFAULT_ADAPTER, again.path(), false)
        .unwrap();
    for name in [WEIGHTS_NAME, CONFIG_NAME] {
        let bytes = |folder: &Path| fs::read(folder.join(name)).unwrap();
        assert_eq!(bytes(folder.path()), bytes(again.path()), "{name}");
    }
}

#[test]
fn a_folder_is_what_peft_writes() {
    let (folder, model) = saved();
    assert_eq!(
        entries(folder.path()),
        ["adapter_config.json", "adapter_model.safetensors"]
    );
    assert_eq!(LoraConfig::from_file(folder.path()).unwrap(), config());
    let all = tensors(folder.path());
    let key = |name: &str| format!("base_model.model.{name}");
    let shape = |name: &str| all[&key(name)].shape().to_vec();
    assert_eq!(shape("layers.0.query.lora_A.weight"), [2, WIDTH]);
    assert_eq!(shape("layers.0.query.lora_B.weight"), [WIDTH, 2]);
    assert_eq!(shape("embed.lora_embedding_A"), [2, TOKENS]);
    assert_eq!(shape("embed.lora_embedding_B"), [WIDTH, 2]);
    assert_eq!(shape("classifier.weight"), [CLASSES, WIDTH]);
    assert_eq!(shape("layers.1.norm.weight"), [WIDTH]);
    assert_eq!(all.len(), 2 * (1 + 2 * 2) + 2 + 2);

    let a = model.layers[0]
        .query
        .weight
        .reparameterization::<LoraAdapters>()
        .and_then(|adapters| adapters.get("default"));
    let a = a.unwrap().a.val().transpose().into_data();
    assert_eq!(a, all[&key("layers.0.query.lora_A.weight")]);
}

#[test]
fn keys_that_do_not_fit_are_listed() {
    let (folder, _) = saved();
    rewrite(folder.path(), |all| {
        let first = all
            .remove("base_model.model.layers.0.query.lora_A.weight")
            .unwrap();
        all.remove("base_model.model.classifier.bias");
        all.insert("base_model.model.layers.0.key.lora_A.weight".into(), first);
    });
    let error = refused(folder.path());
    let text = error.to_string();
    let LoraError::Keys {
        missing,
        unexpected,
        ..
    } = error
    else {
        panic!("{text}")
    };
    assert_eq!(
        missing,
        [
            "base_model.model.classifier.bias",
            "base_model.model.layers.0.query.lora_A.weight"
        ]
    );
    assert_eq!(unexpected, ["base_model.model.layers.0.key.lora_A.weight"]);
    assert!(
        text.contains("2 missing: ") && text.contains("1 unexpected: "),
        "{text}"
    );
    assert!(text.contains(WEIGHTS_NAME), "{text}");
}

#[test]
fn a_wrong_shape_is_refused() {
    let (folder, _) = saved();
    let name = "base_model.model.layers.1.value.lora_B.weight";
    rewrite(folder.path(), |all| {
        all.insert(
            name.into(),
            TensorData::new(vec![0f32; 3 * WIDTH], [WIDTH, 3]),
        );
    });
    let error = refused(folder.path());
    let LoraError::Shape {
        tensor,
        found,
        expected,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (tensor.as_str(), found, expected),
        (name, &vec![WIDTH, 3], &vec![WIDTH, 2])
    );
    // The transpose has as many values and is still another tensor.
    rewrite(folder.path(), |all| {
        all.insert(
            name.into(),
            TensorData::new(vec![0f32; 2 * WIDTH], [2, WIDTH]),
        );
    });
    assert!(matches!(refused(folder.path()), LoraError::Shape { .. }));
}

/// Writes `all` as the folder's weights, the tensor `name` as zeros of another type.
fn with_dtype(
    folder: &Path,
    all: &BTreeMap<String, TensorData>,
    name: &str,
    (dtype, size): (Dtype, usize),
) {
    let encoded = all.iter().map(|(key, data)| {
        let (shape, values) = (data.shape().to_vec(), data.iter::<f32>());
        match key == name {
            true => (key, dtype, shape, vec![0; size * values.count()]),
            false => (
                key,
                Dtype::F32,
                shape,
                values.flat_map(f32::to_le_bytes).collect(),
            ),
        }
    });
    let encoded: Vec<_> = encoded.collect();
    let views = encoded.iter().map(|(key, dtype, shape, bytes)| {
        (key, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(folder.join(WEIGHTS_NAME), bytes).unwrap();
}

#[test]
fn whole_numbers_are_refused_and_narrow_floats_read() {
    let (folder, _) = saved();
    let all = tensors(folder.path());
    let name = "base_model.model.layers.0.value.lora_A.weight";
    with_dtype(folder.path(), &all, name, (Dtype::I64, 8));
    let error = refused(folder.path());
    assert!(
        matches!(&error, LoraError::Dtype { tensor, dtype, .. } if tensor == name && dtype == "I64"),
        "{error}"
    );
    for kind in [(Dtype::F16, 2), (Dtype::BF16, 2), (Dtype::F64, 8)] {
        with_dtype(folder.path(), &all, name, kind);
        let model = fresh()
            .hotswap_adapter(DEFAULT_ADAPTER, folder.path())
            .unwrap();
        let values = state(&model, |p| p.path == "layers.0.value.weight.lora.default.a");
        assert!(values[0].1.iter::<f32>().all(|v| v == 0.0), "{kind:?}");
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let (folder, _) = saved();
    let path = folder.path().join(WEIGHTS_NAME);
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 7, 8, 9, 200, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refused(folder.path());
        assert!(
            matches!(error, LoraError::Safetensors { .. }),
            "{length}: {error}"
        );
        assert!(error.to_string().contains(WEIGHTS_NAME), "{error}");
    }
    fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(
        matches!(refused(folder.path()), LoraError::Safetensors { .. }),
        "trailing byte"
    );
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(folder.path());
    assert!(
        matches!(error, LoraError::Io { action: "read", .. }),
        "{error}"
    );
    assert!(error.to_string().contains(CONFIG_NAME), "{error}");
    fs::write(folder.path().join(CONFIG_NAME), config().to_json()).unwrap();
    let error = refused(folder.path());
    assert!(error.to_string().contains(WEIGHTS_NAME), "{error}");
}

#[test]
fn a_folder_in_use_is_overwritten_only_when_asked() {
    let (folder, model) = saved();
    let before = fs::read(folder.path().join(WEIGHTS_NAME)).unwrap();
    let changed = fresh();
    let error = changed
        .save_adapter(DEFAULT_ADAPTER, folder.path(), false)
        .unwrap_err();
    assert!(matches!(error, LoraError::AlreadyExists { .. }), "{error}");
    assert_eq!(fs::read(folder.path().join(WEIGHTS_NAME)).unwrap(), before);
    changed
        .save_adapter(DEFAULT_ADAPTER, folder.path(), true)
        .unwrap();
    assert_ne!(fs::read(folder.path().join(WEIGHTS_NAME)).unwrap(), before);
    // A new folder is made with its parents.
    model
        .save_adapter(DEFAULT_ADAPTER, folder.path().join("a/b"), false)
        .unwrap();
    assert_eq!(
        fs::read(folder.path().join("a/b").join(WEIGHTS_NAME)).unwrap(),
        before
    );
}

#[test]
fn a_failed_write_leaves_no_part_of_a_file() {
    let model = fill_adapters(fresh());
    let save = |folder: &Path| {
        model
            .save_adapter(DEFAULT_ADAPTER, folder, true)
            .unwrap_err()
    };
    // Nothing can be renamed over a directory, so the last step of the write fails.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join(WEIGHTS_NAME).join("in-use")).unwrap();
    let error = save(folder.path());
    assert!(
        matches!(
            error,
            LoraError::Io {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains(WEIGHTS_NAME), "{error}");
    // No temporary file, and no configuration, which only a complete folder has.
    assert_eq!(entries(folder.path()), [WEIGHTS_NAME]);

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join(CONFIG_NAME).join("in-use")).unwrap();
    assert!(save(folder.path()).to_string().contains(CONFIG_NAME));
    assert_eq!(entries(folder.path()), [CONFIG_NAME, WEIGHTS_NAME]);
    assert!(
        fs::metadata(folder.path().join(WEIGHTS_NAME))
            .unwrap()
            .is_file()
    );

    let file = folder.path().join("a-file");
    fs::write(&file, b"kept").unwrap();
    assert!(matches!(save(&file), LoraError::Io { .. }));
    assert!(matches!(save(&file.join("below")), LoraError::Io { .. }));
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let privileged = fs::write(folder.path().join("probe"), b"").is_ok();
    let result = fresh().save_adapter(DEFAULT_ADAPTER, folder.path(), true);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // An administrator may write anywhere.
    if !privileged {
        assert!(matches!(
            result.unwrap_err(),
            LoraError::Io {
                action: "write",
                ..
            }
        ));
        assert!(entries(folder.path()).is_empty());
    }
}

#[test]
fn without_adapters_there_is_nothing_to_save_or_load() {
    let folder = tempfile::tempdir().unwrap();
    let base = Model::new(&training_device());
    let error = base
        .save_adapter(DEFAULT_ADAPTER, folder.path(), false)
        .unwrap_err();
    assert!(matches!(&error, LoraError::NoAdapter { present, .. } if present.is_empty()));
    assert!(entries(folder.path()).is_empty());
    let (folder, _) = saved();
    let error = base
        .hotswap_adapter(DEFAULT_ADAPTER, folder.path())
        .unwrap_err();
    assert!(matches!(&error, LoraError::NoAdapter { present, .. } if present.is_empty()));
}
