//! The worktrees of a repository, from Git's own records: who has a branch checked out, and which path is one of them.

use std::io;
use std::path::{Path, PathBuf};

use proto_schema::ThreadName;

use super::discover::follow;
use super::error::Error;
use super::files::{absent_as_none, read_path, read_small};
use super::opened::Opened;
use super::refs::Target;

const OPERATION: &str = "read the worktrees";

/// One worktree of a repository.
#[derive(Clone, Debug)]
pub(super) struct Worktree {
    /// Where it is, or was: nothing says that it still exists.
    pub(super) path: PathBuf,
    /// Its own Git directory.
    pub(super) private: PathBuf,
    pub(super) is_main: bool,
}

/// How a worktree uses a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// HEAD is attached to it.
    Attached,
    /// A rebase or bisect of it is under way.
    UnderWay,
}

/// All worktrees, the main one first.
pub(super) fn all(repository: &Opened) -> Result<Vec<Worktree>, Error> {
    let main =
        repository.main.clone().map(|path| Worktree { path, private: repository.git_dir.to_path_buf(), is_main: true });
    let mut worktrees: Vec<Worktree> = main.into_iter().collect();
    let directory = repository.git_dir.join("worktrees");
    let failed = |source: io::Error| Error::io(OPERATION, &directory, source);
    let Some(entries) = absent_as_none(std::fs::read_dir(&directory)).map_err(failed)? else { return Ok(worktrees) };
    for entry in entries {
        let private = entry.map_err(failed)?.path();
        // A record without a path is being made or removed.
        let Ok(Some(dot_git)) = read_path(&private.join("gitdir"), b"", &private) else { continue };
        let Some(path) = dot_git.parent() else { continue };
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        worktrees.push(Worktree { path, private, is_main: false });
    }
    Ok(worktrees)
}

/// The worktree that uses a thread's branch.
pub(super) fn using(repository: &Opened, thread: &ThreadName) -> Result<Option<(Worktree, Use)>, Error> {
    let branch = thread.ref_name();
    // A HEAD may spell the branch as its user did.
    let same = |one: &str, other: &str| repository.refs.folding.same(one, other);
    let mut going_on = None;
    for worktree in all(repository)? {
        match repository.refs.attached(&worktree.private)? {
            Some(Target::Symbolic(head)) if same(&head, &branch) => return Ok(Some((worktree, Use::Attached))),
            Some(_) if going_on.is_none() && under_way(&worktree.private)?.iter().any(|other| same(other, &branch)) => {
                going_on = Some((worktree, Use::UnderWay));
            }
            Some(_) | None => {}
        }
    }
    Ok(going_on)
}

/// The branches from which a rebase or bisect has detached HEAD and to which it will come back, as full ref names.
pub(super) fn under_way(private: &Path) -> Result<Vec<String>, Error> {
    let mut branches = Vec::new();
    // Bisect writes the short name.
    for (file, prefix) in
        [("rebase-merge/head-name", ""), ("rebase-apply/head-name", ""), ("BISECT_START", "refs/heads/")]
    {
        let file = private.join(file);
        let content = read_small(&file).map_err(|source| Error::io(OPERATION, &file, source))?;
        branches.extend(content.map(|content| prefix.to_owned() + &String::from_utf8_lossy(content.trim_ascii())));
    }
    Ok(branches)
}

/// The record of the worktree that is, or was, at a path.
pub(super) fn recorded(repository: &Opened, path: &Path) -> Result<Worktree, Error> {
    if let Some(worktree) = led_to(repository, path) {
        return Ok(worktree);
    }
    let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let found = all(repository)?.into_iter().find(|worktree| worktree.path == canonical);
    found.ok_or_else(|| Error::WorktreeNotFound { path: path.to_owned() })
}

/// The record that a worktree's own `.git` leads to, if it is the record of just that path: then no others need be read.
fn led_to(repository: &Opened, path: &Path) -> Option<Worktree> {
    let private = read_path(&path.join(".git"), b"gitdir: ", path).ok()??;
    let named = read_path(&private.join("gitdir"), b"", &private).ok()??;
    let is_ours = private.parent() == Some(&*repository.git_dir.join("worktrees"));
    let is_canonical = || std::fs::canonicalize(path).is_ok_and(|canonical| canonical == path);
    let is_it = is_ours && named.parent() == Some(path) && is_canonical();
    is_it.then(|| Worktree { path: path.to_owned(), private, is_main: false })
}

/// The repository's own worktree at a path: its record names the path, and the path leads back to the record.
pub(super) fn registered(repository: &Opened, path: &Path) -> Result<Worktree, Error> {
    let worktree = recorded(repository, path)?;
    if leads_back(&worktree) { Ok(worktree) } else { Err(Error::WorktreeNotFound { path: path.to_owned() }) }
}

/// Whether the `.git` in the worktree leads to its record.
pub(super) fn leads_back(worktree: &Worktree) -> bool {
    // With `core.worktree` there need be no `.git` in the main worktree: the Git directory says where it is.
    if worktree.is_main {
        return worktree.path.is_dir();
    }
    let record = std::fs::canonicalize(&worktree.private).ok();
    record.is_some() && follow(&worktree.path.join(".git")).ok().flatten() == record
}
