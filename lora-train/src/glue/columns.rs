//! Where the files of each task have what.

use std::path::Path;

use super::GlueTask;
use crate::TrainError;
use crate::data::{Columns, Example, Format, ReadOptions, read_examples};

/// What a copy of MRPC that went through a program has for a quotation mark.
const QUOTE: &str = "<QUOTE>";

impl GlueTask {
    /// Where the text, its pair and the label stand: in the benchmark's tables, with and without
    /// their headers (CoLA's have none); in the tables that MRPC (`msr_paraphrase_*.txt`), STS-B
    /// (`sts-*.csv`, separated by tabs) and SST-2 (`sentence⇥label`) were first published as; and
    /// in the hub's parquet files.
    #[must_use]
    pub fn columns(self) -> Columns {
        let columns = Columns::none();
        match self {
            Self::Cola => columns
                .or_named("sentence", None, "label")
                .or_placed(4..=4, 3, None, 1),
            Self::Sst2 => columns
                .or_named("sentence", None, "label")
                .or_placed(2..=2, 0, None, 1),
            Self::Mrpc => columns
                .or_named("#1 String", Some("#2 String"), "Quality")
                .or_named("sentence1", Some("sentence2"), "label")
                .or_placed(5..=5, 3, Some(4), 0),
            Self::Stsb => columns
                .or_named("sentence1", Some("sentence2"), "score")
                .or_named("sentence1", Some("sentence2"), "label")
                // Some sentences have their sources behind them, others do not.
                .or_placed(7..=9, 5, Some(6), 4)
                .or_placed(10..=10, 7, Some(8), 9),
            Self::Qqp => columns
                .or_named("question1", Some("question2"), "is_duplicate")
                .or_named("question1", Some("question2"), "label")
                .or_placed(6..=6, 3, Some(4), 5),
            Self::Mnli => columns
                .or_named("sentence1", Some("sentence2"), "gold_label")
                .or_named("premise", Some("hypothesis"), "label")
                .or_placed(12..=12, 8, Some(9), 11)
                .or_placed(16..=16, 8, Some(9), 15),
            Self::Qnli => columns
                .or_named("question", Some("sentence"), "label")
                .or_placed(4..=4, 1, Some(2), 3),
            Self::Rte | Self::Wnli => columns
                .or_named("sentence1", Some("sentence2"), "label")
                .or_placed(4..=4, 1, Some(2), 3),
        }
    }

    /// How the task's files are read. Broken lines of QQP are left out, as they are from the hub's
    /// data set; elsewhere they are errors.
    #[must_use]
    pub fn read_options(self) -> ReadOptions {
        ReadOptions::new(self.labels())
            .with_columns(self.columns())
            .with_skip_short_rows(self == Self::Qqp)
    }

    /// Reads one file of the task. MRPC's `<QUOTE>`, which some copies have, becomes `"` again.
    ///
    /// # Errors
    ///
    /// Those of [`read_examples`]; the benchmark's test files have no labels.
    pub fn read(self, path: &Path) -> Result<Vec<Example>, TrainError> {
        let mut options = self.read_options();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if self == Self::Stsb && name.starts_with("sts-") {
            options = options.with_format(Format::Tsv);
        }
        let mut examples = read_examples(&[path], options)?;
        if self == Self::Mrpc {
            for example in &mut examples {
                for text in std::iter::once(&mut example.text).chain(&mut example.pair) {
                    if text.contains(QUOTE) {
                        *text = text.replace(QUOTE, "\"");
                    }
                }
            }
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;

    fn read(task: GlueTask, name: &str, lines: &str) -> Result<Vec<Example>, TrainError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, lines).unwrap();
        task.read(&path)
    }

    fn single(text: &str, class: usize) -> Example {
        Example {
            text: text.to_string(),
            pair: None,
            label: Label::Class(class),
        }
    }

    fn pair(text: &str, pair: &str, label: Label) -> Example {
        Example {
            text: text.to_string(),
            pair: Some(pair.to_string()),
            label,
        }
    }

    #[test]
    fn the_benchmarks_tables() {
        let two = |task, lines: &str, labels: [Label; 2]| {
            let examples = read(task, "train.tsv", lines).unwrap();
            let expected = [pair("a \"b\"", "c", labels[0]), pair("d", "e", labels[1])];
            assert_eq!(examples, expected, "{task}");
        };
        let class = Label::Class;
        let cola = read(
            GlueTask::Cola,
            "train.tsv",
            "gj04\t1\t\tA b.\ngj04\t0\t*\tC d.\n",
        );
        assert_eq!(cola.unwrap(), [single("A b.", 1), single("C d.", 0)]);
        let sst2 = read(
            GlueTask::Sst2,
            "train.tsv",
            "sentence\tlabel\nfine \t1\nbad\t0\n",
        );
        assert_eq!(sst2.unwrap(), [single("fine ", 1), single("bad", 0)]);
        two(
            GlueTask::Mrpc,
            "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta \"b\"\tc\n0\t9\t10\td\te\n",
            [class(1), class(0)],
        );
        two(
            GlueTask::Stsb,
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
             0\tg\tf\t2012\t1\tn\tn\ta \"b\"\tc\t5.000\n1\tg\tf\t2012\t4\tn\tn\td\te\t3.8\n",
            [Label::Value(5.0), Label::Value(3.8)],
        );
        two(
            GlueTask::Qqp,
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta \"b\"\tc\t0\nbroken\n\
             4\t5\t6\td\te\t1\n",
            [class(0), class(1)],
        );
        let mnli = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t\
                    sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n\
                    0\t1\t2\tg\t(\t(\t(\t(\ta \"b\"\tc\tneutral\tcontradiction\n\
                    0\t1\t2\tg\t(\t(\t(\t(\td\te\tneutral\tentailment\n";
        two(GlueTask::Mnli, mnli, [class(2), class(0)]);
        // The development tables have five labels each, and this is how they look without names.
        let dev = "0\t1\t2\tg\t(\t(\t(\t(\ta \"b\"\tc\t1\t2\t3\t4\t5\tneutral\n\
                   0\t1\t2\tg\t(\t(\t(\t(\td\te\t1\t2\t3\t4\t5\tentailment\n";
        two(GlueTask::Mnli, dev, [class(1), class(0)]);
        two(
            GlueTask::Qnli,
            "index\tquestion\tsentence\tlabel\n0\ta \"b\"\tc\tentailment\n1\td\te\tnot_entailment\n",
            [class(0), class(1)],
        );
        let rte = "0\ta \"b\"\tc\tnot_entailment\n1\td\te\tentailment\n";
        for header in ["", "index\tsentence1\tsentence2\tlabel\n"] {
            two(
                GlueTask::Rte,
                &format!("{header}{rte}"),
                [class(1), class(0)],
            );
        }
        two(
            GlueTask::Wnli,
            "index\tsentence1\tsentence2\tlabel\n0\ta \"b\"\tc\t1\n1\td\te\t0\n",
            [class(1), class(0)],
        );
    }

    #[test]
    fn the_tables_of_before_the_benchmark() {
        let sst2 = read(GlueTask::Sst2, "dev.tsv", "fine\t1\nbad\t0");
        assert_eq!(sst2.unwrap(), [single("fine", 1), single("bad", 0)]);
        let mrpc = "\u{FEFF}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n\
                    1\t7\t8\ta <QUOTE> b <QUOTE> .\t<QUOTE> c <QUOTE>\n";
        let mrpc = read(GlueTask::Mrpc, "msr_paraphrase_train.txt", mrpc).unwrap();
        assert_eq!(mrpc, [pair("a \" b \" .", "\" c \"", Label::Class(1))]);
        let sts = "main\tMSRvid\t2012\t0001\t2.500\tA \"b, c.\tD e.\n\
                   main\tMSRpar\t2012\t0002\t0.0\tF.\tG.\thttp://a\thttp://b\n";
        let expected = [
            pair("A \"b, c.", "D e.", Label::Value(2.5)),
            pair("F.", "G.", Label::Value(0.0)),
        ];
        assert_eq!(
            read(GlueTask::Stsb, "sts-train.csv", sts).unwrap(),
            expected
        );
    }

    #[test]
    fn only_broken_lines_of_qqp_are_left_out() {
        let rte = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\tc\n";
        let message = read(GlueTask::Rte, "train.tsv", rte)
            .unwrap_err()
            .to_string();
        let expected = "train.tsv, line 3: 2 column(s), expected 4";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn errors_say_what_the_task_has() {
        for (task, lines, expected) in [
            (
                GlueTask::Rte,
                "0\ta\tb\tneutral\n",
                "line 1: column 4: label \"neutral\" is unknown, expected entailment, \
                 not_entailment, or 0 to 1",
            ),
            (
                GlueTask::Stsb,
                "sentence1\tsentence2\tscore\na\tb\thigh\n",
                "line 2: column 3: label \"high\" is not a number",
            ),
            (
                // The benchmark's test table.
                GlueTask::Cola,
                "index\tsentence\n0\tBill whistled.\n",
                "2 column(s) (index, sentence), expected a column each for `sentence` and `label`, \
                 or 4 columns without a header",
            ),
        ] {
            let message = read(task, "dev.tsv", lines).unwrap_err().to_string();
            assert!(message.ends_with(expected), "{message}");
        }
    }
}
