//! Names of repositories.

use std::path::{Component, Path};

use hf_hub::{Repo, RepoType};

use super::HubError;

/// The kinds of repositories that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// Weights with their configuration and tokenizer.
    Model,
    /// A data set.
    Dataset,
}

impl RepoKind {
    /// How to do without the Hub, for error messages.
    pub(super) fn local(self) -> &'static str {
        match self {
            Self::Model => "pass a local folder with the checkpoint (--model DIR)",
            Self::Dataset => "pass local data files instead of the data set's id",
        }
    }
}

/// A parsed `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone)]
pub(super) struct RepoId {
    /// As the user wrote it, for error messages.
    pub(super) text: String,
    pub(super) name: String,
    pub(super) revision: String,
    pub(super) kind: RepoKind,
}

impl RepoId {
    pub(super) fn parse(text: &str, kind: RepoKind) -> Result<Self, HubError> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        // The Hub's own rules, which also keep the name inside the cache's folder.
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && !part.ends_with(['.', '-'])
                && !part.contains("..")
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if name.split('/').count() > 2 || !name.split('/').all(part) || !is_revision(revision) {
            return Err(HubError::BadId {
                id: text.to_owned(),
            });
        }
        Ok(Self {
            text: text.to_owned(),
            name: name.to_owned(),
            revision: revision.to_owned(),
            kind,
        })
    }

    pub(super) fn repo(&self) -> Repo {
        let kind = match self.kind {
            RepoKind::Model => RepoType::Model,
            RepoKind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.name.clone(), kind, self.revision.clone())
    }
}

pub(super) fn is_revision(text: &str) -> bool {
    is_plain(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
}

/// Whether a path of the Hub's stays below the folder that it is joined to.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('\\')
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}
