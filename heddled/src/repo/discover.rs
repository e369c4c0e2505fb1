//! Where a repository is: from any path in it to its Git directories, as Git finds them.
//!
//! The daemon's own environment plays no part: no `GIT_DIR`, no ceiling. The search stops at another file system, as
//! Git's does. Every file that the answer depends on is recorded with its version, so that a cached answer can be
//! checked with a few stats: a `git init` in a subfolder, a repository made anew and a changed `.git` are all noticed.

use std::io;
use std::path::{Path, PathBuf};

use proto_schema::RepositoryProblem;

use super::error::Error;
use super::files::{absent_as_none, read_path};
use super::stamp::Stamp;
const OPERATION: &str = "find the repository";

/// A repository as found from one path.
#[derive(Debug)]
pub(super) struct Found {
    /// The Git directory of the worktree: where its HEAD is.
    pub(super) private: PathBuf,
    /// The common Git directory, canonical.
    pub(super) common: PathBuf,
    pub(super) common_stamp: Stamp,
    /// The directory that has the `.git`, canonical; `None` when the path lies in a Git directory.
    pub(super) top: Option<PathBuf>,
    /// Whether `.git` is a file that leads to a linked worktree's own directory.
    pub(super) linked: bool,
    /// Whose these are: the `.git`, the worktree and both Git directories.
    pub(super) owners: Vec<u32>,
    /// What must be unchanged for this answer to hold.
    pub(super) depends: Vec<(PathBuf, Option<Stamp>)>,
    /// Whether `depends` says everything.
    pub(super) cacheable: bool,
}

/// Finds the repository that a path lies in.
pub(super) fn discover(path: &Path) -> Result<Found, Error> {
    let none = || Error::not_found(path, RepositoryProblem::NotARepository);
    let canonical = absent_as_none(std::fs::canonicalize(path)).map_err(|source| Error::io(OPERATION, path, source))?;
    let canonical = canonical.ok_or_else(none)?;
    let stamp = |path: &Path| Stamp::at(path).map_err(|source| Error::io(OPERATION, path, source));
    let start = stamp(&canonical)?.ok_or_else(none)?;
    if !canonical.is_dir() {
        return Err(none());
    }
    // The path itself, for it may be a symbolic link that is turned elsewhere.
    let mut depends = vec![(path.to_owned(), Some(start))];
    let mut cacheable = true;
    for directory in canonical.ancestors() {
        let here = stamp(directory)?.ok_or_else(none)?;
        if here.identity().0 != start.identity().0 {
            break;
        }
        let dot_git = directory.join(".git");
        let seen = Stamp::at_link(&dot_git).map_err(|source| Error::io(OPERATION, &dot_git, source))?;
        if let Some(seen) = seen {
            if let Some(private) = follow(&dot_git).map_err(|source| Error::io(OPERATION, &dot_git, source))? {
                depends.push((dot_git.clone(), stamp(&dot_git)?));
                let owners = vec![seen.owner(), here.owner()];
                return finish(path, private, Some(directory.to_owned()), owners, depends, cacheable);
            }
            // Something is being made here, or is broken: what it becomes cannot be told from its stamp.
            cacheable = false;
        }
        if is_git_dir(directory) {
            depends.push((directory.to_owned(), Some(here)));
            return finish(path, directory.to_owned(), None, vec![here.owner()], depends, cacheable);
        }
        let head = directory.join("HEAD");
        cacheable &= stamp(&head)?.is_none();
        depends.extend([(dot_git, None), (head, None)]);
    }
    Err(none())
}

fn finish(
    path: &Path,
    private: PathBuf,
    top: Option<PathBuf>,
    mut owners: Vec<u32>,
    mut depends: Vec<(PathBuf, Option<Stamp>)>,
    cacheable: bool,
) -> Result<Found, Error> {
    let failed = |source| Error::io(OPERATION, &private, source);
    let common = common_of(&private).map_err(failed)?;
    let stamp_of = |directory: &Path| {
        let stamp = Stamp::at(directory).map_err(|source| Error::io(OPERATION, directory, source))?;
        stamp.ok_or_else(|| Error::not_found(path, RepositoryProblem::NotARepository))
    };
    let (private_stamp, common_stamp) = (stamp_of(&private)?, stamp_of(&common)?);
    owners.extend([private_stamp.owner(), common_stamp.owner()]);
    let linked = private != common;
    for (directory, stamp) in [(&private, private_stamp), (&common, common_stamp)] {
        if !depends.iter().any(|(known, _)| known == directory) {
            depends.push((directory.clone(), Some(stamp)));
        }
    }
    let config = common.join("config");
    let version = Stamp::at(&config).map_err(|source| Error::io(OPERATION, &config, source))?;
    depends.push((config, version));
    // The directory with the `.git` says as much as the path itself, when they are the same.
    if top.as_deref() == Some(path) {
        depends.remove(0);
    }
    Ok(Found { private, common, common_stamp, top, linked, owners, depends, cacheable })
}

/// The Git directory that a `.git` is or leads to, canonical; `None` when it is none.
pub(super) fn follow(dot_git: &Path) -> io::Result<Option<PathBuf>> {
    let Some(data) = absent_as_none(std::fs::metadata(dot_git))? else { return Ok(None) };
    let directory = if data.is_dir() {
        dot_git.to_owned()
    } else {
        // A `.git` that is a symbolic link to such a file is followed by Git, too.
        let file = std::fs::canonicalize(dot_git)?;
        let base = dot_git.parent().unwrap_or(dot_git);
        match read_path(&file, b"gitdir: ", base) {
            Ok(Some(directory)) => directory,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(error),
        }
    };
    if is_git_dir(&directory) { std::fs::canonicalize(directory).map(Some) } else { Ok(None) }
}

/// The common Git directory of a worktree's own one, canonical.
pub(super) fn common_of(private: &Path) -> io::Result<PathBuf> {
    match read_path(&private.join("commondir"), b"", private)? {
        Some(common) => std::fs::canonicalize(common),
        None => Ok(private.to_owned()),
    }
}

/// What Git asks of a directory before it takes it for a Git directory.
fn is_git_dir(directory: &Path) -> bool {
    // HEAD may be a symbolic link to a branch that has no commit yet.
    if directory.join("HEAD").symlink_metadata().is_err() {
        return false;
    }
    common_of(directory).is_ok_and(|common| common.join("objects").is_dir() && common.join("refs").is_dir())
}
