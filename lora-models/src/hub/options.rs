//! Where to look, from the environment.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::HubError;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where and how a [`Hub`](super::Hub) looks for files.
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
