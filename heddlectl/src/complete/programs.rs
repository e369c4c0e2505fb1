//! The command that `run` starts: a program of the PATH first, then files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};

/// The programs of the PATH, and files.
pub(super) struct Programs;

impl ValueCompleter for Programs {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        PathCompleter::any().complete(current)
    }

    fn complete_at(&self, arg_index: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        let word = current.to_str().filter(|word| arg_index == 0 && !word.is_empty() && !word.contains('/'));
        let Some(word) = word else { return self.complete(current) };
        let mut found = BTreeSet::new();
        for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let names =
                entries.filter_map(|entry| entry.file_name().into_string().ok().map(|name| (name, entry.path())));
            found.extend(names.filter(|(name, path)| name.starts_with(word) && is_program(path)).map(|(name, _)| name));
        }
        found.into_iter().map(CompletionCandidate::new).collect()
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
