//! Which columns of a file hold what.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// Which columns of a file hold the text, its pair and the label.
///
/// By default these are the names that GLUE and the hub use, or, in a table without a header, the
/// first columns. A file of another shape is read by saying which columns count:
///
/// ```
/// use lora_train::data::Columns;
///
/// let reviews = Columns::named("review", "stars");
/// let questions = Columns::named("question", "same").with_pair("other question");
/// let without_header = Columns::placed(2, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    choices: Vec<Choice>,
}

/// One shape that a file may have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Named {
        text: String,
        pair: Option<String>,
        label: String,
    },
    Placed {
        /// How many columns a row has.
        counts: RangeInclusive<usize>,
        places: Places,
        header: bool,
    },
}

/// Where the fields of an example stand in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub text: usize,
    pub pair: Option<usize>,
    pub label: usize,
}

/// The shape that the first row gives a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Whether the first row is a header.
    pub header: bool,
    /// How many columns a row has.
    pub counts: RangeInclusive<usize>,
    pub places: Places,
}

impl Columns {
    /// The columns with these names: in the header of a table, the keys of JSON lines, the columns
    /// of a parquet file.
    pub fn named(text: impl Into<String>, label: impl Into<String>) -> Self {
        Self::none().or_named(&text.into(), None, &label.into())
    }

    /// The columns at these places, counted from 0, of a table without a header; more may follow.
    pub fn placed(text: usize, label: usize) -> Self {
        Self::none().or_placed(text.max(label) + 1..=usize::MAX, text, None, label)
    }

    /// The name of the column with the second text of a pair.
    #[must_use]
    pub fn with_pair(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        for choice in &mut self.choices {
            if let Choice::Named { pair, .. } = choice {
                *pair = Some(name.clone());
            }
        }
        self
    }

    /// The place of the column with the second text of a pair, counted from 0.
    #[must_use]
    pub fn with_pair_placed(mut self, place: usize) -> Self {
        for choice in &mut self.choices {
            if let Choice::Placed { counts, places, .. } = choice {
                *counts = (*counts.start()).max(place + 1)..=*counts.end();
                places.pair = Some(place);
            }
        }
        self
    }

    /// Skips the first row, of columns that are given by their places.
    #[must_use]
    pub fn with_header(mut self) -> Self {
        for choice in &mut self.choices {
            if let Choice::Placed { header, .. } = choice {
                *header = true;
            }
        }
        self
    }

    /// No shape yet.
    pub(crate) fn none() -> Self {
        Self {
            choices: Vec::new(),
        }
    }

    /// Or else the columns with these names.
    pub(crate) fn or_named(mut self, text: &str, pair: Option<&str>, label: &str) -> Self {
        self.choices.push(Choice::Named {
            text: text.to_string(),
            pair: pair.map(String::from),
            label: label.to_string(),
        });
        self
    }

    /// Or else the columns at these places, without a header, if there are so many.
    pub(crate) fn or_placed(
        mut self,
        counts: RangeInclusive<usize>,
        text: usize,
        pair: Option<usize>,
        label: usize,
    ) -> Self {
        self.choices.push(Choice::Placed {
            counts,
            places: Places { text, pair, label },
            header: false,
        });
        self
    }

    /// The shape of a table with this first row.
    pub(super) fn of_table<S: AsRef<str>>(&self, first: &[S]) -> Result<Shape, String> {
        let placed = |choice: &Choice| match choice {
            Choice::Placed {
                counts,
                places,
                header,
            } if counts.contains(&first.len()) => Some(Shape {
                header: *header,
                counts: counts.clone(),
                places: *places,
            }),
            _ => None,
        };
        let named = self.in_names(first).map(|places| Shape {
            header: true,
            counts: first.len()..=first.len(),
            places,
        });
        named
            .or_else(|| self.choices.iter().find_map(placed))
            .ok_or_else(|| {
                let (count, names) = (first.len(), listed(first));
                format!(
                    "{count} column(s) ({names}), expected {}",
                    self.expected(true)
                )
            })
    }

    /// The places of the fields among these names.
    pub(super) fn of_names<S: AsRef<str>>(&self, names: &[S]) -> Result<Places, String> {
        self.in_names(names).ok_or_else(|| {
            let (found, expected) = (listed(names), self.expected(false));
            format!("its columns are {found}, expected {expected}")
        })
    }

    fn in_names<S: AsRef<str>>(&self, names: &[S]) -> Option<Places> {
        let find = |wanted: &str| names.iter().position(|name| name.as_ref().trim() == wanted);
        self.choices.iter().find_map(|choice| match choice {
            Choice::Named { text, pair, label } => Some(Places {
                text: find(text)?,
                pair: match pair {
                    Some(pair) => Some(find(pair)?),
                    None => None,
                },
                label: find(label)?,
            }),
            Choice::Placed { .. } => None,
        })
    }

    /// What a file may have: columns with names and, in a table, so many of them.
    fn expected(&self, table: bool) -> String {
        let mut named = Vec::new();
        let mut placed = Vec::new();
        for choice in &self.choices {
            match choice {
                Choice::Named { text, pair, label } => named.push(match pair {
                    Some(pair) => format!("`{text}`, `{pair}` and `{label}`"),
                    None => format!("`{text}` and `{label}`"),
                }),
                Choice::Placed { counts, .. } => {
                    placed.push(match (*counts.start(), *counts.end()) {
                        (least, usize::MAX) => format!("{least} or more"),
                        (least, most) if least == most => least.to_string(),
                        (least, most) => format!("{least} to {most}"),
                    });
                }
            }
        }
        let named =
            (!named.is_empty()).then(|| format!("a column each for {}", named.join(" or ")));
        let placed = (table && !placed.is_empty())
            .then(|| format!("{} columns without a header", placed.join(" or ")));
        let all: Vec<String> = named.into_iter().chain(placed).collect();
        match all.is_empty() {
            true => "a table, as its columns are given by their places".to_string(),
            false => all.join(", or "),
        }
    }
}

impl Default for Columns {
    fn default() -> Self {
        Self::none()
            .or_named("sentence1", Some("sentence2"), "label")
            .or_named("question1", Some("question2"), "label")
            .or_named("premise", Some("hypothesis"), "label")
            .or_named("question", Some("sentence"), "label")
            .or_named("sentence", None, "label")
            .or_named("sentence1", None, "label")
            .or_named("text", None, "label")
            .or_placed(2..=2, 0, None, 1)
            .or_placed(3..=3, 0, Some(1), 2)
    }
}

/// The first few of a file's columns: a line may be anything.
fn listed<S: AsRef<str>>(names: &[S]) -> String {
    const COUNT: usize = 12;
    let short = |name: &S| -> String { name.as_ref().chars().take(24).collect() };
    let mut all: Vec<String> = names.iter().take(COUNT).map(short).collect();
    if names.len() > COUNT {
        all.push("…".to_string());
    }
    all.join(", ")
}

/// So many columns, in words.
pub(super) fn counted(counts: &RangeInclusive<usize>) -> impl Display {
    match (*counts.start(), *counts.end()) {
        (least, usize::MAX) => format!("at least {least}"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: usize, pair: Option<usize>, label: usize) -> Places {
        Places { text, pair, label }
    }

    #[test]
    fn the_usual_names_are_found_in_any_order() {
        let usual = Columns::default();
        for (names, expected) in [
            (&["label", "sentence"][..], places(1, None, 0)),
            (&["idx", "text", "label"], places(1, None, 2)),
            (&["sentence1", "label"], places(0, None, 1)),
            (&["label", "sentence2", "sentence1"], places(2, Some(1), 0)),
            (&["premise", "hypothesis", "label"], places(0, Some(1), 2)),
            (&["question1", "question2", "label"], places(0, Some(1), 2)),
            (
                &["index", "question", "sentence", "label"],
                places(1, Some(2), 3),
            ),
        ] {
            assert_eq!(usual.of_names(names), Ok(expected), "{names:?}");
            let table = usual.of_table(names).unwrap();
            assert!(table.header && table.counts == (names.len()..=names.len()));
        }
    }

    #[test]
    fn a_table_without_a_header_is_known_by_its_width() {
        let usual = Columns::default();
        let two = usual.of_table(&["fine", "1"]).unwrap();
        assert_eq!((two.header, two.places), (false, places(0, None, 1)));
        let three = usual.of_table(&["fine", "good", "1"]).unwrap();
        assert_eq!(three.places, places(0, Some(1), 2));
        let message = usual.of_table(&["a", "b", "c", "d"]).unwrap_err();
        assert!(message.starts_with("4 column(s) (a, b, c, d), expected a column each for"));
        assert!(
            message.ends_with("or 2 or 3 columns without a header"),
            "{message}"
        );
    }

    #[test]
    fn columns_of_ones_own() {
        let named = Columns::named("review", "stars").with_pair("answer");
        assert_eq!(
            named.of_names(&["stars", "answer", "review"]),
            Ok(places(2, Some(1), 0))
        );
        assert_eq!(
            named.of_names(&["text", "label"]).unwrap_err(),
            "its columns are text, label, expected a column each for `review`, `answer` and `stars`"
        );
        let placed = Columns::placed(4, 0).with_pair_placed(5);
        let table = placed.of_table(&["a"; 9]).unwrap();
        assert_eq!(table.places, places(4, Some(5), 0));
        assert_eq!((table.header, table.counts), (false, 6..=usize::MAX));
        assert!(
            placed
                .clone()
                .with_header()
                .of_table(&["a"; 6])
                .unwrap()
                .header
        );
        let message = placed.of_table(&["a"; 5]).unwrap_err();
        assert!(message.ends_with("expected 6 or more columns without a header"));
        assert!(
            placed
                .of_names(&["a"])
                .unwrap_err()
                .contains("expected a table")
        );
    }
}
