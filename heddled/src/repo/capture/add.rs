//! From the worktree into the private index: `git add -A`.
//!
//! Submodules and embedded repositories are updated first and then left out, because `git add` runs `git status` in them
//! and so under their own configuration; `git update-index` only reads their HEAD.

use crate::repo::error::Error;
use crate::repo::workplace::Listed;
use crate::repo::workplace::Work;

/// Adds everything that Git would add to the index that lists this.
pub(super) fn add(work: &Work<'_>, listed: &Listed) -> Result<(), Error> {
    let mut add = work.git();
    add.args(["add", "--all"]);
    if listed.repositories.is_empty() {
        return work.run(add, "add").map(drop);
    }
    let mut update = work.git();
    update.args(["update-index", "--add", "--remove", "--replace", "-z", "--stdin"]);
    work.run_with(update, "update-index", &listed.present.join(&0))?;
    let excluded = listed.repositories.keys().map(|path| [b":(top,literal,exclude)", &path[..]].concat());
    let paths: Vec<Vec<u8>> = std::iter::once(b":(top)".to_vec()).chain(excluded).collect();
    add.args(["--pathspec-from-file=-", "--pathspec-file-nul"]);
    work.run_with(add, "add", &paths.join(&0)).map(drop)
}
