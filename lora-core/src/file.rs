//! Writing files so that a crash never leaves half of one.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::LoraError;

/// Writes `bytes` to `path`: into a temporary file beside it, synced, then renamed over it.
///
/// # Errors
///
/// [`LoraError::Io`]; whatever was at `path` before is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), LoraError> {
    let error = |source| LoraError::io("write", path, source);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder)
        .map_err(error)?;
    temporary.write_all(bytes).map_err(error)?;
    temporary.as_file().sync_all().map_err(error)?;
    #[cfg(unix)]
    {
        // Temporary files are private; what they become is an ordinary file.
        use std::os::unix::fs::PermissionsExt;
        let ordinary = fs::Permissions::from_mode(0o644);
        temporary
            .as_file()
            .set_permissions(ordinary)
            .map_err(error)?;
    }
    temporary.persist(path).map_err(|e| error(e.error))?;
    // The rename itself lies in the folder; not every file system lets a folder be synced.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}

/// Makes `folder` ready to be written into.
///
/// # Errors
///
/// [`LoraError::AlreadyExists`] if it exists with something in it and `overwrite` is false.
pub fn prepare_folder(folder: &Path, overwrite: bool) -> Result<(), LoraError> {
    let occupied = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(LoraError::io("read", folder, e)),
    };
    if occupied && !overwrite {
        return Err(LoraError::AlreadyExists {
            path: folder.to_path_buf(),
        });
    }
    fs::create_dir_all(folder).map_err(|e| LoraError::io("create", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let missing = folder.path().join("no/such/folder/a.txt");
        assert!(
            write_atomically(&missing, b"")
                .unwrap_err()
                .to_string()
                .contains("a.txt")
        );
    }

    #[test]
    fn a_folder_in_use_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        prepare_folder(&folder.path().join("new"), false).unwrap();
        fs::write(folder.path().join("kept"), b"").unwrap();
        let error = prepare_folder(folder.path(), false).unwrap_err();
        assert!(matches!(error, LoraError::AlreadyExists { .. }));
        prepare_folder(folder.path(), true).unwrap();
        assert!(folder.path().join("kept").exists());
    }
}
