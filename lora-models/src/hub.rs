//! Checkpoints and data sets by folder or by Hub id.
//!
//! Downloads go through the `hf-hub` crate into the cache that Hugging Face's Python libraries
//! use too. What is in the cache is taken from there without asking the Hub again.

mod error;
mod folder;
mod options;
mod repo;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::RepoInfo;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};

pub use error::{Asked, HubError};
use folder::{WEIGHTS, has_tokenizer, has_weights, is_index, local_folder, shards, walk};
pub use options::HubOptions;
pub use repo::RepoKind;
use repo::{RepoId, is_plain, is_revision};

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

    /// What the Hub was made with.
    pub fn options(&self) -> &HubOptions {
        &self.options
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
