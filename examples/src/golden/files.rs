//! Adapter folders, compared bit for bit.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lora_core::LoraConfig;
use lora_core::adapter_file::{CONFIG_NAME, WEIGHTS_NAME};
use safetensors::SafeTensors;

use super::report::{Part, Report};

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty folder.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("burn-lora-golden-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
        Ok(Self(path))
    }

    /// The path of a folder in it, not created yet.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Compares the adapter folder `written` with the one PEFT wrote: the same keys, types, shapes and
/// bytes, and a configuration of the same meaning.
///
/// # Errors
///
/// A file cannot be read.
pub fn compare_adapters(
    peft: &Path,
    written: &Path,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let [expected, found] = [
        LoraConfig::from_file(peft)?,
        LoraConfig::from_file(written)?,
    ];
    report.equal(CONFIG_NAME, &expected, &found);
    let [expected, found] = [tensors(peft)?, tensors(written)?];
    let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
    report.equal(
        "the keys of the adapter file",
        &names(&expected),
        &names(&found),
    );
    let differing = expected
        .iter()
        .filter(|(name, tensor)| found.get(*name) != Some(tensor));
    let differing: Vec<&String> = differing.map(|(name, _)| name).collect();
    for name in &differing {
        report.problems.push(format!(
            "{name} of {WEIGHTS_NAME} is not bit for bit PEFT's"
        ));
    }
    report.parts.push(Part {
        name: "file",
        largest: differing.len() as f32,
        tolerance: 0.0,
    });
    Ok(())
}

/// Each tensor's type with its shape, and its bytes.
type Tensors = BTreeMap<String, (String, Vec<u8>)>;

fn tensors(folder: &Path) -> Result<Tensors, Box<dyn Error>> {
    let path = folder.join(WEIGHTS_NAME);
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let bytes = std::fs::read(&path).map_err(|e| named(&e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| named(&e))?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        (
            name,
            (
                format!("{:?} {:?}", view.dtype(), view.shape()),
                view.data().to_vec(),
            ),
        )
    });
    Ok(tensors.collect())
}
