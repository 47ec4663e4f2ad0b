//! Finding the files of a data set, in a folder or on the hub.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};

use lora_models::hub::Hub;

use super::place::Place;
use crate::TrainError;

/// The endings of tables of text; each may be packed with gzip. Of several, the first is taken.
const TABLES: [&str; 5] = ["tsv", "csv", "jsonl", "ndjson", "json"];

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
        Self::at(&Place::find(folder_or_hub_id)?)
    }

    /// The files of a folder: `train` and `dev` (or `validation`, or `val`), each ending in `.tsv`,
    /// `.csv`, `.jsonl`, `.ndjson` or `.json`, maybe with `.gz` behind it; or else the hub's
    /// `train-*.parquet` and `validation-*.parquet`. They are looked for in the folder, in its
    /// folder `data`, and in its only other folder that has training data. A data set without a
    /// validation split, such as IMDb, is measured on its `test` split.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] if the folder cannot be read, [`TrainError::NoData`].
    pub fn in_folder(folder: &Path) -> Result<Self, TrainError> {
        Self::at(&Place::<Hub>::Folder(folder.to_path_buf()))
    }

    /// The same files of a data set on the hub (`owner/name` or `owner/name@revision`), from the
    /// cache or downloaded.
    ///
    /// # Errors
    ///
    /// [`TrainError::Hub`], [`TrainError::NoData`].
    pub fn from_hub(hub: &Hub, id: &str) -> Result<Self, TrainError> {
        Self::at(&Place::Hub(hub, id.to_string()))
    }

    fn at(place: &Place<impl Borrow<Hub>>) -> Result<Self, TrainError> {
        let names = place.list()?;
        let folders = folders(&names);
        let choose = |split, stems: &[&str], shards| {
            choose(&names, &folders, stems, &TABLES).ok_or_else(|| TrainError::NoData {
                place: place.to_string(),
                split,
                expected: format!(
                    "{split}.tsv (or {}, each maybe with .gz), or {shards}, in it, in its folder \
                     `data` or in the only other folder that has training data",
                    TABLES.map(|ending| format!(".{ending}"))[1..].join(", ")
                ),
            })
        };
        let train = choose("train", &["train"], "train-*.parquet")?;
        let dev = choose(
            "dev",
            &["dev", "validation", "val", "test"],
            "validation-*.parquet or test-*.parquet",
        )?;
        Ok(Self {
            train: place.fetch(&train)?,
            dev: place.fetch(&dev)?,
        })
    }
}

/// The file or files of a split that goes by the first of `stems` that any of `folders` has, among
/// `names`: a table with one of the `endings`, or else parquet files.
pub(crate) fn choose(
    names: &[String],
    folders: &[String],
    stems: &[&str],
    endings: &[&str],
) -> Option<Vec<String>> {
    for stem in stems {
        for folder in folders {
            let table = endings.iter().find_map(|ending| {
                let name = format!("{folder}{stem}.{ending}");
                let packed = format!("{name}.gz");
                [name, packed].into_iter().find(|name| names.contains(name))
            });
            // A folder with both has the same examples twice.
            if let Some(table) = table {
                return Some(vec![table]);
            }
            let here = |name: &&String| {
                let name = name.strip_prefix(folder.as_str());
                name.is_some_and(|name| is_shard(name, stem))
            };
            let shards: Vec<String> = names.iter().filter(here).cloned().collect();
            if !shards.is_empty() {
                return Some(shards);
            }
        }
    }
    None
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
    rest == ".parquet" || rest.starts_with('-') && rest.ends_with(".parquet")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::read_examples;

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

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn tsv_and_parquet_in_both_places() {
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
    fn tables_of_every_format() {
        for (train, dev) in [
            ("train.csv", "dev.csv"),
            ("train.tsv.gz", "test.tsv.gz"),
            ("data/train.jsonl", "data/validation.jsonl"),
            ("train.json", "val.json.gz"),
            ("train.parquet", "validation.parquet"),
        ] {
            assert_eq!(found(&[train, dev]), (names(&[train]), names(&[dev])));
        }
        let all = [
            "train.csv",
            "train.tsv.gz",
            "dev.json",
            "val.tsv",
            "test.tsv",
        ];
        assert_eq!(
            found(&all),
            (names(&["train.tsv.gz"]), names(&["dev.json"])),
            "tables of tabs come first, and dev before all other names"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = folder(&["train.tsv"]);
        let place = folder.path().to_str().unwrap().to_string();
        let message = DataFiles::find(&place).unwrap_err().to_string();
        let expected = "has no dev data: expected dev.tsv (or .csv, .jsonl, .ndjson, .json, each \
                        maybe with .gz), or validation-*.parquet or test-*.parquet, in it";
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
