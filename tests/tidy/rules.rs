//! Who may use whom, how long a file may be, and what it begins with.

use crate::tree::shipped;

/// A folder or file, and what none of its lines may name.
const MAY_NOT: &[(&str, &[&str])] = &[
    // The edge knows the coordinator, the wire, and of Git only how an anchor is named.
    ("heddled/src/server/", &["crate::store", "crate::liveness", "GitRepo", "sled::", "gix::", "crate::daemon"]),
    (
        "heddled/src/registry/",
        &[
            "tokio",
            "nix::",
            "sled",
            "rustix",
            "jsonrpsee",
            "tracing",
            "rand::",
            "getrandom",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "std::env",
            "std::io",
            "Instant",
            "SystemTime",
            "crate::clock",
            "crate::store",
            "crate::repo",
            "crate::liveness",
            "crate::server",
            "crate::coordinator",
        ],
    ),
    (
        "heddled/src/coordinator/",
        &["sled::", "gix::", "nix::", "GitRepo", "LocalLiveness", "crate::server", "crate::config", "jsonrpsee"],
    ),
    (
        "heddled/src/store/",
        &["crate::server", "crate::repo", "crate::liveness", "crate::coordinator", "jsonrpsee", "tokio"],
    ),
    (
        "heddled/src/repo/",
        &["crate::server", "crate::store", "crate::liveness", "crate::coordinator", "jsonrpsee", "sled::"],
    ),
    (
        "heddled/src/liveness/",
        &["crate::server", "crate::store", "crate::repo::", "crate::coordinator", "jsonrpsee", "sled::"],
    ),
    ("heddlectl/src/", &["heddled::"]),
    ("proto-schema/src/", &["tokio", "heddled::", "jsonrpsee", "nix::"]),
];

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<String> =
        shipped().into_iter().filter(|source| !source.text.starts_with("//!")).map(|source| source.path).collect();
    assert!(silent.is_empty(), "these do not begin with `//!`: {silent:#?}");
}

#[test]
fn the_dependency_rule_holds() {
    let mut broken = Vec::new();
    for source in shipped().iter().filter(|source| !source.is_test()) {
        let forbidden =
            MAY_NOT.iter().filter(|(folder, _)| source.path.starts_with(folder)).flat_map(|(_, names)| *names);
        for name in forbidden {
            // In `use` lines and in paths alike.
            let found = source.code().filter(|(_, line)| line.contains(name));
            broken.extend(found.map(|(number, line)| format!("{}:{number}: {name}: {}", source.path, line.trim())));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    for (folder, _) in MAY_NOT {
        assert!(shipped().iter().any(|source| source.path.starts_with(folder)), "{folder} is there");
    }
}

#[test]
fn manifests_keep_the_rule_too() {
    let dependencies = |package: &str| {
        let text = std::fs::read_to_string(crate::tree::root().join(package).join("Cargo.toml")).unwrap();
        let from = text.split("[dependencies]").nth(1).unwrap().to_owned();
        from.split("\n[").next().unwrap().to_owned()
    };
    assert!(!dependencies("heddlectl").contains("heddled"));
    for name in ["tokio", "nix", "sled", "jsonrpsee"] {
        assert!(!dependencies("proto-schema").contains(name), "{name}");
    }
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut found = Vec::new();
    for source in shipped().iter().filter(|source| !source.is_test()) {
        let lines = source.code().filter(|(_, line)| line.contains(".unwrap()") || line.contains(".unwrap_err()"));
        found.extend(lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_file_is_long() {
    let long: Vec<String> = shipped()
        .iter()
        .filter(|source| !source.is_test())
        .map(|source| (source.code().last().map_or(0, |(number, _)| number), &source.path))
        .filter(|(lines, _)| *lines > 500)
        .map(|(lines, path)| format!("{path}: {lines} lines without its tests"))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}
