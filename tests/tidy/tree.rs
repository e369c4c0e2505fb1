//! The source files, as the rules look at them.

use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct Source {
    /// Its path from the workspace's root.
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every `.rs` file below these folders, by path.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| collect(&root.join(folder), &mut paths));
    paths.sort();
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
        text: std::fs::read_to_string(&path).unwrap(),
    };
    paths.into_iter().map(read).collect()
}

/// The source of the three packages.
pub(crate) fn shipped() -> Vec<Source> {
    let found = sources(&["heddled/src", "heddlectl/src", "proto-schema/src"]);
    assert!(found.len() > 100, "the sources are found");
    found
}

impl Source {
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The lines before the tests that stand at the end of a file, without comments, with their numbers.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..end].lines().enumerate();
        lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(number, line)| (number + 1, line))
    }
}
