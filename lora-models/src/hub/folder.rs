//! What lies in a local folder.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::HubError;

/// The files of which one holds (or lists) the weights, best first.
pub(super) const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The folder of that name, or `None` for what may be a Hub id.
pub(super) fn local_folder(text: &str) -> Result<Option<PathBuf>, HubError> {
    let path = PathBuf::from(text);
    if path.is_dir() {
        return Ok(Some(path));
    }
    let before_revision = text.split('@').next().unwrap_or(text);
    let only_a_path = text.starts_with(['.', '/', '~'])
        || text.contains('\\')
        || before_revision.matches('/').count() > 1
        || path.exists();
    if only_a_path {
        Err(HubError::MissingFolder { path })
    } else {
        Ok(None)
    }
}

pub(super) fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

pub(super) fn has_weights(folder: &Path) -> bool {
    WEIGHTS.iter().map(|name| folder.join(name)).any(|path| {
        let whole = |names: BTreeSet<String>| names.iter().all(|name| folder.join(name).is_file());
        path.is_file() && (!is_index(&path.to_string_lossy()) || shards(&path).is_ok_and(whole))
    })
}

pub(super) fn has_tokenizer(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has("tokenizer.json") || (has("vocab.json") && has("merges.txt")) || has("vocab.txt")
}

/// The files that an index of sharded weights names.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    let bad = |reason: String| HubError::BadIndex {
        path: index.to_owned(),
        reason,
    };
    let text = fs::read_to_string(index).map_err(|e| bad(e.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let map = json
        .get("weight_map")
        .and_then(serde_json::Value::as_object);
    let names = map.and_then(|map| {
        map.values()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<BTreeSet<_>>>()
    });
    names
        .filter(|names| !names.is_empty())
        .ok_or_else(|| bad("it has no \"weight_map\" of file names".to_owned()))
}

/// Collects the files below a folder as `/`-separated names.
pub(super) fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
