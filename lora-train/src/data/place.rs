//! Where a data set is: in a folder, or on the hub.

use std::borrow::Borrow;
use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};

use lora_models::hub::{Hub, RepoKind};

use crate::TrainError;

/// A place that files are taken from.
pub(crate) enum Place<H> {
    Folder(PathBuf),
    Hub(H, String),
}

impl Place<Hub> {
    /// A folder, if there is one of that name, or else a data set of the hub.
    pub fn find(folder_or_hub_id: &str) -> Result<Self, TrainError> {
        let folder = Path::new(folder_or_hub_id);
        let may_be_id = !folder_or_hub_id.starts_with(['.', '/', '~']);
        if folder.exists() || !may_be_id || folder_or_hub_id.matches('/').count() > 1 {
            Ok(Self::Folder(folder.to_path_buf()))
        } else {
            Ok(Self::Hub(Hub::from_env()?, folder_or_hub_id.to_string()))
        }
    }
}

impl<H: Borrow<Hub>> Place<H> {
    /// The names of its files, and of those in its folders (`folder/name`), sorted.
    pub fn list(&self) -> Result<Vec<String>, TrainError> {
        let folder = match self {
            Self::Hub(hub, id) => {
                let mut names = hub.borrow().list_files(id, RepoKind::Dataset)?;
                names.sort();
                return Ok(names);
            }
            Self::Folder(folder) => folder,
        };
        let mut names = list(folder)?;
        for below in names.clone() {
            if folder.join(&below).is_dir() {
                let inside = list(&folder.join(&below))?;
                names.extend(inside.into_iter().map(|name| format!("{below}/{name}")));
            }
        }
        Ok(names)
    }

    /// These files, downloaded if they are on the hub and not in the cache.
    pub fn fetch(&self, names: &[String]) -> Result<Vec<PathBuf>, TrainError> {
        let fetch = |name: &String| match self {
            Self::Folder(folder) => Ok(folder.join(name)),
            Self::Hub(hub, id) => Ok(hub.borrow().dataset_file(id, name)?),
        };
        names.iter().map(fetch).collect()
    }
}

impl<H: Borrow<Hub>> Display for Place<H> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            // The data set may well have what the cache lacks.
            Self::Hub(hub, id) if hub.borrow().options().offline => {
                write!(f, "what is cached of {id} (HF_HUB_OFFLINE is set)")
            }
            Self::Hub(_, id) => f.write_str(id),
        }
    }
}

fn list(folder: &Path) -> Result<Vec<String>, TrainError> {
    let error = |e| TrainError::io("read", folder, e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        // The names that are looked for are all plain text.
        names.extend(entry.map_err(error)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
