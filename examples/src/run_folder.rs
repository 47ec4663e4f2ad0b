//! The folder that a fine-tuning run leaves.

use std::error::Error;
use std::path::{Path, PathBuf};

use lora_core::file::prepare_folder;
use lora_core::{DEFAULT_ADAPTER, LoraError, LoraModule};
use lora_models::{Precision, PretrainedModel, Tokenizer};
use lora_train::{
    CHECKPOINT_PREFIX, CONFIG_NAME, LOCK_NAME, LOG_NAME, METRICS_NAME, Method, REPORT_NAME,
};

/// The folder of the adapter.
pub const ADAPTER: &str = "adapter";
/// The folder of the model, where it was not adapters that trained.
pub const MODEL: &str = "model";
/// The picture of the run.
pub const PLOT: &str = "plot.svg";

/// The folder of the first stage, where there are two.
pub const HEAD: &str = "head";

/// A folder to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFolder {
    /// Where it is.
    pub path: PathBuf,
    /// Whether an earlier run in it goes.
    pub overwrite: bool,
}

/// The folder to write to, which is empty or may be overwritten.
///
/// The default folder may be if all that lies in it is what every run writes, or one of `more`.
///
/// # Errors
///
/// [`LoraError::AlreadyExists`] if there is something else in it, [`LoraError::Io`].
pub fn prepare_out(
    given: Option<&Path>,
    default: &str,
    overwrite: bool,
    more: &[&str],
) -> Result<OutFolder, LoraError> {
    let path = given.unwrap_or(Path::new(default)).to_path_buf();
    let overwrite = overwrite || (given.is_none() && holds_only_a_run(&path, more));
    prepare_folder(&path, overwrite)?;
    Ok(OutFolder { path, overwrite })
}

fn holds_only_a_run(folder: &Path, more: &[&str]) -> bool {
    let written = [
        ADAPTER,
        MODEL,
        HEAD,
        CONFIG_NAME,
        METRICS_NAME,
        LOG_NAME,
        LOCK_NAME,
        PLOT,
        REPORT_NAME,
    ];
    let known = |entry: std::io::Result<std::fs::DirEntry>| {
        let is = |entry: std::fs::DirEntry| {
            let name = entry.file_name();
            let checkpoint = name.to_string_lossy().starts_with(CHECKPOINT_PREFIX);
            checkpoint || written.iter().chain(more).any(|written| name == *written)
        };
        entry.is_ok_and(is)
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(known))
}

/// What the trained weights are saved as.
pub fn saved_as(method: &Method) -> &'static str {
    match method.adapters() {
        Some(_) => ADAPTER,
        None => MODEL,
    }
}

/// Writes the adapter or the model, over that of an earlier run.
///
/// # Errors
///
/// Whatever stands in the way of a file.
pub fn save<M: PretrainedModel>(
    out: &Path,
    method: &Method,
    model: &M,
    tokenizer: &Tokenizer,
) -> Result<(), Box<dyn Error>> {
    let folder = out.join(saved_as(method));
    match method.adapters() {
        Some(_) => model.save_adapter(DEFAULT_ADAPTER, &folder, true)?,
        None => {
            match method.factorization() {
                // A plain model, for whoever reads it.
                Some(_) => {
                    let plain = model.clone().merge_and_unload()?;
                    plain.save_pretrained(&folder, Precision::F32, true)?;
                }
                None => model.save_pretrained(&folder, Precision::F32, true)?,
            }
            tokenizer.save(&folder)?;
        }
    }
    // Only of a run that has ended; another folder of that name is somebody else's.
    let has_earlier = out.join(METRICS_NAME).exists();
    for other in [ADAPTER, MODEL].map(|name| out.join(name)) {
        // It would not belong to the metrics beside it.
        if has_earlier && other != folder && other.is_dir() {
            std::fs::remove_dir_all(&other)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_no_earlier_run_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (out, theirs) = (folder.path(), folder.path().join(ADAPTER));
        let device = lora_core::default_device();
        let name = crate::named(&None, "roberta-tiny");
        type Model = lora_models::bert::SequenceClassification;
        let loaded = Model::from_pretrained(&name, &device).unwrap();
        let tokenizer = Tokenizer::from_folder(&loaded.folder).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        save(out, &Method::Head, &loaded.model, &tokenizer).unwrap();
        assert!(theirs.exists() && out.join(MODEL).exists());
        std::fs::write(out.join(METRICS_NAME), b"").unwrap();
        save(out, &Method::Head, &loaded.model, &tokenizer).unwrap();
        assert!(!theirs.exists() && out.join(MODEL).exists());
    }

    #[test]
    fn only_our_own_default_run_is_overwritten() {
        let folder = std::env::temp_dir().join(format!("run-folder-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("checkpoint-12")).unwrap();
        for name in [CONFIG_NAME, REPORT_NAME] {
            std::fs::write(folder.join(name), b"").unwrap();
        }
        assert!(holds_only_a_run(&folder, &[]));
        std::fs::write(folder.join("notes.txt"), b"").unwrap();
        assert!(!holds_only_a_run(&folder, &[]));
        assert!(holds_only_a_run(&folder, &["notes.txt"]));
        let error = prepare_out(Some(&folder), "out", false, &["notes.txt"]).unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
        let out = prepare_out(Some(&folder), "out", true, &[]).unwrap();
        assert!(out.overwrite && out.path == folder);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
