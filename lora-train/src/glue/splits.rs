//! The training and development examples of a task.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};

use lora_models::hub::Hub;

use super::GlueTask;
use crate::TrainError;
use crate::data::{Example, Place, choose};

/// The benchmark on the hub.
pub const GLUE_ID: &str = "nyu-mll/glue";

/// The endings of tables; each may be packed with gzip.
const TABLES: [&str; 6] = ["tsv", "txt", "csv", "jsonl", "ndjson", "json"];

/// The labelled examples of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct GlueSplits {
    /// The task.
    pub task: GlueTask,
    /// What a model is trained on.
    pub train: Vec<Example>,
    /// What it is measured on, with a name: `dev`, and for MNLI `matched` (of the genres that it is
    /// trained on) and `mismatched`.
    pub dev: Vec<(&'static str, Vec<Example>)>,
}

impl GlueTask {
    /// Reads the task from a folder, if there is one of that name, or else from a data set of the
    /// hub, such as [`GLUE_ID`].
    ///
    /// # Errors
    ///
    /// As [`in_folder`](Self::in_folder) and [`from_hub`](Self::from_hub).
    pub fn load(self, folder_or_hub_id: &str) -> Result<GlueSplits, TrainError> {
        self.at(&Place::find(folder_or_hub_id)?)
    }

    /// Reads the task from a folder: the one with its tables, or one that has it under the task's
    /// name, as the benchmark's `glue_data/SST-2` or a copy of the hub's data set.
    ///
    /// The splits are `train` and `dev` (for MNLI `dev_matched` and `dev_mismatched`) in tables, or
    /// `train-*.parquet` and `validation-*.parquet`, or what the data was first published as:
    /// `msr_paraphrase_train.txt` and `msr_paraphrase_test.txt` for MRPC, whose development
    /// examples in the benchmark are a part of the former; `sts-train.csv` and `sts-dev.csv` for
    /// STS-B.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] if the folder cannot be read, [`TrainError::NoData`] if a split is
    /// missing, and those of [`read`](Self::read).
    pub fn in_folder(self, folder: &Path) -> Result<GlueSplits, TrainError> {
        self.at(&Place::<Hub>::Folder(folder.to_path_buf()))
    }

    /// Reads the task from a data set on the hub (`owner/name` or `owner/name@revision`), from the
    /// cache or downloaded: the files that [`in_folder`](Self::in_folder) names.
    ///
    /// # Errors
    ///
    /// [`TrainError::Hub`], [`TrainError::NoData`], and those of [`read`](Self::read).
    pub fn from_hub(self, hub: &Hub, id: &str) -> Result<GlueSplits, TrainError> {
        self.at(&Place::Hub(hub, id.to_string()))
    }

    fn at(self, place: &Place<impl Borrow<Hub>>) -> Result<GlueSplits, TrainError> {
        let names = place.list()?;
        let folders = ["", self.title(), self.name(), "data"].map(|folder| match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        });
        let choose = |stems: &[&str]| choose(&names, &folders, stems, &TABLES);
        let missing = |split, stems: &[&str]| TrainError::NoData {
            place: place.to_string(),
            split,
            expected: format!(
                "the {self} files {} (.tsv, .txt, .csv, .jsonl or .json, each maybe with .gz, or \
                 the hub's .parquet), in it or in its folder {}, {self} or data",
                stems.join(" or "),
                self.title()
            ),
        };
        let train = self.train_stems();
        let train_files = choose(train).ok_or_else(|| missing("train", train))?;
        let dev = self.dev_stems();
        let dev_files: Vec<_> = dev
            .iter()
            .filter_map(|(name, stems)| Some((*name, choose(stems)?)))
            .collect();
        if dev_files.is_empty() {
            let stems: Vec<&str> = dev
                .iter()
                .flat_map(|(_, stems)| stems.iter())
                .copied()
                .collect();
            return Err(missing("dev", &stems));
        }
        let read = |names: &[String]| self.read_all(&place.fetch(names)?);
        Ok(GlueSplits {
            task: self,
            train: read(&train_files)?,
            dev: dev_files
                .iter()
                .map(|(name, files)| Ok((*name, read(files)?)))
                .collect::<Result<_, TrainError>>()?,
        })
    }

    fn read_all(self, files: &[PathBuf]) -> Result<Vec<Example>, TrainError> {
        let mut examples = Vec::new();
        for file in files {
            examples.extend(self.read(file)?);
        }
        Ok(examples)
    }

    /// What training files are called, without their endings.
    fn train_stems(self) -> &'static [&'static str] {
        match self {
            Self::Mrpc => &["train", "msr_paraphrase_train"],
            Self::Stsb => &["train", "sts-train"],
            _ => &["train"],
        }
    }

    /// The sets to measure on, and what their files are called, without their endings.
    fn dev_stems(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Mrpc => &[("dev", &["dev", "validation", "msr_paraphrase_test"])],
            Self::Stsb => &[("dev", &["dev", "validation", "sts-dev"])],
            Self::Mnli => &[
                ("matched", &["dev_matched", "validation_matched"]),
                ("mismatched", &["dev_mismatched", "validation_mismatched"]),
            ],
            _ => &[("dev", &["dev", "validation"])],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    /// The name and the texts of each split.
    fn texts(splits: &GlueSplits) -> Vec<(&str, Vec<&str>)> {
        let train = std::iter::once(("train", &splits.train));
        let dev = splits.dev.iter().map(|(name, dev)| (*name, dev));
        train
            .chain(dev)
            .map(|(name, all)| (name, all.iter().map(|e| e.text.as_str()).collect()))
            .collect()
    }

    #[test]
    fn a_task_is_found_in_its_folder_and_above_it() {
        let (train, dev) = ("sentence\tlabel\na\t1\n", "sentence\tlabel\nb\t0\nc\t1\n");
        for below in ["", "SST-2/", "sst2/", "data/"] {
            let (a, b) = (format!("{below}train.tsv"), format!("{below}dev.tsv"));
            let folder = folder(&[(&a, train), (&b, dev), ("CoLA/train.tsv", "no")]);
            let place = folder.path().to_str().unwrap();
            let splits = GlueTask::Sst2.load(place).unwrap();
            assert_eq!(
                texts(&splits),
                [("train", vec!["a"]), ("dev", vec!["b", "c"])]
            );
        }
    }

    #[test]
    fn mnli_is_measured_on_two_sets() {
        let table = |text| format!("sentence1\tsentence2\tgold_label\n{text}\tx\tneutral\n");
        let files = [
            ("MNLI/train.tsv", &*table("a")),
            ("MNLI/dev_matched.tsv", &table("b")),
            ("MNLI/dev_mismatched.tsv", &table("c")),
            ("MNLI/test_matched.tsv", "no"),
        ];
        let all = folder(&files);
        let splits = GlueTask::Mnli.in_folder(all.path()).unwrap();
        assert_eq!(
            texts(&splits),
            [
                ("train", vec!["a"]),
                ("matched", vec!["b"]),
                ("mismatched", vec!["c"])
            ]
        );
        assert_eq!(splits.dev[0].1[0].label, Label::Class(1));
        let one = folder(&[files[0], files[2]]);
        let splits = GlueTask::Mnli.in_folder(one.path()).unwrap();
        assert_eq!(splits.dev.len(), 1);
    }

    #[test]
    fn what_was_there_before_the_benchmark_does_as_well() {
        let mrpc = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\ta\tb\n";
        let files = [
            ("msr_paraphrase_train.txt", mrpc),
            ("msr_paraphrase_test.txt", mrpc),
        ];
        let splits = GlueTask::Mrpc.in_folder(folder(&files).path()).unwrap();
        assert_eq!((splits.train.len(), splits.dev[0].1.len()), (1, 1));
        let sts = "g\tf\t2012\t1\t2.5\ta, b\tc\n";
        let files = [
            ("sts-train.csv", sts),
            ("sts-dev.csv", sts),
            ("sts-test.csv", sts),
        ];
        let splits = GlueTask::Stsb.in_folder(folder(&files).path()).unwrap();
        assert_eq!(splits.train[0].text, "a, b");
        assert_eq!(splits.dev[0].0, "dev");
    }

    #[test]
    fn what_is_missing_or_empty_is_named() {
        let message = |files: &[(&str, &str)], task: GlueTask| {
            let folder = folder(files);
            task.in_folder(folder.path()).unwrap_err().to_string()
        };
        let none = message(&[("dev.tsv", "")], GlueTask::Stsb);
        let expected = "has no train data: expected the stsb files train or sts-train (.tsv, ";
        assert!(none.contains(expected), "{none}");
        assert!(
            none.ends_with("in it or in its folder STS-B, stsb or data"),
            "{none}"
        );
        let train = (
            "train.tsv",
            "sentence1\tsentence2\tgold_label\na\tb\tneutral\n",
        );
        let half = message(&[train, ("dev.tsv", "")], GlueTask::Mnli);
        let expected = "has no dev data: expected the mnli files dev_matched or validation_matched";
        assert!(half.contains(expected), "{half}");
        let train = ("train.tsv", "sentence\tlabel\na\t1\n");
        let empty = message(&[train, ("dev.tsv", "sentence\tlabel\n")], GlueTask::Sst2);
        assert!(empty.ends_with("dev.tsv has no examples"), "{empty}");
    }
}
