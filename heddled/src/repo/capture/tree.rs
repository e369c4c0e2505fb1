//! From the worktree to a tree: `git add -A` into the private index, and `git write-tree`.
//!
//! Submodules and embedded repositories are updated first and then left out, because `git add` runs `git status` in them
//! and so under their own configuration; `git update-index` only reads their HEAD.

use proto_schema::ObjectId;

use super::listed::Listed;
use super::snapshot::Snapshot;
use super::workplace::Work;
use crate::repo::error::Error;

/// Adds everything that Git would add to the index that lists this, and gives the tree.
pub(super) fn write(work: &Work<'_>, snapshot: &Snapshot, listed: &Listed) -> Result<ObjectId, Error> {
    let mut add = work.git();
    add.args(["add", "--all"]);
    if listed.repositories.is_empty() {
        work.run(add, "add")?;
    } else {
        let mut update = work.git();
        update.args(["update-index", "--add", "--remove", "--replace", "-z", "--stdin"]);
        work.run_with(update, "update-index", &listed.present.join(&0))?;
        let excluded = listed.repositories.iter().map(|path| [b":(top,literal,exclude)", &path[..]].concat());
        let paths: Vec<Vec<u8>> = std::iter::once(b":(top)".to_vec()).chain(excluded).collect();
        add.args(["--pathspec-from-file=-", "--pathspec-file-nul"]);
        work.run_with(add, "add", &paths.join(&0))?;
    }
    let mut write = work.git();
    write.arg("write-tree");
    // Where objects are fetched when they are needed, those of unchanged files may be missing.
    if snapshot.is_partial() {
        write.arg("--missing-ok");
    }
    let said = work.run(write, "write-tree")?;
    let id = std::str::from_utf8(said.trim_ascii()).ok().and_then(|id| id.parse().ok());
    id.ok_or_else(|| Error::malformed("write the tree", work.worktree.path(), "Git did not say which it is"))
}
