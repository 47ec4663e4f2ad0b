//! What can go wrong on the way from a name to its files.

use std::io;
use std::path::PathBuf;

use super::RepoKind;

/// What was asked of a Hub.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The repository as it was given: `owner/name` or `owner/name@revision`.
    pub id: String,
    /// What kind of repository it is.
    pub kind: RepoKind,
    /// The file, or what else was asked for.
    pub what: String,
    /// The server.
    pub endpoint: String,
}

/// What can go wrong between a name and its files.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name can only be a folder, but there is none.
    #[error(
        "there is no folder {}; give the folder of a checkpoint, or a Hub id such as owner/name",
        path.display()
    )]
    MissingFolder {
        /// The folder as it was given.
        path: PathBuf,
    },
    /// The name is neither a folder nor a Hub id.
    #[error(
        "{id:?} is neither an existing folder nor a Hub id (owner/name or owner/name@revision)"
    )]
    BadId {
        /// The name as it was given.
        id: String,
    },
    /// A file name that would leave the cache's folder.
    #[error("{name:?} of {id} is not a plain relative file name; it is not downloaded")]
    BadFileName {
        /// The repository.
        id: String,
        /// The file name.
        name: String,
    },
    /// The environment names no place for the cache.
    #[error("no place for the Hub's cache: set HF_HOME to a folder (HOME is not set either)")]
    NoCache,
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client: {reason}")]
    Client {
        /// Its reason.
        reason: String,
    },
    /// Offline mode, and the cache lacks something.
    #[error(
        "{} of {} is not in the cache {}, and HF_HUB_OFFLINE forbids asking {} for it; unset \
         HF_HUB_OFFLINE, or {}", asked.what, asked.id, cache.display(), asked.endpoint,
        asked.kind.local()
    )]
    Offline {
        /// What is missing.
        asked: Asked,
        /// The cache that was searched.
        cache: PathBuf,
    },
    /// No answer from the endpoint.
    #[error(
        "cannot reach {} for {} of {}: {reason}; check the network and HF_ENDPOINT, or {}",
        asked.endpoint, asked.what, asked.id, asked.kind.local()
    )]
    Unreachable {
        /// What was asked.
        asked: Asked,
        /// The client's reason.
        reason: String,
    },
    /// The endpoint knows no such file, revision or repository.
    #[error(
        "{} has no {} of {} (status 404); check the id, the revision and the file name, or {}",
        asked.endpoint, asked.what, asked.id, asked.kind.local()
    )]
    NotFound {
        /// What was asked.
        asked: Asked,
    },
    /// The endpoint wants another or any token. The Hub also answers so for unknown repositories.
    #[error(
        "{} refuses {} of {} (status {status}): there is no such repository, or it is private or \
         gated; check the id, accept its terms on its page, set HF_TOKEN, or {}",
        asked.endpoint, asked.what, asked.id, asked.kind.local()
    )]
    Denied {
        /// What was asked.
        asked: Asked,
        /// 401 or 403.
        status: u16,
    },
    /// The endpoint answered with another error.
    #[error(
        "{} answered status {status} for {} of {}; try again later, or {}",
        asked.endpoint, asked.what, asked.id, asked.kind.local()
    )]
    Status {
        /// What was asked.
        asked: Asked,
        /// The HTTP status.
        status: u16,
    },
    /// The endpoint's answer is not one of a Hub.
    #[error(
        "{} does not answer like a Hub for {} of {}: {reason}; check HF_ENDPOINT, or {}",
        asked.endpoint, asked.what, asked.id, asked.kind.local()
    )]
    BadAnswer {
        /// What was asked.
        asked: Asked,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A download broke off or could not be stored.
    #[error(
        "cannot get {} of {} from {} into {}: {source}; check the connection and the free space \
         and run again, the download goes on where it stopped",
        asked.what, asked.id, asked.endpoint, cache.display()
    )]
    Download {
        /// What was asked.
        asked: Asked,
        /// The cache that it goes to.
        cache: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The model repository has no weights in a known format.
    #[error(
        "{} on {} has no weights: none of model.safetensors, pytorch_model.bin and their \
         .index.json; choose another model or revision", asked.id, asked.endpoint
    )]
    NoWeights {
        /// What was asked.
        asked: Asked,
    },
    /// The list of weight shards cannot be used.
    #[error("{} does not list the weight files: {reason}; delete it and run again", path.display())]
    BadIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
