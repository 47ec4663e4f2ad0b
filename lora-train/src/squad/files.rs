//! Finding the files of SQuAD.

use std::path::PathBuf;

use crate::TrainError;
use crate::data::{Place, choose};

/// The folders that they are in, the hub's among them.
const FOLDERS: [&str; 5] = ["", "data/", "plain_text/", "squad/", "squad_v2/"];

/// What the names of the splits end with.
const VERSIONS: [&str; 3] = ["", "-v2.0", "-v1.1"];

/// The files of the two splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SquadFiles {
    /// What a model is trained on.
    pub train: Vec<PathBuf>,
    /// What it is measured on.
    pub dev: Vec<PathBuf>,
}

impl SquadFiles {
    /// The files in a folder, if there is one of that name, or else in a data set of the hub
    /// (`rajpurkar/squad`, `rajpurkar/squad_v2`): `train.json` with `dev.json` (or `validation.json`),
    /// or `train-v2.0.json` with `dev-v2.0.json`, or those of version 1.1, each maybe with `.gz` behind
    /// it; or the hub's `train-*.parquet` with `validation-*.parquet`. Of several versions the first
    /// counts.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] if the folder cannot be read, [`TrainError::Hub`], [`TrainError::NoData`].
    pub fn find(folder_or_hub_id: &str) -> Result<Self, TrainError> {
        let place = Place::find(folder_or_hub_id)?;
        let names = place.list()?;
        let folders = FOLDERS.map(str::to_string);
        let missing = |split: &'static str, expected: String| TrainError::NoData {
            place: place.to_string(),
            split,
            expected: format!("{expected}; files of other names can be named one by one"),
        };
        for version in VERSIONS {
            let choose = |splits: &[&str]| {
                let stems: Vec<String> = splits.iter().map(|s| format!("{s}{version}")).collect();
                let stems: Vec<&str> = stems.iter().map(String::as_str).collect();
                choose(&names, &folders, &stems, &["json"])
            };
            let Some(train) = choose(&["train"]) else {
                continue;
            };
            let dev = choose(&["dev", "validation"]).ok_or_else(|| {
                let shards = "or validation-*.parquet";
                missing(
                    "dev",
                    format!("dev{version}.json, maybe with .gz, {shards}"),
                )
            })?;
            return Ok(Self {
                train: place.fetch(&train)?,
                dev: place.fetch(&dev)?,
            });
        }
        let names = VERSIONS.map(|version| format!("train{version}.json"));
        let expected = format!(
            "{}, each maybe with .gz, or train-*.parquet",
            names.join(", ")
        );
        Err(missing("train", expected))
    }
}
