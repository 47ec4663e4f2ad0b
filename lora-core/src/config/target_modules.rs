//! PEFT's rules for which modules a configuration means.

use fancy_regex::Regex;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::LoraError;

/// A choice of modules by name: PEFT's `list[str]` or `str`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModulePattern {
    /// A list: a module matches if its path is one of the names, or ends in `.` and one of them.
    Names(Vec<String>),
    /// A string: a regular expression that has to match the whole path.
    Regex(String),
}

/// The modules to adapt: a [`ModulePattern`], where the string `all-linear` has a meaning of its
/// own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetModules(pub ModulePattern);

impl TargetModules {
    /// Whether this is PEFT's shorthand for every linear layer but the task's head.
    pub fn is_all_linear(&self) -> bool {
        matches!(&self.0, ModulePattern::Regex(text) if text.eq_ignore_ascii_case("all-linear"))
    }
}

impl<S: Into<String>, const N: usize> From<[S; N]> for ModulePattern {
    fn from(names: [S; N]) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<String>> for ModulePattern {
    fn from(names: Vec<String>) -> Self {
        Self::Names(names)
    }
}

impl From<&str> for ModulePattern {
    fn from(regex: &str) -> Self {
        Self::Regex(regex.to_string())
    }
}

impl<P: Into<ModulePattern>> From<P> for TargetModules {
    fn from(pattern: P) -> Self {
        Self(pattern.into())
    }
}

/// A [`ModulePattern`] ready for matching: one entry for each name of a list.
pub(crate) struct Matcher {
    entries: Vec<Entry>,
}

struct Entry {
    text: String,
    regex: Option<Regex>,
}

impl Matcher {
    pub(crate) fn new(pattern: &ModulePattern, field: &'static str) -> Result<Self, LoraError> {
        let entries = match pattern {
            ModulePattern::Names(names) => names
                .iter()
                .map(|name| Entry {
                    text: name.clone(),
                    regex: None,
                })
                .collect(),
            ModulePattern::Regex(text) => {
                vec![Entry {
                    text: text.clone(),
                    regex: Some(regex(&format!("^(?:{text})$"), text, field)?),
                }]
            }
        };
        Ok(Self { entries })
    }

    /// The text of each entry.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.text.as_str())
    }

    /// The indices of the entries that `path` matches.
    pub(crate) fn matching(&self, path: &str) -> Vec<usize> {
        let hit = |entry: &Entry| match &entry.regex {
            // A pattern that exhausts the engine's limits matches nothing, as in Python it would
            // not come back.
            Some(regex) => regex.is_match(path).unwrap_or(false),
            None => is_or_ends_in(path, &entry.text),
        };
        (0..self.entries.len())
            .filter(|&i| hit(&self.entries[i]))
            .collect()
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        !self.matching(path).is_empty()
    }

    /// Whether `path` is one of the names of a list, not only the end of one.
    pub(crate) fn lists(&self, path: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.regex.is_none() && entry.text == path)
    }
}

/// The value of the first pattern that the end of `path` matches, as PEFT's `get_pattern_key`.
pub(crate) fn pattern_value<T: Copy>(
    patterns: &IndexMap<String, T>,
    path: &str,
    field: &'static str,
) -> Result<Option<T>, LoraError> {
    for (pattern, value) in patterns {
        if end_of_path(pattern, field)?.is_match(path).unwrap_or(false) {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

/// What [`pattern_value`] compares a path with.
pub(super) fn end_of_path(pattern: &str, field: &'static str) -> Result<Regex, LoraError> {
    regex(&format!(r"^(.*\.)?({pattern})$"), pattern, field)
}

/// Compiles `regex`, made of the user's `pattern`.
pub(super) fn regex(regex: &str, pattern: &str, field: &'static str) -> Result<Regex, LoraError> {
    Regex::new(regex).map_err(|e| LoraError::Pattern {
        field,
        pattern: pattern.to_string(),
        message: e.to_string(),
    })
}

/// PEFT's list rule: the name itself, or a dotted suffix of the path.
pub(crate) fn is_or_ends_in(path: &str, name: &str) -> bool {
    path.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: impl Into<ModulePattern>, path: &str) -> bool {
        Matcher::new(&pattern.into(), "target_modules")
            .unwrap()
            .matches(path)
    }

    #[test]
    fn a_name_matches_exactly_or_as_a_dotted_suffix() {
        let query = "roberta.encoder.layer.0.attention.self.query";
        assert!(matches(["query"], query));
        assert!(matches(["self.query"], query));
        assert!(matches([query], query));
        assert!(!matches(["uery"], query));
        assert!(!matches(["encoder"], query));
    }

    #[test]
    fn a_string_matches_the_whole_path() {
        let path = "transformer.h.0.attn.c_attn";
        assert!(matches(r"transformer\.h\..*\.attn\.c_.*", path));
        assert!(!matches(r"h\..*\.attn\.c_.*", path));
        assert!(!matches("transformer|c_attn", path));
        // Python's lookahead, common in configs for multi-modal models.
        assert!(matches(r"^(?!.*vision).*c_attn", path));
        assert!(Matcher::new(&"(".into(), "target_modules").is_err());
    }
}
