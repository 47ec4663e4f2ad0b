//! One run in a folder at a time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::TrainError;

/// The file in a run's folder that is locked while it runs. It stays, as removing it would let two runs
/// lock two files of that name.
pub const LOCK_NAME: &str = ".lock";

/// A folder that no other run may use. The system gives it up when the process ends, however it does.
///
/// [`Trainer::folder`](crate::Trainer::folder) takes the folder for as long as it trains. Who writes
/// files of the run before or after that takes it first, and hands it to
/// [`Trainer::locked_folder`](crate::Trainer::locked_folder).
#[derive(Debug)]
pub struct RunLock {
    folder: PathBuf,
    _file: File,
}

impl RunLock {
    /// Takes `folder`, and creates it if need be.
    ///
    /// # Errors
    ///
    /// [`TrainError::FolderInUse`] if another run has it, [`TrainError::Io`].
    pub fn take(folder: &Path) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(|e| TrainError::io("create", folder, e))?;
        let path = folder.join(LOCK_NAME);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| TrainError::io("write", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                folder: folder.to_path_buf(),
                _file: file,
            }),
            Err(TryLockError::WouldBlock) => Err(TrainError::FolderInUse {
                path: folder.to_path_buf(),
            }),
            Err(TryLockError::Error(e)) => Err(TrainError::io("lock", &path, e)),
        }
    }

    /// The folder that is taken.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let first = RunLock::take(&path).unwrap();
        assert_eq!(first.folder(), path);
        let error = RunLock::take(&path).unwrap_err();
        assert!(matches!(error, TrainError::FolderInUse { .. }), "{error}");
        drop(first);
        RunLock::take(&path).unwrap();
    }
}
