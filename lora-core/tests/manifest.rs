//! No file of tests is forgotten.

use std::fs;
use std::path::Path;

#[test]
fn the_manifest_names_every_file_of_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let target = match path.is_dir() {
            true if path.join("main.rs").exists() => format!("{name}/main.rs"),
            false if name.ends_with(".rs") => name.to_string(),
            _ => continue,
        };
        assert!(
            manifest.contains(&format!("path = \"{target}\"")),
            "{target}"
        );
        found += 1;
    }
    assert_eq!(found, manifest.matches("[[test]]").count());
}
