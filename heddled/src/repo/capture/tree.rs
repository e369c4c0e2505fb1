//! From the worktree to a tree: `git add -A` into the private index, and `git write-tree`.
//!
//! Submodules and embedded repositories are updated first and then left out, because `git add` runs `git status` in them
//! and so under their own configuration; `git update-index` only reads their HEAD.

use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use gix::index::entry::{Flags, Mode, Stage};
use proto_schema::ObjectId;

use super::CaptureRefused;
use super::workplace::Work;
use crate::repo::error::Error;

/// Adds everything that Git would add, and gives the tree.
pub(super) fn write(work: &Work<'_>) -> Result<ObjectId, Error> {
    let (present, repositories) = repositories(&work.index()?);
    let mut add = work.git();
    add.args(["add", "--all"]);
    if repositories.is_empty() {
        work.run(add, "add")?;
    } else {
        let mut update = work.git();
        update.args(["update-index", "--add", "--remove", "--replace", "-z", "--stdin"]);
        work.run_with(update, "update-index", &present.join(&0))?;
        let excluded = repositories.iter().map(|path| [b":(top,literal,exclude)", &path[..]].concat());
        let paths: Vec<Vec<u8>> = std::iter::once(b":(top)".to_vec()).chain(excluded).collect();
        add.args(["--pathspec-from-file=-", "--pathspec-file-nul"]);
        work.run_with(add, "add", &paths.join(&0))?;
    }
    let mut write = work.git();
    write.arg("write-tree");
    let said = work.run(write, "write-tree")?;
    let id = std::str::from_utf8(said.trim_ascii()).ok().and_then(|id| id.parse().ok());
    id.ok_or_else(|| Error::malformed("write the tree", work.worktree.path(), "Git did not say which it is"))
}

/// The paths of the repositories that the index has: those that are in the worktree as far as a sparse checkout goes,
/// and all.
fn repositories(index: &gix::index::File) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let all = || index.entries().iter().filter(|entry| entry.mode == Mode::COMMIT);
    let path = |entry: &gix::index::Entry| entry.path(index).to_vec();
    let present = all().filter(|entry| !entry.flags.contains(Flags::SKIP_WORKTREE));
    (present.map(path).collect(), all().map(path).collect())
}

/// Refuses an index with conflicts.
pub(super) fn refuse_conflicts(work: &Work<'_>) -> Result<(), Error> {
    let index = work.index()?;
    let in_conflict = index.entries().iter().filter(|entry| entry.stage() != Stage::Unconflicted);
    let mut paths: Vec<PathBuf> =
        in_conflict.map(|entry| std::ffi::OsString::from_vec(entry.path(&index).to_vec()).into()).collect();
    paths.dedup();
    if paths.is_empty() { Ok(()) } else { Err(CaptureRefused::IndexConflicted { paths }.into()) }
}
