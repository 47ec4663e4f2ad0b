//! The Hub client against a small HTTP server on the loopback interface.

#[path = "common/hub_server.rs"]
mod hub_server;

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Mutex;

use hub_server::{COMMIT, Server, State, options, repo};
use lora_models::hub::{Hub, HubError, HubOptions, RepoKind};
use tempfile::TempDir;

const TINY: [(&str, &[u8]); 5] = [
    ("README.md", b"not needed"),
    ("config.json", b"{\"model_type\": \"roberta\"}"),
    ("merges.txt", b"#version: 0.2\n"),
    ("model.safetensors", b"weights"),
    ("vocab.json", b"{}"),
];

#[test]
fn model_comes_once_and_then_from_the_cache() {
    let server = Server::with_model(&TINY);
    let cache = TempDir::new().unwrap();
    let folder = server.hub(&cache).model_folder("owner/name").unwrap();
    assert!(
        folder.ends_with(format!("models--owner--name/snapshots/{COMMIT}")),
        "{folder:?}"
    );
    for (name, body) in &TINY[1..] {
        assert_eq!(fs::read(folder.join(name)).unwrap(), *body, "{name}");
    }
    assert!(!folder.join("README.md").exists());
    assert_eq!(
        server.bodies(),
        [
            "config.json",
            "vocab.json",
            "merges.txt",
            "model.safetensors"
        ]
    );

    let before = server.requests().len();
    assert_eq!(
        server.hub(&cache).model_folder("owner/name").unwrap(),
        folder
    );
    assert_eq!(
        server.requests().len(),
        before,
        "a cached model needs no request"
    );
    // The commit itself is a revision too.
    let pinned = format!("owner/name@{COMMIT}");
    assert_eq!(server.hub(&cache).model_folder(&pinned).unwrap(), folder);
    assert_eq!(server.requests().len(), before);
}

#[test]
fn safetensors_win_over_pytorch_and_shards_come_by_their_index() {
    let index = br#"{"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin",
        "c": "pytorch_model-1.bin"}}"#;
    let mut files = vec![
        ("config.json", &b"{}"[..]),
        ("pytorch_model.bin.index.json", &index[..]),
        ("pytorch_model-1.bin", b"one"),
        ("pytorch_model-2.bin", b"two"),
    ];
    let server = Server::with_model(&files);
    let cache = TempDir::new().unwrap();
    let folder = server.hub(&cache).model_folder("owner/name").unwrap();
    assert_eq!(
        fs::read(folder.join("pytorch_model-1.bin")).unwrap(),
        b"one"
    );
    assert_eq!(
        fs::read(folder.join("pytorch_model-2.bin")).unwrap(),
        b"two"
    );

    files.push(("model.safetensors", b"all"));
    let server = Server::with_model(&files);
    let folder = server
        .hub(&TempDir::new().unwrap())
        .model_folder("owner/name")
        .unwrap();
    assert!(folder.ends_with(COMMIT));
    assert_eq!(server.bodies(), ["config.json", "model.safetensors"]);
}

#[test]
fn index_cannot_name_files_outside_of_the_cache() {
    let index = br#"{"weight_map": {"a": "../../../evil"}}"#;
    let server = Server::with_model(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("../../../evil", b"evil"),
    ]);
    let error = server
        .hub(&TempDir::new().unwrap())
        .model_folder("owner/name")
        .unwrap_err();
    assert!(matches!(error, HubError::BadFileName { .. }), "{error}");
}

#[test]
fn damaged_index_and_missing_weights_are_named() {
    let cache = TempDir::new().unwrap();
    let server = Server::with_model(&[
        ("config.json", b"{}"),
        ("model.safetensors.index.json", b"[]"),
    ]);
    let error = server.hub(&cache).model_folder("owner/name").unwrap_err();
    assert!(matches!(error, HubError::BadIndex { .. }), "{error}");

    let server = Server::with_model(&[("config.json", b"{}"), ("model.onnx", b"x")]);
    let error = server
        .hub(&cache)
        .model_folder("owner/name")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("owner/name on http://127.0.0.1:"),
        "{error}"
    );
    assert!(error.contains("none of model.safetensors"), "{error}");
}

#[test]
fn interrupted_download_goes_on_where_it_stopped() {
    let weights: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    let server = Server::start(State {
        repos: repo(
            "models/owner/name",
            &[("config.json", b"{}"), ("model.safetensors", &weights)],
        ),
        break_at: Mutex::new(Some(7_000)),
        ..State::default()
    });
    let cache = TempDir::new().unwrap();
    let error = server.hub(&cache).model_folder("owner/name").unwrap_err();
    assert!(matches!(error, HubError::Download { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("model.safetensors of owner/name"),
        "{error}"
    );
    let offline = HubOptions {
        offline: true,
        ..options(&server.endpoint, &cache)
    };
    let error = Hub::new(offline)
        .unwrap()
        .model_folder("owner/name")
        .unwrap_err();
    assert!(
        matches!(error, HubError::Offline { .. }),
        "half a model is not in the cache: {error}"
    );

    let folder = server.hub(&cache).model_folder("owner/name").unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights);
    assert_eq!(
        server.requests().last().unwrap().range.as_deref(),
        Some("bytes=7000-")
    );
    assert_eq!(
        server.bodies(),
        ["config.json", "model.safetensors", "model.safetensors"]
    );
}

#[test]
fn token_goes_along_with_every_request() {
    let server = Server::with_model(&TINY);
    let cache = TempDir::new().unwrap();
    let with_token = HubOptions {
        token: Some("hf_secret".to_owned()),
        ..options(&server.endpoint, &cache)
    };
    assert!(!format!("{with_token:?}").contains("hf_secret"));
    let hub = Hub::new(with_token).unwrap();
    assert!(!format!("{hub:?}").contains("hf_secret"));
    hub.model_folder("owner/name").unwrap();
    for request in server.requests() {
        assert_eq!(
            request.authorization.as_deref(),
            Some("Bearer hf_secret"),
            "{request:?}"
        );
    }
    let server = Server::with_model(&TINY);
    server
        .hub(&TempDir::new().unwrap())
        .model_folder("owner/name")
        .unwrap();
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );
}

#[test]
fn missing_files_are_none_only_where_they_are_optional() {
    let server = Server::with_model(&TINY);
    let cache = TempDir::new().unwrap();
    let hub = server.hub(&cache);
    assert_eq!(
        hub.optional_model_file("owner/name", "vocab.txt").unwrap(),
        None
    );
    let path = hub
        .optional_model_file("owner/name", "vocab.json")
        .unwrap()
        .unwrap();
    assert_eq!(path, hub.model_file("owner/name", "vocab.json").unwrap());
    assert_eq!(server.bodies(), ["vocab.json"]);
    let error = hub.model_file("owner/name", "vocab.txt").unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("no vocab.txt of owner/name"), "{text}");
    assert!(
        text.contains(&server.endpoint) && text.contains("--model DIR"),
        "{text}"
    );
    let error = hub.model_folder("owner/unknown").unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error}");
    let error = hub.model_file("owner/name", "../secret").unwrap_err();
    assert!(matches!(error, HubError::BadFileName { .. }), "{error}");
}

#[test]
fn refusals_and_failures_of_the_server_are_told_apart() {
    for (status, expected) in [
        (401, "set HF_TOKEN"),
        (403, "set HF_TOKEN"),
        (503, "try again"),
    ] {
        let server = Server::start(State {
            status: Some(status),
            ..State::default()
        });
        let cache = TempDir::new().unwrap();
        let hub = server.hub(&cache);
        for error in [
            hub.model_folder("owner/name").unwrap_err(),
            hub.optional_model_file("owner/name", "vocab.json")
                .unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(
                text.contains(expected) && text.contains(&status.to_string()),
                "{text}"
            );
            assert!(
                text.contains("owner/name") && text.contains(&server.endpoint),
                "{text}"
            );
        }
    }
    // A server that is no Hub: fine answers without the Hub's content.
    let server = Server::start(State {
        status: Some(200),
        ..State::default()
    });
    let cache = TempDir::new().unwrap();
    let hub = server.hub(&cache);
    let error = hub.model_folder("owner/name").unwrap_err();
    assert!(matches!(error, HubError::BadAnswer { .. }), "{error}");
    let error = hub.model_file("owner/name", "config.json").unwrap_err();
    assert!(matches!(error, HubError::BadAnswer { .. }), "{error}");
}

#[test]
fn unreachable_endpoint_is_named_with_the_way_around() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let cache = TempDir::new().unwrap();
    let hub = Hub::new(options(&endpoint, &cache)).unwrap();
    for error in [
        hub.model_folder("owner/name").unwrap_err(),
        hub.optional_model_file("owner/name", "vocab.json")
            .unwrap_err(),
    ] {
        assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        for part in [
            endpoint.as_str(),
            "owner/name",
            "HF_ENDPOINT",
            "--model DIR",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn offline_mode_uses_the_cache_alone() {
    let server = Server::with_model(&[
        ("config.json", b"{}"),
        ("model.safetensors", b"weights"),
        ("sub/data.bin", b"data"),
    ]);
    let cache = TempDir::new().unwrap();
    let folder = server.hub(&cache).model_folder("owner/name").unwrap();
    server
        .hub(&cache)
        .model_file("owner/name", "sub/data.bin")
        .unwrap();
    let before = server.requests().len();

    let offline = HubOptions {
        offline: true,
        ..options(&server.endpoint, &cache)
    };
    let hub = Hub::new(offline).unwrap();
    assert_eq!(hub.model_folder("owner/name").unwrap(), folder);
    assert_eq!(
        hub.model_file("owner/name", "config.json").unwrap(),
        folder.join("config.json")
    );
    assert_eq!(
        hub.optional_model_file("owner/name", "vocab.json").unwrap(),
        None
    );
    assert_eq!(
        hub.list_files("owner/name", RepoKind::Model).unwrap(),
        ["config.json", "model.safetensors", "sub/data.bin"]
    );
    for error in [
        hub.model_file("owner/name", "vocab.json").unwrap_err(),
        hub.model_folder("owner/other").unwrap_err(),
        hub.model_folder("owner/name@v2").unwrap_err(),
        hub.list_files("owner/name", RepoKind::Dataset).unwrap_err(),
    ] {
        assert!(matches!(error, HubError::Offline { .. }), "{error}");
        let text = error.to_string();
        for part in [
            "HF_HUB_OFFLINE",
            "pass ",
            "local",
            &cache.path().display().to_string(),
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert_eq!(server.requests().len(), before, "offline mode asks nobody");
}

#[test]
fn data_sets_list_and_give_their_files() {
    let name = "data/train-0.parquet";
    let server = Server::start(State {
        repos: repo(
            "datasets/owner/set",
            &[(name, b"rows"), ("README.md", b"x")],
        ),
        ..State::default()
    });
    let cache = TempDir::new().unwrap();
    let hub = server.hub(&cache);
    assert_eq!(
        hub.list_files("owner/set", RepoKind::Dataset).unwrap(),
        ["README.md", name]
    );
    assert!(
        server.requests()[0]
            .path
            .ends_with("/api/datasets/owner/set/revision/main")
    );
    let path = hub.dataset_file("owner/set", name).unwrap();
    assert!(path.ends_with(name));
    assert_eq!(fs::read(&path).unwrap(), b"rows");
    assert_eq!(hub.dataset_file("owner/set", name).unwrap(), path);
    assert_eq!(server.bodies(), ["train-0.parquet"]);
    let error = hub
        .list_files("owner/none", RepoKind::Dataset)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("owner/none") && error.contains("local data files"),
        "{error}"
    );
}

#[test]
fn folders_paths_and_ids_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().to_str().unwrap();
    assert_eq!(lora_models::hub::model_folder(text).unwrap(), folder.path());

    let hub = Hub::new(HubOptions {
        offline: true,
        ..options("http://localhost", &folder)
    });
    let hub = hub.unwrap();
    for path in [
        "./nowhere",
        "../nowhere",
        "/no/where",
        "~/nowhere",
        "a/b/c",
        "a\\b",
        "Cargo.toml",
    ] {
        let error = hub.model_folder(path).unwrap_err();
        assert!(
            matches!(error, HubError::MissingFolder { .. }),
            "{path}: {error}"
        );
        assert!(error.to_string().contains(path), "{error}");
    }
    for id in [
        "",
        "owner/",
        "owner/na me",
        "owner/-x",
        "own..er/x",
        "x@",
        "x@../../y",
        "x@a?b",
    ] {
        let error = hub.model_folder(id).unwrap_err();
        assert!(matches!(error, HubError::BadId { .. }), "{id}: {error}");
    }
    for id in [
        "roberta-base",
        "owner/name",
        "owner/name@v1.0",
        "owner/name@refs/pr/1",
    ] {
        let error = hub.model_folder(id).unwrap_err();
        assert!(matches!(error, HubError::Offline { .. }), "{id}: {error}");
    }
}

fn from_variables(variables: &[(&str, &str)]) -> Result<HubOptions, HubError> {
    HubOptions::from_lookup(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name)?;
        Some(OsString::from(found.1))
    })
}

#[test]
fn environment_sets_the_options() {
    let options = from_variables(&[("HOME", "/home/me")]).unwrap();
    assert_eq!(options.endpoint, "https://huggingface.co");
    assert_eq!(options.cache, Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!((options.token, options.offline), (None, false));

    let cache = |variables: &[(&str, &str)]| from_variables(variables).unwrap().cache;
    let mut variables = vec![("HOME", "/home/me"), ("XDG_CACHE_HOME", "/xdg")];
    assert_eq!(cache(&variables), Path::new("/xdg/huggingface/hub"));
    variables.push(("HF_HOME", "/hf"));
    assert_eq!(cache(&variables), Path::new("/hf/hub"));
    variables.push(("HF_HUB_CACHE", "/cache"));
    assert_eq!(cache(&variables), Path::new("/cache"));
    assert!(matches!(
        from_variables(&[("HF_HOME", "")]),
        Err(HubError::NoCache)
    ));

    let endpoint = from_variables(&[("HF_HOME", "/hf"), ("HF_ENDPOINT", "http://mirror/")]);
    assert_eq!(endpoint.unwrap().endpoint, "http://mirror");
    for (value, offline) in [
        ("1", true),
        ("TRUE", true),
        ("yes", true),
        ("On", true),
        ("0", false),
        ("", false),
    ] {
        let options = from_variables(&[("HF_HOME", "/hf"), ("HF_HUB_OFFLINE", value)]).unwrap();
        assert_eq!(options.offline, offline, "{value:?}");
    }
}

#[test]
fn token_comes_from_the_variable_or_the_file() {
    let home = TempDir::new().unwrap();
    let home_text = home.path().to_str().unwrap();
    let token = |more: &[(&str, &str)]| {
        let variables = [&[("HF_HOME", home_text)], more].concat();
        from_variables(&variables).unwrap().token
    };
    assert_eq!(token(&[]), None);
    fs::write(home.path().join("token"), " from-file\n").unwrap();
    assert_eq!(token(&[]).as_deref(), Some("from-file"));
    assert_eq!(
        token(&[("HF_TOKEN", "from-variable")]).as_deref(),
        Some("from-variable")
    );
    let other = home.path().join("other");
    fs::write(&other, "from-other").unwrap();
    let other = token(&[("HF_TOKEN_PATH", other.to_str().unwrap())]);
    assert_eq!(other.as_deref(), Some("from-other"));
}
