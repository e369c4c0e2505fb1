//! What a refusal says that is about a worktree.

use proto_schema::{Kind, NoDetails, PathDetails, ThreadCheckedOutDetails};

use super::{About, UNTOUCHED};
use crate::repo;
use crate::server::error::WireError;

/// No worktree is there, can be made there, or has the thread to itself.
pub(super) fn worktree(error: &repo::Error, about: &About, thread: &str) -> WireError {
    match error {
        repo::Error::WorktreeNotFound { path } => {
            let error = format!("{} is no worktree of this repository", repo::shown(path));
            WireError::new(Kind::WorktreeNotFound, error, "name one of the repository's own worktrees", &NoDetails {})
                .with_commands(vec![about.git(&["worktree", "list"])])
        }
        repo::Error::PathNotAllowed { path, roots } => {
            let details = PathDetails {
                path: repo::shown(path).to_string(),
                roots: roots.iter().map(|root| repo::shown(root).to_string()).collect(),
            };
            let error = format!("no worktree may be made at {}", details.path);
            let hint = "leave the path out, or add its parent to `worktree_roots` in heddled.toml";
            WireError::new(Kind::PathNotAllowed, error, hint, &details).with_commands(vec![about.command(&[
                "reserve",
                "--thread",
                thread,
                "--worktree",
            ])])
        }
        repo::Error::Occupied { path } => {
            let path = repo::shown(path).to_string();
            let error = format!("something is at {path} that is not the thread's worktree");
            let command = format!("ls -A -- {}", shell_words::quote(&path));
            let hint = "look at what is there; move it away, or name another path";
            WireError::new(Kind::PathNotAllowed, error, hint, &PathDetails { path, roots: Vec::new() })
                .because(
                    "the directory is not empty",
                    "what is there would be mixed with the thread's files",
                    UNTOUCHED,
                )
                .with_commands(vec![command])
        }
        repo::Error::WorktreeGone { path, repo } => {
            let (path, repo) = (repo::shown(path).to_string(), repo::shown(repo).to_string());
            let error = format!("Git has a record of the thread's worktree at {path}, and there is none");
            let words = ["git", "-C", &repo, "worktree", "remove", "--force", "--force", "--", &path];
            let hint = "if its disk is only not mounted, mount it; else have Git forget it, with what was staged there";
            WireError::new(Kind::WorktreeNotFound, error, hint, &NoDetails {})
                .because("to make it anew would replace its record", "what was staged there would be lost", UNTOUCHED)
                .with_commands(vec![shell_words::join(words)])
        }
        repo::Error::CheckedOut { worktree } => {
            let worktree = repo::shown(worktree).to_string();
            let error = format!("the branch is checked out at {worktree}");
            let command = format!("git -C {} switch --detach", shell_words::quote(&worktree));
            let details = ThreadCheckedOutDetails { worktree };
            let hint = "work there, or check something else out there first";
            WireError::new(Kind::ThreadCheckedOut, error, hint, &details)
                .because("a worktree has the branch's files", "they would no longer match their branch", UNTOUCHED)
                .with_commands(vec![command])
        }
        repo::Error::NotFound { .. }
        | repo::Error::AnchorNotFound { .. }
        | repo::Error::NoHead
        | repo::Error::NameConflict { .. }
        | repo::Error::SymbolicThread
        | repo::Error::Conflict { .. }
        | repo::Error::Owned { .. }
        | repo::Error::Capture(_)
        | repo::Error::Unavailable { .. } => super::internal(error),
    }
}
