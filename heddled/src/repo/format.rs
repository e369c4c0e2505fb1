//! Which formats of repositories are understood: what a repository's own `config` says of itself.
//!
//! A format that is not known is refused, never guessed: references in a format that this code does not read would look
//! absent, and a thread could be created over them. Only the file itself counts, without what it includes, as in Git.

use std::path::{Path, PathBuf};

use gix::config::File;

use super::error::Error;
use super::files::read_small;
use super::settings::{LogUpdates, log_updates};

/// What a repository says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) bare: bool,
    pub(super) hash: gix::hash::Kind,
    /// `core.worktree`, as written.
    pub(super) worktree: Option<PathBuf>,
    pub(super) log_updates: Option<LogUpdates>,
    /// `core.ignorecase`: the file system folds case, as Git found when it made the repository.
    pub(super) ignore_case: bool,
    /// `core.precomposeunicode`: it takes composed and decomposed characters for one.
    pub(super) precompose_unicode: bool,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
}

/// Reads the format; `None` when it is not supported.
pub(super) fn read(git_dir: &Path) -> Result<Option<Format>, Error> {
    // A repository without a config is one of version 0, as for Git.
    let file = parse(&git_dir.join("config"))?.unwrap_or_default();
    let text = |key: &str| file.string(key).map(|value| value.to_string());
    let version = text("core.repositoryformatversion");
    let version = match version.as_deref().map(str::trim) {
        None | Some("0" | "") => 0,
        Some("1") => 1,
        Some(_) => return Ok(None),
    };
    let Some(hash) = extensions(&file, version) else { return Ok(None) };
    // With this extension Git keeps what is true of the main worktree alone in a file of its own.
    let own = match file.boolean("extensions.worktreeconfig") {
        Ok(Some(true)) => parse(&git_dir.join("config.worktree"))?,
        _ => None,
    };
    let flag = |key: &str| file.boolean(key).ok().flatten().unwrap_or(false);
    let places: Vec<&File> = own.iter().chain([&file]).collect();
    Ok(Some(Format {
        bare: places.iter().find_map(|file| file.boolean("core.bare").ok().flatten()).unwrap_or(false),
        hash,
        worktree: places
            .iter()
            .find_map(|file| file.string("core.worktree"))
            .and_then(|value| gix::path::from_bstring(value).ok()),
        log_updates: text("core.logallrefupdates").map(|value| log_updates(Some(&value))),
        ignore_case: flag("core.ignorecase"),
        precompose_unicode: flag("core.precomposeunicode"),
        name: text("committer.name").or_else(|| text("user.name")),
        email: text("committer.email").or_else(|| text("user.email")),
    }))
}

fn parse(path: &Path) -> Result<Option<File>, Error> {
    const OPERATION: &str = "read the repository's config";
    // Such a directory shares its branches with another one and has an index lock and a HEAD of its own: Git itself does not
    // see that a branch is checked out in both.
    const LINKED: &str = "it is a symbolic link, as `git-new-workdir` makes it: two directories would be one repository with \
        one set of branches; work in the repository that it leads to, in a worktree of `git worktree add`";
    let content = read_small(path).map_err(|source| match source.raw_os_error() {
        Some(code) if code == nix::errno::Errno::ELOOP as i32 => Error::malformed(OPERATION, path, LINKED),
        _ => Error::io(OPERATION, path, source),
    })?;
    let Some(content) = content else { return Ok(None) };
    let metadata = gix::config::file::Metadata::from(gix::config::Source::Local);
    match File::from_bytes_no_includes(&content, metadata, gix::config::file::init::Options::default()) {
        Ok(file) => Ok(Some(file)),
        Err(_) => Err(Error::malformed(OPERATION, path, "it cannot be parsed")),
    }
}

/// The hash of the objects, when every extension is one that changes nothing here or is understood.
fn extensions(file: &File, version: u8) -> Option<gix::hash::Kind> {
    let mut hash = gix::hash::Kind::Sha1;
    for section in file.sections_by_name("extensions").into_iter().flatten() {
        for name in section.value_names() {
            let value = section.value(&name).map(|value| value.to_string()).unwrap_or_default();
            match (name.to_string().to_ascii_lowercase().as_str(), value.to_ascii_lowercase().as_str()) {
                ("noop" | "preciousobjects" | "partialclone" | "worktreeconfig", _) => {}
                // Git refuses these in version 0 too: a Git that knows no extensions would misread the repository.
                ("noop-v1" | "relativeworktrees" | "submodulepathconfig", _) if version == 1 => {}
                ("refstorage", "files") if version == 1 => {}
                ("objectformat", "sha1") if version == 1 => {}
                ("objectformat", "sha256") if version == 1 => hash = gix::hash::Kind::Sha256,
                ("refstorage" | "objectformat" | "noop-v1" | "relativeworktrees" | "compatobjectformat", _) => {
                    return None;
                }
                _ if version == 0 => {}
                _ => return None,
            }
        }
    }
    Some(hash)
}
