//! A file that no `mod` names is compiled by nobody and tests nothing.

use std::path::Path;

use crate::tree::{Source, root, sources};

/// Whether some file says `mod <name>;` for it, beside it or above it.
fn is_named(path: &str, all: &[Source]) -> bool {
    let path = Path::new(path);
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let (name, directory) = match stem {
        "mod" => {
            let directory = path.parent().unwrap();
            (directory.file_name().unwrap().to_str().unwrap(), directory.parent().unwrap())
        }
        _ => (stem, path.parent().unwrap()),
    };
    // A `#[path = ".."]` names the file by its folder.
    let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let ends = [format!("mod {name};"), format!("/{folder}/{}\"]", path.file_name().unwrap().to_str().unwrap())];
    let parents =
        [directory.join("mod.rs"), directory.join("lib.rs"), directory.join("main.rs"), directory.with_extension("rs")];
    let is_parent = |source: &&Source| parents.iter().any(|parent| parent == Path::new(&source.path));
    all.iter().filter(is_parent).any(|source| source.text.lines().any(|line| line.trim_end().ends_with(&ends[0])))
        || all.iter().any(|source| source.text.contains(&ends[1]))
}

#[test]
fn every_file_belongs_to_something() {
    let all = sources(&["heddled/src", "heddlectl/src", "proto-schema/src", "tests"]);
    let manifests: String = ["heddled", "heddlectl", "proto-schema"]
        .map(|package| std::fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap())
        .concat();
    let forgotten: Vec<&String> = all
        .iter()
        .map(|source| &source.path)
        .filter(|path| {
            let is_root = path.ends_with("src/main.rs") || path.ends_with("src/lib.rs") || path.contains("/src/bin/");
            let is_suite = manifests.contains(&format!("\"../{path}\""));
            !is_root && !is_suite && !is_named(path, &all)
        })
        .collect();
    assert!(forgotten.is_empty(), "no `mod` and no manifest names these: {forgotten:#?}");
}

#[test]
fn every_suite_is_wired() {
    let manifests: String = ["heddled", "heddlectl", "proto-schema"]
        .map(|package| std::fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap())
        .concat();
    for entry in std::fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.join("main.rs").exists() {
            assert!(manifests.contains(&format!("\"../tests/{name}/main.rs\"")), "tests/{name} is in no manifest");
        }
    }
}
