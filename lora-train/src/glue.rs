//! The tasks of GLUE (Wang et al. 2018, <https://gluebenchmark.com>): their files, labels and
//! metrics, and the settings of the LoRA paper for them.
//!
//! ```
//! use lora_train::glue::{GlueTask, RobertaSize};
//!
//! let task: GlueTask = "sst2".parse()?;
//! assert_eq!(task.labels().count(), 2);
//! assert_eq!(task.main_metric(), "accuracy");
//! let settings = task.paper_settings(RobertaSize::Base).expect("only WNLI has none");
//! assert_eq!(settings.training.epochs, 60);
//! // let splits = task.load("path/to/SST-2")?;
//! # Ok::<(), lora_train::TrainError>(())
//! ```

mod columns;
mod paper;
mod splits;

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::data::{LabelNames, Labels};

pub use paper::{PaperSettings, RobertaSize};
pub use splits::{GLUE_ID, GlueSplits};

/// A task of GLUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GlueTask {
    /// The Corpus of Linguistic Acceptability: is a sentence grammatical?
    Cola,
    /// The Stanford Sentiment Treebank: does a sentence praise a film?
    Sst2,
    /// The Microsoft Research Paraphrase Corpus: do two sentences say the same?
    Mrpc,
    /// The Semantic Textual Similarity Benchmark: how alike are two sentences, from 0 to 5?
    Stsb,
    /// Quora Question Pairs: do two questions ask the same?
    Qqp,
    /// Multi-Genre Natural Language Inference: does a premise entail a hypothesis?
    Mnli,
    /// Question-answering NLI: does a sentence answer a question?
    Qnli,
    /// Recognizing Textual Entailment: does a text entail another?
    Rte,
    /// Winograd NLI: does a sentence entail one with a pronoun filled in?
    Wnli,
}

impl GlueTask {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Cola,
        Self::Sst2,
        Self::Mrpc,
        Self::Stsb,
        Self::Qqp,
        Self::Mnli,
        Self::Qnli,
        Self::Rte,
        Self::Wnli,
    ];

    /// The name in the hub's data set: `sst2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cola => "cola",
            Self::Sst2 => "sst2",
            Self::Mrpc => "mrpc",
            Self::Stsb => "stsb",
            Self::Qqp => "qqp",
            Self::Mnli => "mnli",
            Self::Qnli => "qnli",
            Self::Rte => "rte",
            Self::Wnli => "wnli",
        }
    }

    /// The name in the benchmark, which its folders have: `SST-2`.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cola => "CoLA",
            Self::Sst2 => "SST-2",
            Self::Mrpc => "MRPC",
            Self::Stsb => "STS-B",
            Self::Qqp => "QQP",
            Self::Mnli => "MNLI",
            Self::Qnli => "QNLI",
            Self::Rte => "RTE",
            Self::Wnli => "WNLI",
        }
    }

    /// The names of the classes in the order of their indices on the hub; none for STS-B, whose
    /// labels are numbers.
    #[must_use]
    pub fn label_names(self) -> &'static [&'static str] {
        match self {
            Self::Cola => &["unacceptable", "acceptable"],
            Self::Sst2 => &["negative", "positive"],
            Self::Mrpc => &["not_equivalent", "equivalent"],
            Self::Stsb => &[],
            Self::Qqp => &["not_duplicate", "duplicate"],
            Self::Mnli => &["entailment", "neutral", "contradiction"],
            Self::Qnli | Self::Rte => &["entailment", "not_entailment"],
            Self::Wnli => &["not_entailment", "entailment"],
        }
    }

    /// What the labels are. A model for the task needs as many as their
    /// [`count`](Labels::count) says: one for STS-B, which is regression.
    #[must_use]
    pub fn labels(self) -> Labels {
        // The names above can be used, as a test sees to.
        match LabelNames::new(self.label_names().iter().copied()) {
            Ok(names) => Labels::Names(names),
            Err(_) => Labels::Values,
        }
    }

    /// Whether the task is to predict a number.
    #[must_use]
    pub fn is_regression(self) -> bool {
        self == Self::Stsb
    }

    /// Whether an example is a pair of texts.
    #[must_use]
    pub fn is_pair(self) -> bool {
        !matches!(self, Self::Cola | Self::Sst2)
    }

    /// The metrics that the benchmark reports, by the names that
    /// [`Evaluation`](crate::Evaluation)s have for them; the main one comes first.
    #[must_use]
    pub fn metrics(self) -> &'static [&'static str] {
        match self {
            Self::Cola => &["matthews_correlation"],
            Self::Stsb => &["pearson_correlation", "spearman_correlation"],
            Self::Mrpc | Self::Qqp => &["accuracy", "f1"],
            Self::Sst2 | Self::Mnli | Self::Qnli | Self::Rte | Self::Wnli => &["accuracy"],
        }
    }

    /// The metric that the LoRA paper reports in Table 2: Matthews' correlation for CoLA, Pearson's
    /// for STS-B, accuracy for the others.
    #[must_use]
    pub fn main_metric(self) -> &'static str {
        self.metrics()[0]
    }
}

impl Display for GlueTask {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for GlueTask {
    type Err = TrainError;

    /// Takes both names, `sst2` and `SST-2`, in large and small letters.
    fn from_str(text: &str) -> Result<Self, TrainError> {
        let named = |task: &Self| {
            text.eq_ignore_ascii_case(task.name()) || text.eq_ignore_ascii_case(task.title())
        };
        Self::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| TrainError::GlueTask {
                found: text.to_string(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_names_are_known() {
        for task in GlueTask::ALL {
            for name in [
                task.to_string(),
                task.title().to_string(),
                task.title().to_lowercase(),
                task.name().to_uppercase(),
            ] {
                assert_eq!(name.parse::<GlueTask>().unwrap(), task, "{name}");
            }
            let json = serde_json::to_string(&task).unwrap();
            assert_eq!(json, format!("\"{task}\""));
            assert_eq!(serde_json::from_str::<GlueTask>(&json).unwrap(), task);
        }
        let message = "ax".parse::<GlueTask>().unwrap_err().to_string();
        assert!(message.starts_with("there is no GLUE task \"ax\": expected cola, sst2"));
        for task in GlueTask::ALL {
            assert!(message.contains(task.name()), "{message} lacks {task}");
        }
    }

    #[test]
    fn labels_are_names_but_for_the_regression() {
        for task in GlueTask::ALL {
            match task.labels() {
                Labels::Names(names) => assert_eq!(names.names(), task.label_names()),
                other => assert_eq!(other, Labels::Values),
            }
            assert_eq!(task.labels().count() == 1, task.is_regression());
        }
        assert_eq!(GlueTask::Mnli.labels().count(), 3);
        // WNLI has it the other way round.
        assert_eq!(GlueTask::Rte.label_names()[0], "entailment");
        assert_eq!(GlueTask::Wnli.label_names()[1], "entailment");
    }

    #[test]
    fn metrics_are_the_benchmarks() {
        let count = |metric| {
            let reports = |task: &GlueTask| task.metrics().contains(&metric);
            GlueTask::ALL.into_iter().filter(reports).count()
        };
        assert_eq!((count("accuracy"), count("f1")), (7, 2));
        assert_eq!(GlueTask::Cola.main_metric(), "matthews_correlation");
        assert_eq!(GlueTask::Stsb.main_metric(), "pearson_correlation");
        assert_eq!(GlueTask::Qqp.main_metric(), "accuracy");
    }

    proptest! {
        #[test]
        fn any_name_is_a_task_or_an_error(name in ".{0,8}") {
            if let Ok(task) = name.parse::<GlueTask>() {
                prop_assert!(name.eq_ignore_ascii_case(task.name())
                    || name.eq_ignore_ascii_case(task.title()));
            }
        }
    }
}
