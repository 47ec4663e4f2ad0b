//! A Hub in miniature: an HTTP server on the loopback interface with the answers that a client of
//! Hugging Face's Hub relies on. The tests of `lora-train` include this file too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use lora_models::hub::{Hub, HubOptions};
use tempfile::TempDir;

/// The commit that every repository is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

impl Request {
    /// The client asks for the first byte to learn a file's size and commit.
    pub fn is_body(&self) -> bool {
        self.path.contains("/resolve/") && self.range.as_deref() != Some("bytes=0-0")
    }
}

/// What a server has, and what it has been asked.
#[derive(Default)]
pub struct State {
    /// `models/owner/name` or `datasets/owner/name` with its files.
    pub repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub requests: Mutex<Vec<Request>>,
    /// The status of every answer, where it is not the honest one.
    pub status: Option<u16>,
    /// How many bytes of the first large body to send before hanging up.
    pub break_at: Mutex<Option<usize>>,
}

/// A Hub on the loopback interface.
pub struct Server {
    pub endpoint: String,
    state: Arc<State>,
}

impl Server {
    /// Answers until the test ends.
    pub fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up early is its own test's business.
                let _ = answer(&shared, stream.unwrap());
            }
        });
        Self { endpoint, state }
    }

    /// A server with one model `owner/name`.
    pub fn with_model(files: &[(&str, &[u8])]) -> Self {
        Self::start(State {
            repos: repo("models/owner/name", files),
            ..State::default()
        })
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The names of the files that were downloaded.
    pub fn bodies(&self) -> Vec<String> {
        let bodies = self.requests().into_iter().filter(Request::is_body);
        bodies
            .map(|request| request.path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    /// A client with that cache.
    pub fn hub(&self, cache: &TempDir) -> Hub {
        Hub::new(options(&self.endpoint, cache)).unwrap()
    }
}

/// One repository with its files.
pub fn repo(name: &str, files: &[(&str, &[u8])]) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let files = files
        .iter()
        .map(|(name, body)| ((*name).to_owned(), body.to_vec()))
        .collect();
    BTreeMap::from([(name.to_owned(), files)])
}

/// The options of a client of `endpoint` with that cache.
pub fn options(endpoint: &str, cache: &TempDir) -> HubOptions {
    HubOptions {
        endpoint: endpoint.to_owned(),
        cache: cache.path().to_owned(),
        token: None,
        offline: false,
        progress: false,
    }
}

fn answer(state: &State, mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Request {
        path,
        range: None,
        authorization: None,
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().to_owned()),
            "authorization" => request.authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    state.requests.lock().unwrap().push(request.clone());
    let (status, headers, body) = match state.status {
        Some(status) => (status, String::new(), Vec::new()),
        None => respond(state, &request),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    )?;
    let mut break_at = state.break_at.lock().unwrap();
    match *break_at {
        Some(at) if at < length && request.is_body() => {
            *break_at = None;
            stream.write_all(&body[..at])
        }
        _ => stream.write_all(&body),
    }
}

fn respond(state: &State, request: &Request) -> (u16, String, Vec<u8>) {
    let missing = || {
        (
            404,
            "X-Error-Code: EntryNotFound\r\n".to_owned(),
            Vec::new(),
        )
    };
    if let Some(name) = request.path.strip_prefix("/api/") {
        let name = name.split("/revision/").next().unwrap_or(name);
        let Some(files) = state.repos.get(name) else {
            return missing();
        };
        let files: Vec<_> = files
            .keys()
            .map(|name| format!("{{\"rfilename\": {name:?}}}"))
            .collect();
        let json = format!(
            "{{\"sha\": {COMMIT:?}, \"siblings\": [{}]}}",
            files.join(", ")
        );
        return (
            200,
            "Content-Type: application/json\r\n".to_owned(),
            json.into_bytes(),
        );
    }
    let Some((name, rest)) = request.path[1..].split_once("/resolve/") else {
        return missing();
    };
    let name = if name.starts_with("datasets/") {
        name.into()
    } else {
        format!("models/{name}")
    };
    let (revision, file) = rest.split_once('/').unwrap_or_default();
    let body = state.repos.get(&name).and_then(|files| files.get(file));
    let Some(body) = body.filter(|_| ["main", COMMIT].contains(&revision)) else {
        return missing();
    };
    let range = request
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes="));
    let (from, to) = range
        .and_then(|range| range.split_once('-'))
        .unwrap_or(("0", ""));
    let from: usize = from.parse().unwrap();
    let to = to
        .parse()
        .map_or(body.len(), |to: usize| (to + 1).min(body.len()));
    let headers = format!(
        "ETag: \"etag-{}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{}/{}\r\n",
        file.replace(['/', '.'], "-"),
        to.saturating_sub(1),
        body.len()
    );
    (206, headers, body[from..to].to_vec())
}
