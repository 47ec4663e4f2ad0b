//! Programs whose output is not read to its end.
#![cfg(unix)]

use std::process::{Command, Stdio};

/// What shells say of a process that `SIGPIPE` ended.
const UNREAD: i32 = 141;

#[test]
fn a_program_ends_with_its_reader() {
    let tests = std::env::current_exe().unwrap();
    let programs = tests.parent().unwrap().parent().unwrap().join("examples");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(programs.join("sweep"))
        .args(["--dry-run", "--out", "a-folder-that-is-not-there"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the examples are built, as `cargo test` without `--test` does");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(UNREAD), "{text}");
    assert_eq!(text, "");
}
