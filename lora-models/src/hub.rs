//! Checkpoints and data sets by folder or by Hub id.
//!
//! Downloads go through the `hf-hub` crate into the cache that Hugging Face's Python libraries
//! use too. What is in the cache is taken from there without asking the Hub again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// How long the Hub may take to accept a connection, and then to answer the first request.
const FIRST_ANSWER: Duration = Duration::from_secs(30);

const CONFIG: &str = "config.json";
/// Everything that may describe a tokenizer.
const TOKENIZER: [&str; 6] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
];
/// The files of which one holds (or lists) the weights, best first.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

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
    fn local(self) -> &'static str {
        match self {
            Self::Model => "pass a local folder with the checkpoint (--model DIR)",
            Self::Dataset => "pass local data files instead of the data set's id",
        }
    }
}

/// A parsed `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone)]
struct RepoId {
    /// As the user wrote it, for error messages.
    text: String,
    name: String,
    revision: String,
    kind: RepoKind,
}

impl RepoId {
    fn parse(text: &str, kind: RepoKind) -> Result<Self, HubError> {
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

    fn repo(&self) -> Repo {
        let kind = match self.kind {
            RepoKind::Model => RepoType::Model,
            RepoKind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.name.clone(), kind, self.revision.clone())
    }
}

fn is_revision(text: &str) -> bool {
    is_plain(text)
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
}

/// Whether a path of the Hub's stays below the folder that it is joined to.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('\\')
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Where and how a [`Hub`] looks for files.
#[derive(Clone)]
pub struct HubOptions {
    /// The server's address, without a slash at the end.
    pub endpoint: String,
    /// The folder of the cache (`.../hub`).
    pub cache: PathBuf,
    /// The access token, for private and gated repositories.
    pub token: Option<String>,
    /// Use the cache alone.
    pub offline: bool,
    /// Show progress bars of downloads on standard error.
    pub progress: bool,
}

impl HubOptions {
    /// Reads the variables of Hugging Face's own libraries through `lookup`; empty ones count as
    /// unset.
    ///
    /// - `HF_ENDPOINT`: the server (`https://huggingface.co`).
    /// - `HF_HUB_CACHE`: the cache (`$HF_HOME/hub`); `HF_HOME`: its parent
    ///   (`$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface`).
    /// - `HF_TOKEN`: the token (the text of the file `$HF_TOKEN_PATH` or `$HF_HOME/token`).
    /// - `HF_HUB_OFFLINE`: `1`, `true`, `yes` or `on` for the cache alone.
    ///
    /// Progress bars are on if standard error is a terminal.
    ///
    /// # Errors
    ///
    /// [`HubError::NoCache`] if neither these variables nor `HOME` (`USERPROFILE`) name a folder.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let path = |name| {
            lookup(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let text = |name| {
            lookup(name)?
                .into_string()
                .ok()
                .filter(|value| !value.is_empty())
        };
        let home = path("HF_HOME")
            .or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| {
                let user = path("HOME").or_else(|| path("USERPROFILE"))?;
                Some(user.join(".cache").join("huggingface"))
            });
        let cache = path("HF_HUB_CACHE")
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or(HubError::NoCache)?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
        let token = text("HF_TOKEN")
            .or_else(|| fs::read_to_string(token_file?).ok())
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| {
            matches!(
                value.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            )
        });
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token,
            offline,
            progress: io::stderr().is_terminal(),
        })
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret and stays out of logs.
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// A Hub and its local cache.
pub struct Hub {
    options: HubOptions,
    api: Api,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.options).finish()
    }
}

impl Hub {
    /// A Hub with given options. Nothing is asked of the server yet.
    ///
    /// # Errors
    ///
    /// [`HubError::Client`] if the HTTP client cannot be set up.
    pub fn new(options: HubOptions) -> Result<Self, HubError> {
        let api = ApiBuilder::from_cache(Cache::new(options.cache.clone()))
            .with_endpoint(options.endpoint.clone())
            .with_token(options.token.clone())
            .with_progress(options.progress)
            .build()
            .map_err(|e| HubError::Client {
                reason: e.to_string(),
            })?;
        Ok(Self { options, api })
    }

    /// The Hub that the environment describes, see [`HubOptions::from_lookup`].
    ///
    /// # Errors
    ///
    /// Those of [`HubOptions::from_lookup`] and [`Hub::new`].
    pub fn from_env() -> Result<Self, HubError> {
        Self::new(HubOptions::from_lookup(|name| std::env::var_os(name))?)
    }

    /// The folder of a model: an existing folder as it is, else the files of a Hub id.
    ///
    /// Of a Hub id (`owner/name` or `owner/name@revision`) come `config.json`, every tokenizer
    /// file there is, and the weights: `model.safetensors`, else its shards by
    /// `model.safetensors.index.json`, else `pytorch_model.bin`, else its shards. A model that is
    /// whole in the cache is not looked up on the Hub again.
    ///
    /// # Errors
    ///
    /// [`HubError::MissingFolder`] and [`HubError::BadId`] for a name that is no id,
    /// [`HubError::Offline`] if something is missing in offline mode, [`HubError::NoWeights`] and
    /// [`HubError::BadIndex`] for a repository without usable weights, and the other variants if
    /// the server or the cache fails.
    pub fn model_folder(&self, dir_or_id: &str) -> Result<PathBuf, HubError> {
        if let Some(folder) = local_folder(dir_or_id)? {
            return Ok(folder);
        }
        let repo = RepoId::parse(dir_or_id, RepoKind::Model)?;
        if let Some(folder) = self.snapshot(&repo) {
            let usable = folder.join(CONFIG).is_file() && has_weights(&folder);
            // A model without a tokenizer may have been cached by something else than this
            // function, so that is not enough to know that the Hub has none either.
            if usable && (self.options.offline || has_tokenizer(&folder)) {
                return Ok(folder);
            }
        }
        if self.options.offline {
            return Err(self.offline(&repo, "config.json with its weights"));
        }
        self.download_model(&repo)
    }

    fn download_model(&self, repo: &RepoId) -> Result<PathBuf, HubError> {
        let info = self.info(repo)?;
        let listed = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);
        // All files come from one commit, even if the branch moves on in the meantime.
        let pinned = RepoId {
            revision: info.sha.clone(),
            ..repo.clone()
        };
        let config = self.file(&pinned, CONFIG)?;
        for name in TOKENIZER.into_iter().filter(|name| listed(name)) {
            self.file(&pinned, name)?;
        }
        let weights = WEIGHTS
            .into_iter()
            .find(|name| listed(name))
            .ok_or_else(|| HubError::NoWeights {
                asked: self.asked(repo, "weights"),
            })?;
        let path = self.file(&pinned, weights)?;
        if is_index(weights) {
            for shard in shards(&path)? {
                self.file(&pinned, &shard)?;
            }
        }
        // Only now does the branch's name in the cache mean this commit, so that an interrupted
        // download is never taken for the model.
        let cache = Cache::new(self.options.cache.clone()).repo(repo.repo());
        cache
            .create_ref(&info.sha)
            .map_err(|e| self.broken(repo, "the revision", e))?;
        config
            .parent()
            .map(Path::to_owned)
            .filter(|folder| has_weights(folder))
            .ok_or_else(|| self.bad_answer(repo, weights, "its files are of different commits"))
    }

    /// A file of a model repository, from the cache or else downloaded.
    ///
    /// # Errors
    ///
    /// [`HubError::BadId`] and [`HubError::BadFileName`] for impossible names,
    /// [`HubError::Offline`] if it is missing in offline mode, [`HubError::NotFound`] if the Hub
    /// has no such file, and the other variants if the server or the cache fails.
    pub fn model_file(&self, id: &str, name: &str) -> Result<PathBuf, HubError> {
        self.file(&RepoId::parse(id, RepoKind::Model)?, name)
    }

    /// Like [`Hub::model_file`], with `None` for a file that the Hub (or, in offline mode, the
    /// cache) does not have.
    ///
    /// # Errors
    ///
    /// Those of [`Hub::model_file`] but [`HubError::NotFound`] and [`HubError::Offline`].
    pub fn optional_model_file(&self, id: &str, name: &str) -> Result<Option<PathBuf>, HubError> {
        match self.model_file(id, name) {
            Ok(path) => Ok(Some(path)),
            Err(HubError::NotFound { .. } | HubError::Offline { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file of a data set repository, from the cache or else downloaded.
    ///
    /// # Errors
    ///
    /// Those of [`Hub::model_file`].
    pub fn dataset_file(&self, id: &str, name: &str) -> Result<PathBuf, HubError> {
        self.file(&RepoId::parse(id, RepoKind::Dataset)?, name)
    }

    /// The names of a repository's files, sorted; in offline mode those in the cache.
    ///
    /// # Errors
    ///
    /// [`HubError::BadId`] for an impossible id, [`HubError::Offline`] if the cache has nothing of
    /// the repository in offline mode, and the other variants if the server fails.
    pub fn list_files(&self, id: &str, kind: RepoKind) -> Result<Vec<String>, HubError> {
        let repo = RepoId::parse(id, kind)?;
        let mut names = Vec::new();
        if self.options.offline {
            let folder = self
                .snapshot(&repo)
                .ok_or_else(|| self.offline(&repo, "the files"))?;
            walk(&folder, "", &mut names).map_err(|e| self.broken(&repo, "the files", e))?;
        } else {
            names.extend(
                self.info(&repo)?
                    .siblings
                    .into_iter()
                    .map(|file| file.rfilename),
            );
        }
        names.sort();
        Ok(names)
    }

    fn file(&self, repo: &RepoId, name: &str) -> Result<PathBuf, HubError> {
        if !is_plain(name) {
            return Err(HubError::BadFileName {
                id: repo.text.clone(),
                name: name.to_owned(),
            });
        }
        let cached = self.snapshot(repo).map(|folder| folder.join(name));
        if let Some(path) = cached.filter(|path| path.is_file()) {
            return Ok(path);
        }
        if self.options.offline {
            return Err(self.offline(repo, name));
        }
        log::info!(
            "downloading {name} of {} from {}",
            repo.text,
            self.options.endpoint
        );
        self.api
            .repo(repo.repo())
            .download(name)
            .map_err(|e| self.api_error(repo, name, e))
    }

    /// The cached folder of a repository's revision.
    fn snapshot(&self, repo: &RepoId) -> Option<PathBuf> {
        let folder = self.options.cache.join(repo.repo().folder_name());
        let commit = fs::read_to_string(folder.join("refs").join(&repo.revision)).ok();
        // A commit that is given as the revision needs no name in the cache.
        let commit = commit.as_deref().map_or(repo.revision.as_str(), str::trim);
        let snapshot = folder.join("snapshots").join(commit);
        (!commit.is_empty() && snapshot.is_dir()).then_some(snapshot)
    }

    fn info(&self, repo: &RepoId) -> Result<RepoInfo, HubError> {
        let what = "list of files";
        let request = self.api.repo(repo.repo()).info_request();
        let mut response = request
            .config()
            .timeout_connect(Some(FIRST_ANSWER))
            .timeout_recv_response(Some(FIRST_ANSWER))
            .build()
            .call()
            .map_err(|e| self.request_error(repo, what, &e))?;
        let info: RepoInfo = response
            .body_mut()
            .read_json()
            .map_err(|e| self.bad_answer(repo, what, e))?;
        if !is_revision(&info.sha) {
            return Err(self.bad_answer(repo, what, "its commit is not a plain name"));
        }
        Ok(info)
    }

    fn api_error(&self, repo: &RepoId, what: &str, error: ApiError) -> HubError {
        match error {
            ApiError::RequestError(e) => self.request_error(repo, what, &e),
            ApiError::IoError(e) => self.broken(repo, what, e),
            ApiError::LockAcquisition(lock) => {
                let reason = format!("another process is at it ({} is locked)", lock.display());
                self.broken(repo, what, io::Error::other(reason))
            }
            other => self.bad_answer(repo, what, other),
        }
    }

    fn request_error(&self, repo: &RepoId, what: &str, error: &ureq::Error) -> HubError {
        let asked = self.asked(repo, what);
        match *error {
            ureq::Error::StatusCode(404) => HubError::NotFound { asked },
            ureq::Error::StatusCode(status @ (401 | 403)) => HubError::Denied { asked, status },
            ureq::Error::StatusCode(status) => HubError::Status { asked, status },
            _ => HubError::Unreachable {
                asked,
                reason: error.to_string(),
            },
        }
    }

    fn bad_answer(&self, repo: &RepoId, what: &str, reason: impl fmt::Display) -> HubError {
        HubError::BadAnswer {
            asked: self.asked(repo, what),
            reason: reason.to_string(),
        }
    }

    fn broken(&self, repo: &RepoId, what: &str, source: io::Error) -> HubError {
        HubError::Download {
            asked: self.asked(repo, what),
            cache: self.options.cache.clone(),
            source,
        }
    }

    fn offline(&self, repo: &RepoId, what: &str) -> HubError {
        HubError::Offline {
            asked: self.asked(repo, what),
            cache: self.options.cache.clone(),
        }
    }

    fn asked(&self, repo: &RepoId, what: &str) -> Asked {
        Asked {
            id: repo.text.clone(),
            kind: repo.kind,
            what: what.to_owned(),
            endpoint: self.options.endpoint.clone(),
        }
    }
}

/// The folder of a model by folder or Hub id, with the Hub of the environment.
///
/// An existing folder needs no environment. See [`Hub::model_folder`].
///
/// # Errors
///
/// Those of [`Hub::from_env`] and [`Hub::model_folder`].
pub fn model_folder(dir_or_id: &str) -> Result<PathBuf, HubError> {
    match local_folder(dir_or_id)? {
        Some(folder) => Ok(folder),
        None => Hub::from_env()?.model_folder(dir_or_id),
    }
}

/// The folder of that name, or `None` for what may be a Hub id.
fn local_folder(text: &str) -> Result<Option<PathBuf>, HubError> {
    let path = PathBuf::from(text);
    if path.is_dir() {
        return Ok(Some(path));
    }
    let before_revision = text.split('@').next().unwrap_or(text);
    let only_a_path = text.starts_with(['.', '/', '~'])
        || text.contains('\\')
        || before_revision.matches('/').count() > 1
        || path.exists();
    if only_a_path {
        Err(HubError::MissingFolder { path })
    } else {
        Ok(None)
    }
}

fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

fn has_weights(folder: &Path) -> bool {
    WEIGHTS.iter().map(|name| folder.join(name)).any(|path| {
        let whole = |names: BTreeSet<String>| names.iter().all(|name| folder.join(name).is_file());
        path.is_file() && (!is_index(&path.to_string_lossy()) || shards(&path).is_ok_and(whole))
    })
}

fn has_tokenizer(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has("tokenizer.json") || (has("vocab.json") && has("merges.txt")) || has("vocab.txt")
}

/// The files that an index of sharded weights names.
fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    let bad = |reason: String| HubError::BadIndex {
        path: index.to_owned(),
        reason,
    };
    let text = fs::read_to_string(index).map_err(|e| bad(e.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let map = json
        .get("weight_map")
        .and_then(serde_json::Value::as_object);
    let names = map.and_then(|map| {
        map.values()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<BTreeSet<_>>>()
    });
    names
        .filter(|names| !names.is_empty())
        .ok_or_else(|| bad("it has no \"weight_map\" of file names".to_owned()))
}

/// Collects the files below a folder as `/`-separated names.
fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
