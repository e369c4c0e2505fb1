//! What a refusal says that is about a worktree.

use std::io;
use std::path::Path;

use proto_schema::{Kind, NoDetails, ObjectId, PathDetails, RepositoryDetails, ThreadCheckedOutDetails};

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
        repo::Error::ReadOnly { path, folder, cause } => read_only(path, folder, cause, about, thread),
        repo::Error::LacksObjects { path, new_branch_at } => lacks_objects(path, *new_branch_at, about, thread),
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
        | repo::Error::LinkedThread { .. }
        | repo::Error::NewName { .. }
        | repo::Error::Conflict { .. }
        | repo::Error::Owned { .. }
        | repo::Error::OwnerHidden { .. }
        | repo::Error::Replaced { .. }
        | repo::Error::MayBeCopy { .. }
        | repo::Error::Capture(_)
        | repo::Error::Unavailable { .. } => super::internal(error),
    }
}

/// The folder in which the worktree would be made is another user's, or read-only.
fn read_only(path: &Path, folder: &Path, cause: &io::Error, about: &About, thread: &str) -> WireError {
    let folder = repo::shown(folder);
    // What is made beside the repository; where the caller named a path, its parent.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(path);
    let parent = repo::shown(parent);
    let error = format!("the worktree cannot be made: {folder}: {cause}");
    let hint = "make the folder for worktrees writable for you, or list one that is in `worktree_roots` in heddled.toml, \
                run `heddlectl daemon reload`, and name a path below it with --worktree";
    let details = PathDetails { path: repo::shown(path).to_string(), roots: Vec::new() };
    let make = format!("sudo install -d -o \"$(id -un)\" -- {}", shell_words::quote(&parent));
    WireError::new(Kind::PathNotAllowed, error, hint, &details)
        .because(format!("heddled has no right to write in {folder}"), "no worktree would be there", UNTOUCHED)
        .with_commands(vec![make, about.command(&["reserve", "--thread", thread, "--worktree"])])
}

/// A partial clone lacks files of the commit. Git fetches them when it makes a worktree itself.
fn lacks_objects(path: &Path, new_branch_at: Option<ObjectId>, about: &About, thread: &str) -> WireError {
    let path = repo::shown(path);
    let add = match new_branch_at {
        Some(at) => about.git(&["worktree", "add", "-b", thread, "--", &path, &at.to_string()]),
        None => about.git(&["worktree", "add", "--", &path, thread]),
    };
    let error = "the repository is a partial clone that lacks files of this commit";
    let details =
        RepositoryDetails { operation: "make the worktree".to_owned(), cause: error.to_owned(), registry: None };
    let hint = "heddled fetches nothing: have Git make the worktree, which fetches what is missing, then reserve it";
    WireError::new(Kind::RepositoryUnavailable, error, hint, &details)
        .because("files of the commit are only on the remote", "the worktree would lack them", UNTOUCHED)
        .with_commands(vec![add, about.command(&["reserve", "--thread", thread, "--at-tip", "--worktree"])])
}
