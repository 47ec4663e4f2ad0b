//! What a run can go on from.

mod optimizer_state;
mod parameters;
mod state;

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use lora_core::file::write_atomically;
use lora_core::tensor_file::{Precision, TensorFile, write_tensors};

pub(crate) use parameters::{Parameters, restore, trained};
pub(crate) use state::{Best, TrainerState};

use crate::TrainError;

/// The names of the folders of checkpoints begin with it, and end with the step.
pub const CHECKPOINT_PREFIX: &str = "checkpoint-";
/// The values of the parameters that train.
const PARAMETERS: &str = "trainable.safetensors";
/// The optimizer's.
const OPTIMIZER: &str = "optimizer.bpk";
/// Everything else; Hugging Face's name.
const STATE: &str = "trainer_state.json";

/// The checkpoints in a run's folder: `checkpoint-120` and the like, each with what trains, the state
/// of the optimizer and the state of the run.
///
/// A checkpoint appears whole or not at all: it is written under another name, synced and renamed.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// The checkpoints of the run in `folder`, of which this is the only process: what an earlier one
    /// was writing when it was killed is removed.
    pub(crate) fn open(folder: &Path) -> Result<Self, TrainError> {
        let unfinished = format!(".{CHECKPOINT_PREFIX}");
        for path in entries(folder, &unfinished)? {
            fs::remove_dir_all(&path).map_err(|e| TrainError::io("remove", &path, e))?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// The folder of the checkpoint after `step` steps.
    pub(crate) fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("{CHECKPOINT_PREFIX}{step}"))
    }

    /// The steps that there are checkpoints of, in order.
    pub(crate) fn steps(&self) -> Result<Vec<usize>, TrainError> {
        let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_string);
        let step = |path| name(&path)?.strip_prefix(CHECKPOINT_PREFIX)?.parse().ok();
        let mut steps: Vec<usize> = entries(&self.folder, CHECKPOINT_PREFIX)?
            .into_iter()
            .filter_map(step)
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writes the checkpoint of `state.step`, over one of the same step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Checkpoint`]; all that was there before is then still there.
    pub(crate) fn save<M: Module>(
        &self,
        model: &M,
        optimizer: &ModuleOptimizer,
        state: &TrainerState,
    ) -> Result<(), TrainError> {
        let path = self.path(state.step);
        self.write(&path, model, optimizer, state)
            .map_err(|error| TrainError::Checkpoint {
                path,
                source: Box::new(error),
            })
    }

    fn write<M: Module>(
        &self,
        path: &Path,
        model: &M,
        optimizer: &ModuleOptimizer,
        state: &TrainerState,
    ) -> Result<(), TrainError> {
        let io = |source| TrainError::io("write", path, source);
        let new = tempfile::Builder::new()
            .prefix(&format!(".{CHECKPOINT_PREFIX}"))
            .tempdir_in(&self.folder)
            .map_err(io)?;
        let parameters = trained(model);
        write_tensors(&new.path().join(PARAMETERS), parameters, Precision::F32)?;
        let optimizer = optimizer_state::by_path(optimizer, path)?;
        write_atomically(&new.path().join(OPTIMIZER), &optimizer)?;
        write_atomically(&new.path().join(STATE), state.to_json().as_bytes())?;
        #[cfg(unix)]
        {
            // Temporary folders are private; what this one becomes is an ordinary one.
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755)).map_err(io)?;
        }
        if path.exists() {
            fs::remove_dir_all(path).map_err(|e| TrainError::io("remove", path, e))?;
        }
        fs::rename(new.path(), path).map_err(io)?;
        // Now it is no temporary folder any more, and there is nothing to remove.
        let _ = new.keep();
        if let Ok(folder) = fs::File::open(&self.folder) {
            // Not every file system lets a folder be synced.
            folder.sync_all().ok();
        }
        Ok(())
    }

    /// The state of the run at `step`.
    pub(crate) fn state(&self, step: usize) -> Result<TrainerState, TrainError> {
        let path = self.path(step).join(STATE);
        let text = fs::read_to_string(&path).map_err(|e| TrainError::io("read", &path, e))?;
        TrainerState::from_json(&text, &path)
    }

    /// `model` with the values it had at `step`.
    pub(crate) fn restore<M: Module>(&self, step: usize, model: M) -> Result<M, TrainError> {
        let path = self.path(step).join(PARAMETERS);
        let file = TensorFile::open(&path)?;
        restore(model, &path, |info| file.read(&info.path, &info.shape))
    }

    /// `optimizer` with the state it had at `step`, for the parameters of `model`.
    pub(crate) fn restore_optimizer<M: Module>(
        &self,
        step: usize,
        model: &M,
        optimizer: ModuleOptimizer,
    ) -> Result<ModuleOptimizer, TrainError> {
        optimizer_state::restore(optimizer, model, &self.path(step).join(OPTIMIZER))
    }

    /// Removes every checkpoint.
    pub(crate) fn remove_all(&self) -> Result<(), TrainError> {
        self.prune(0, None)
    }

    /// Removes all but the last `keep` checkpoints and the one of `best`.
    pub(crate) fn prune(&self, keep: usize, best: Option<usize>) -> Result<(), TrainError> {
        let steps = self.steps()?;
        let old = &steps[..steps.len().saturating_sub(keep)];
        for step in old.iter().filter(|step| Some(**step) != best) {
            let path = self.path(*step);
            fs::remove_dir_all(&path).map_err(|e| TrainError::io("remove", &path, e))?;
        }
        Ok(())
    }
}

/// The folders in `folder` whose names begin with `prefix`.
fn entries(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, TrainError> {
    let io = |e| TrainError::io("read", folder, e);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let begins = entry.file_name().to_string_lossy().starts_with(prefix);
        if begins && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
