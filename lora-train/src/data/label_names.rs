//! The names of classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::raw::RawLabel;
use super::read::read_raw;
use super::{Columns, Label};
use crate::TrainError;

/// The names of a data set's classes, in the order of their indices.
///
/// ```
/// use lora_train::data::LabelNames;
///
/// let names = LabelNames::new(["negative", "positive"])?;
/// assert_eq!(names.index("positive"), Some(1));
/// # Ok::<(), lora_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct LabelNames(Vec<String>);

impl LabelNames {
    /// The classes with these names.
    ///
    /// # Errors
    ///
    /// [`TrainError::LabelNames`] for fewer than two, and for one that is empty or there twice.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self, TrainError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let wrong = |message| Err(TrainError::LabelNames { message });
        if names.len() < 2 {
            let found = names.join(", ");
            return wrong(format!(
                "{} label(s) ({found}), expected two or more to tell apart",
                names.len()
            ));
        }
        let mut seen = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            if name.trim().is_empty() || name.trim() != name {
                return wrong(format!(
                    "label {index} is {name:?}, expected a name without space around it"
                ));
            }
            if !seen.insert(name) {
                return wrong(format!("{name:?} is there twice"));
            }
        }
        Ok(Self(names))
    }

    /// The classes that occur in these files, sorted by name; or those that the hub's parquet files
    /// say they have, in their order.
    ///
    /// Labels that are whole numbers are class indices, and name themselves: there are as many
    /// classes as the highest says. Where they are names all the same (years, or stars from 1),
    /// give them to [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// As [`read_examples`](super::read_examples), for its columns; [`TrainError::LabelNames`] if
    /// there are fewer than two classes, if the labels are numbers to be predicted, negative, or
    /// too far apart to be indices, and if one is only in the first line of a table, which is taken
    /// for its header then.
    pub fn find<P: AsRef<Path>>(files: &[P], columns: &Columns) -> Result<Self, TrainError> {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut first_lines = Vec::new();
        for path in files {
            let table = read_raw(path.as_ref(), None, columns, false)?;
            if let Some(names) = table.class_names {
                return Self::new(names);
            }
            if let Some(row) = table.rows.first().filter(|_| table.headless) {
                first_lines.push((path.as_ref(), row.label.text()));
            }
            for row in table.rows {
                *found.entry(row.label.text()).or_default() += 1;
            }
        }
        let wrong = |message| Err(TrainError::LabelNames { message });
        let once = |(_, count): &(&String, &usize)| **count == 1;
        if let Some((single, _)) = found.iter().find(once).filter(|_| found.len() > 2)
            && found.iter().filter(once).count() == 1
            && let Some((path, _)) = first_lines.iter().find(|(_, label)| label == single)
        {
            return wrong(format!(
                "{single:?} is only in the first line of {}, which may be a header: say which \
                 columns count, or give the names of the classes",
                path.display()
            ));
        }
        let numbers: Option<Vec<f64>> = found.keys().map(|label| label.parse().ok()).collect();
        let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) else {
            return Self::new(found.into_keys());
        };
        if let Some(number) = numbers.iter().find(|number| number.fract() != 0.0) {
            return wrong(format!(
                "the labels are numbers such as {number}: read them as `Labels::Values`, for \
                 regression"
            ));
        }
        let lowest = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if lowest < 0.0 || highest + 1.0 > 2.0 * numbers.len().max(2) as f64 {
            let count = numbers.len();
            return wrong(format!(
                "the {count} labels from {lowest} to {highest} are no class indices from 0: give \
                 the names of the classes"
            ));
        }
        Self::new((0..=highest as usize).map(|index| index.to_string()))
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there are two at least")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The class with this name.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name)
    }

    /// The names as a model's configuration has them.
    #[must_use]
    pub fn id2label(&self) -> BTreeMap<usize, String> {
        self.0.iter().cloned().enumerate().collect()
    }

    /// By name or else by index: a class may be called by a number that is not its index.
    pub(super) fn label(&self, found: &RawLabel) -> Result<Label, String> {
        if let Some(class) = self.index(&found.text()) {
            return Ok(Label::Class(class));
        }
        let by_index = found.integer().and_then(|i| usize::try_from(i).ok());
        match by_index.filter(|class| *class < self.len()) {
            Some(class) => Ok(Label::Class(class)),
            None => Err(format!(
                "label {found} is unknown, expected {}, or 0 to {}",
                self.0.join(", "),
                self.len() - 1
            )),
        }
    }
}

impl TryFrom<Vec<String>> for LabelNames {
    type Error = TrainError;

    fn try_from(names: Vec<String>) -> Result<Self, TrainError> {
        Self::new(names)
    }
}

impl From<LabelNames> for Vec<String> {
    fn from(names: LabelNames) -> Self {
        names.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Labels;
    use proptest::prelude::*;

    fn found(lines: &[&str]) -> Result<LabelNames, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.tsv");
        let lines: String = lines.iter().map(|label| format!("x\t{label}\n")).collect();
        std::fs::write(&path, lines).unwrap();
        LabelNames::find(&[path], &Columns::default()).map_err(|e| e.to_string())
    }

    fn text(label: &str) -> RawLabel {
        RawLabel::Text(label.to_string())
    }

    #[test]
    fn names_in_the_data_are_sorted() {
        let names = found(&["neutral", "entailment", "neutral", "contradiction"]).unwrap();
        assert_eq!(names.names(), ["contradiction", "entailment", "neutral"]);
        assert_eq!(names.id2label()[&2], "neutral");
    }

    #[test]
    fn whole_numbers_are_indices() {
        assert_eq!(found(&["2", "0", "2"]).unwrap().names(), ["0", "1", "2"]);
        assert_eq!(found(&["1", "1"]).unwrap().len(), 2);
        assert_eq!(found(&["1.0", "0.0"]).unwrap().names(), ["0", "1"]);
        for (labels, expected) in [
            (
                &["3.5", "1"][..],
                "numbers such as 3.5: read them as `Labels::Values`",
            ),
            (
                &["-1", "1"],
                "the 2 labels from -1 to 1 are no class indices",
            ),
            (
                &["1999", "2003"],
                "the 2 labels from 1999 to 2003 are no class indices",
            ),
            (&["good", "good"], "1 label(s) (good), expected two or more"),
            (&["good", " "], "label 0 is \"\", expected a name"),
        ] {
            let message = found(labels).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        // Years are names if that is said.
        let years = Labels::from(LabelNames::new(["1999", "2003"]).unwrap());
        assert_eq!(years.label(&RawLabel::Integer(2003)), Ok(Label::Class(1)));
    }

    #[test]
    fn a_header_is_not_taken_for_a_class() {
        let message = found(&["opinion", "good", "bad", "good", "bad"]).unwrap_err();
        assert!(
            message.contains("\"opinion\" is only in the first line of ")
                && message.contains("header"),
            "{message}"
        );
        let message = found(&["stars", "0", "0", "1", "1"]).unwrap_err();
        assert!(
            message.contains("\"stars\" is only in the first line"),
            "{message}"
        );
        // A class may well be rare, or the data few.
        assert_eq!(found(&["a", "b", "b"]).unwrap().len(), 2);
        assert_eq!(found(&["a", "b", "c", "b"]).unwrap().len(), 3);
        assert_eq!(found(&["b", "b", "a", "c", "c"]).unwrap().len(), 3);
    }

    #[test]
    fn a_class_goes_by_its_name_or_index() {
        let labels = Labels::from(LabelNames::new(["no", "yes"]).unwrap());
        assert_eq!(labels.label(&text("yes")), Ok(Label::Class(1)));
        assert_eq!(labels.label(&text(" no ")), Ok(Label::Class(0)));
        assert_eq!(labels.label(&RawLabel::Integer(1)), Ok(Label::Class(1)));
        assert_eq!(
            labels.label(&text("perhaps")).unwrap_err(),
            "label \"perhaps\" is unknown, expected no, yes, or 0 to 1"
        );
        for whole in [RawLabel::Number(1.0), text("1.0")] {
            assert_eq!(labels.label(&whole), Ok(Label::Class(1)));
        }
        for wrong in [
            RawLabel::Integer(-1),
            RawLabel::Integer(2),
            RawLabel::Number(0.5),
            RawLabel::Number(f64::NAN),
            RawLabel::Number(1e300),
            text("1e300"),
        ] {
            let message = labels.label(&wrong).unwrap_err();
            assert!(message.contains("is unknown"), "{message}");
            assert!(Labels::from(2).label(&wrong).is_err());
        }
        // A name comes first.
        let stars = Labels::from(LabelNames::new(["1", "0"]).unwrap());
        assert_eq!(stars.label(&text("0")), Ok(Label::Class(1)));
    }

    #[test]
    fn json_is_checked_as_well() {
        let names: LabelNames = serde_json::from_str(r#"["a", "b"]"#).unwrap();
        assert_eq!(serde_json::to_string(&names).unwrap(), r#"["a","b"]"#);
        let error = serde_json::from_str::<LabelNames>(r#"["a", "a"]"#).unwrap_err();
        assert!(
            error.to_string().contains("\"a\" is there twice"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn every_name_finds_its_class(names in prop::collection::btree_set("[a-z]{1,6}", 2..20)) {
            let names = LabelNames::new(names).unwrap();
            let labels = Labels::from(names.clone());
            for (index, name) in names.names().iter().enumerate() {
                prop_assert_eq!(names.index(name), Some(index));
                prop_assert_eq!(labels.label(&text(name)), Ok(Label::Class(index)));
                let number = text(&index.to_string());
                prop_assert_eq!(labels.label(&number), Ok(Label::Class(index)));
            }
        }
    }
}
