//! What can be known of a worktree without starting Git: where its top is, and on which branch it stands.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// A worktree of some repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Worktree {
    /// Its top directory, symbolic links resolved.
    pub(crate) top: PathBuf,
    /// Its own Git directory.
    git_dir: PathBuf,
}

impl Worktree {
    /// Finds the worktree that `path` lies in. What cannot be read counts as none.
    pub(crate) fn containing(path: &Path) -> Option<Self> {
        Self::find(path).ok().flatten()
    }

    /// Finds the worktree that `path` lies in; `None` if it lies in none.
    ///
    /// Fails, with the file's path, if there is a `.git` that cannot be read: a FIFO, say, or another user's.
    pub(crate) fn find(path: &Path) -> Result<Option<Self>, (PathBuf, io::Error)> {
        let path = fs::canonicalize(path).map_err(|cause| (path.to_owned(), cause))?;
        for top in path.ancestors() {
            let entry = top.join(".git");
            let git_dir = match fs::metadata(&entry) {
                Ok(meta) if meta.is_dir() => entry,
                Ok(_) => {
                    let text = files::read_text(&entry).map_err(|cause| (entry.clone(), cause))?;
                    let Some(named) = text.strip_prefix("gitdir:") else { continue };
                    top.join(named.trim())
                }
                Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(cause) => return Err((entry, cause)),
            };
            // Inside of the Git directory there is no worktree, as Git and the daemon see it too.
            if git_dir.join("HEAD").is_file() && !path.starts_with(&git_dir) {
                return Ok(Some(Self { top: top.to_path_buf(), git_dir }));
            }
        }
        Ok(None)
    }

    /// The branch that it stands on; none when HEAD is detached, or cannot be read this way.
    pub(crate) fn branch(&self) -> Option<String> {
        let head = files::read_text(&self.git_dir.join("HEAD")).ok()?;
        let branch = head.strip_prefix("ref: refs/heads/")?.trim_end();
        // Where references are in tables HEAD is a stand-in.
        (branch != ".invalid").then(|| branch.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktree_is_found_from_below_and_knows_its_branch() {
        let root = tempfile::tempdir().expect("a directory");
        let main = root.path().join("app");
        fs::create_dir_all(main.join(".git/worktrees/linked")).expect("made");
        fs::create_dir_all(main.join("src/deep")).expect("made");
        fs::write(main.join(".git/HEAD"), "ref: refs/heads/feature/x\n").expect("written");
        let found = Worktree::containing(&main.join("src/deep")).expect("found");
        assert_eq!(found.top, fs::canonicalize(&main).expect("real"));
        assert_eq!(found.branch().as_deref(), Some("feature/x"));

        assert_eq!(Worktree::containing(&main.join(".git/worktrees")), None);

        let linked = root.path().join("linked");
        fs::create_dir(&linked).expect("made");
        fs::write(linked.join(".git"), format!("gitdir: {}\n", main.join(".git/worktrees/linked").display()))
            .expect("w");
        fs::write(main.join(".git/worktrees/linked/HEAD"), "4b825dc642cb6eb9a060e54bf8d69288fbee4904\n").expect("w");
        let found = Worktree::containing(&linked).expect("found");
        assert_eq!(found.top, fs::canonicalize(&linked).expect("real"));
        assert_eq!(found.branch(), None, "a detached HEAD is on no branch");
        assert_eq!(Worktree::containing(root.path()), None);

        let trap = root.path().join("trap");
        fs::create_dir(&trap).expect("made");
        nix::unistd::mkfifo(&trap.join(".git"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        let (path, _) = Worktree::find(&trap).expect_err("a FIFO is not waited for");
        assert!(path.ends_with("trap/.git"), "{}", path.display());
    }
}
