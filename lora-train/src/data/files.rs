//! Finding the files of a data set, in a folder or on the hub.

use std::path::{Path, PathBuf};

use lora_models::hub::{Hub, RepoKind};

use super::{Example, read_parquet, read_tsv};
use crate::TrainError;

/// The files of a data set's two splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFiles {
    /// What the model is trained on.
    pub train: Vec<PathBuf>,
    /// What it is measured on.
    pub dev: Vec<PathBuf>,
}

impl DataFiles {
    /// The files in a folder, if there is one of that name, or else in a data set of the hub.
    ///
    /// # Errors
    ///
    /// As [`in_folder`](Self::in_folder) and [`from_hub`](Self::from_hub).
    pub fn find(folder_or_hub_id: &str) -> Result<Self, TrainError> {
        let folder = Path::new(folder_or_hub_id);
        let may_be_id = !folder_or_hub_id.starts_with(['.', '/', '~']);
        if folder.exists() || !may_be_id || folder_or_hub_id.matches('/').count() > 1 {
            Self::in_folder(folder)
        } else {
            Self::from_hub(&Hub::from_env()?, folder_or_hub_id)
        }
    }

    /// `train.tsv` and `dev.tsv` of a folder, or else the hub's `train-*.parquet` and
    /// `validation-*.parquet`, in it, in its folder `data`, or in its only other folder that has
    /// training data. A data set without a validation split, such as IMDb, is measured on its
    /// `test-*.parquet`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] if the folder cannot be read, [`TrainError::NoData`].
    pub fn in_folder(folder: &Path) -> Result<Self, TrainError> {
        let mut names = list(folder)?;
        for below in names.clone() {
            if folder.join(&below).is_dir() {
                let inside = list(&folder.join(&below))?;
                names.extend(inside.into_iter().map(|name| format!("{below}/{name}")));
            }
        }
        let chosen = Split::both(&names, &folder.display().to_string())?;
        let path = |names: Vec<String>| names.iter().map(|name| folder.join(name)).collect();
        Ok(Self {
            train: path(chosen.0),
            dev: path(chosen.1),
        })
    }

    /// The same files of a data set on the hub (`owner/name` or `owner/name@revision`), from the
    /// cache or downloaded.
    ///
    /// # Errors
    ///
    /// [`TrainError::Hub`], [`TrainError::NoData`].
    pub fn from_hub(hub: &Hub, id: &str) -> Result<Self, TrainError> {
        let place = match hub.options().offline {
            // The data set may well have what the cache lacks.
            true => format!("what is cached of {id} (HF_HUB_OFFLINE is set)"),
            false => id.to_string(),
        };
        let chosen = Split::both(&hub.list_files(id, RepoKind::Dataset)?, &place)?;
        let fetch = |names: Vec<String>| -> Result<Vec<PathBuf>, TrainError> {
            names
                .iter()
                .map(|name| Ok(hub.dataset_file(id, name)?))
                .collect()
        };
        Ok(Self {
            train: fetch(chosen.0)?,
            dev: fetch(chosen.1)?,
        })
    }
}

/// Reads all examples of a split's files, by their extension.
///
/// # Errors
///
/// As [`read_tsv`] and [`read_parquet`].
pub fn read_examples(files: &[PathBuf], num_labels: usize) -> Result<Vec<Example>, TrainError> {
    let mut examples = Vec::new();
    for path in files {
        let parquet = path
            .extension()
            .is_some_and(|extension| extension == "parquet");
        examples.extend(match parquet {
            true => read_parquet(path, num_labels)?,
            false => read_tsv(path, num_labels)?,
        });
    }
    Ok(examples)
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

/// A split under its names.
struct Split {
    tsv: &'static str,
    /// What the hub calls it, and what is taken where there is none.
    parquet: &'static [&'static str],
    expected: &'static str,
}

impl Split {
    /// The names of the training and development files among `names`.
    fn both(names: &[String], place: &str) -> Result<(Vec<String>, Vec<String>), TrainError> {
        let train = Self {
            tsv: "train",
            parquet: &["train"],
            expected: "train",
        };
        let dev = Self {
            tsv: "dev",
            parquet: &["validation", "test"],
            expected: "validation-*.parquet or test",
        };
        Ok((train.choose(names, place)?, dev.choose(names, place)?))
    }

    fn choose(&self, names: &[String], place: &str) -> Result<Vec<String>, TrainError> {
        let folders = folders(names);
        let table = format!("{}.tsv", self.tsv);
        for split in self.parquet {
            for folder in &folders {
                let here = |name: &&String| {
                    let name = name.strip_prefix(folder.as_str()).unwrap_or_default();
                    name == table || is_shard(name, split)
                };
                let found: Vec<String> = names.iter().filter(here).cloned().collect();
                // A folder with both has the same examples twice.
                if let Some(table) = found.iter().find(|name| name.ends_with(".tsv")) {
                    return Ok(vec![table.clone()]);
                }
                if !found.is_empty() {
                    return Ok(found);
                }
            }
        }
        Err(TrainError::NoData {
            place: place.to_string(),
            split: self.tsv,
            parquet: self.expected,
        })
    }
}

/// Where data is looked for, as prefixes of names: several other folders with training data would
/// be several data sets.
fn folders(names: &[String]) -> Vec<String> {
    let mut folders = vec![String::new(), "data/".to_string()];
    let mut others: Vec<String> = names
        .iter()
        .filter_map(|name| name.split_once('/'))
        .filter(|(folder, name)| *folder != "data" && is_shard(name, "train"))
        .map(|(folder, _)| format!("{folder}/"))
        .collect();
    others.dedup();
    if let [other] = others.as_slice() {
        folders.push(other.clone());
    }
    folders
}

/// Whether this is one of the hub's parquet files of a split.
fn is_shard(name: &str, split: &str) -> bool {
    let rest = name.strip_prefix(split).unwrap_or_default();
    rest.starts_with('-') && rest.ends_with(".parquet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "plain_text", "other"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for file in files {
            std::fs::write(folder.path().join(file), "a\t0\n").unwrap();
        }
        folder
    }

    fn found(files: &[&str]) -> (Vec<String>, Vec<String>) {
        let folder = folder(files);
        let files = DataFiles::in_folder(folder.path()).unwrap();
        let relative = |paths: Vec<PathBuf>| {
            let name = |p: PathBuf| p.strip_prefix(folder.path()).unwrap().display().to_string();
            paths.into_iter().map(name).collect()
        };
        (relative(files.train), relative(files.dev))
    }

    #[test]
    fn tsv_and_parquet_in_both_places() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            found(&["train.tsv", "dev.tsv", "data/train-00000-of-00001.parquet"]),
            (names(&["train.tsv"]), names(&["dev.tsv"]))
        );
        let shards = [
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
        ];
        let dev = "data/validation-00000-of-00001.parquet";
        let test = "data/test-00000-of-00001.parquet";
        assert_eq!(
            found(&[shards[1], test, shards[0], dev]),
            (names(&shards), names(&[dev]))
        );
        assert_eq!(
            found(&[shards[1], test, shards[0]]),
            (names(&shards), names(&[test]))
        );
        // IMDb's layout.
        let imdb = ["plain_text/train-0.parquet", "plain_text/test-0.parquet"];
        assert_eq!(found(&imdb), (names(&imdb[..1]), names(&imdb[1..])));
        let two = folder(&[imdb[0], imdb[1], "other/train-0.parquet"]);
        let error = DataFiles::in_folder(two.path()).unwrap_err();
        assert!(matches!(error, TrainError::NoData { .. }), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = folder(&["train.tsv"]);
        let place = folder.path().to_str().unwrap().to_string();
        let message = DataFiles::find(&place).unwrap_err().to_string();
        let expected =
            "has no dev data: expected dev.tsv, or validation-*.parquet or test-*.parquet";
        assert!(
            message.contains(&place) && message.contains(expected),
            "{message}"
        );
        let message = DataFiles::find("./no/such/folder").unwrap_err().to_string();
        assert!(
            message.starts_with("cannot read ./no/such/folder: "),
            "{message}"
        );
    }

    #[test]
    fn the_shards_of_a_split_are_joined() {
        let folder = folder(&["train.tsv", "dev.tsv"]);
        let files = [
            folder.path().join("train.tsv"),
            folder.path().join("dev.tsv"),
        ];
        assert_eq!(read_examples(&files, 2).unwrap().len(), 2);
    }
}
