//! What an error of Git's edge says.

use proto_schema::{
    AnchorDetails, CasConflictDetails, Kind, NameConflictDetails, NameDetails, NoDetails, ObjectId, PathDetails,
    RepositoryDetails, RepositoryNotFoundDetails, RepositoryProblem, ThreadCheckedOutDetails, ThreadName,
};

use super::{About, UNTOUCHED};
use crate::repo;
use crate::server::error::WireError;

/// There is no repository that may be served.
pub(super) fn not_found(path: &str, problem: RepositoryProblem) -> WireError {
    let quoted = shell_words::quote(path).into_owned();
    let (error, hint, command) = match problem {
        RepositoryProblem::NotARepository => (
            format!("there is no Git repository at {path}"),
            "name a path inside one",
            format!("git -C {quoted} rev-parse --git-dir"),
        ),
        RepositoryProblem::NotTrusted => (
            format!("the repository at {path} belongs to another user"),
            "if you trust it, tell Git so",
            format!("git config --global --add safe.directory {quoted}"),
        ),
        RepositoryProblem::UnsupportedFormat => (
            format!("the repository at {path} has a format that is not supported"),
            "repositories with the `files` ref format are served",
            format!("git -C {quoted} config --get-regexp '^extensions\\.'"),
        ),
        RepositoryProblem::NotServed => (
            format!("the configuration does not serve {path}"),
            "add it to `repos` in heddled.toml, then start the daemon again",
            "heddlectl status".to_owned(),
        ),
    };
    let details = RepositoryNotFoundDetails { path: path.to_owned(), reason: problem };
    WireError::new(Kind::RepositoryNotFound, error, hint, &details).with_commands(vec![command])
}

/// What Git says to a name: of a repository, a revision, a branch, a worktree.
pub(super) fn git(error: &repo::Error, about: &About) -> WireError {
    let thread = about.thread.as_deref().unwrap_or("<thread>");
    match error {
        repo::Error::NotFound { path, problem } => not_found(&repo::shown(path), *problem),
        repo::Error::AnchorNotFound { anchor } => {
            let named = about.anchor.clone().unwrap_or_else(|| anchor.to_string());
            let details = AnchorDetails { anchor: named.clone() };
            let command = format!(
                "git rev-parse --verify --end-of-options {}",
                shell_words::quote(&format!("{named}^{{commit}}"))
            );
            let error = format!("'{named}' is no commit of this repository");
            WireError::new(Kind::AnchorNotFound, error, "name a commit that is there", &details)
                .with_commands(vec![command])
        }
        repo::Error::NoHead => {
            let hint = "make the first commit, or name an anchor";
            WireError::new(Kind::NoHeadState, "the worktree has no commit yet", hint, &NoDetails {})
                .with_commands(vec!["git commit --allow-empty -m 'begin'".to_owned()])
        }
        repo::Error::NameConflict { existing } => name_conflict(existing, about),
        repo::Error::SymbolicThread => {
            let suggestion = format!("{thread}-work");
            let error = format!("'{thread}' is a symbolic ref: reserving it would move another branch");
            let command = about.command(&["reserve", "--thread", &suggestion]);
            WireError::new(
                Kind::ThreadNameInvalid,
                error,
                "reserve the branch it points to",
                &NameDetails { suggestion },
            )
            .with_commands(vec![command])
        }
        repo::Error::Conflict { .. }
        | repo::Error::WorktreeNotFound { .. }
        | repo::Error::PathNotAllowed { .. }
        | repo::Error::CheckedOut { .. }
        | repo::Error::Owned { .. }
        | repo::Error::Capture(_)
        | repo::Error::Unavailable { .. } => state(error, about, thread),
    }
}

/// Git cannot hold the thread beside another.
pub(super) fn name_conflict(existing: &ThreadName, about: &About) -> WireError {
    let thread = about.thread.as_deref().unwrap_or("<thread>");
    let error = format!("Git cannot hold '{thread}' beside the branch '{existing}'");
    let hint = "choose a name that is no part of the other's path";
    let other = format!("{}-work", thread.replace('/', "-"));
    WireError::new(Kind::ThreadNameConflict, error, hint, &NameConflictDetails { existing: existing.clone() })
        .with_commands(vec![about.command(&["reserve", "--thread", &other])])
}

/// What stands in the way of a change that could be named.
fn state(error: &repo::Error, about: &About, thread: &str) -> WireError {
    match error {
        repo::Error::Conflict { expected, actual } => {
            let say =
                |state: &Option<ObjectId>| state.map_or_else(|| "no branch".to_owned(), |state| state.to_string());
            let error = format!("the branch is at {}, not at {}", say(actual), say(expected));
            let details = CasConflictDetails { expected: *expected, actual: *actual };
            WireError::new(Kind::CasConflict, error.clone(), "look at what others put there, then ask again", &details)
                .because(error, "what others put there would be undone", UNTOUCHED)
                .with_commands(vec![match (&about.thread, about.session) {
                    (Some(thread), _) => about.show_thread(thread),
                    (None, Some(session)) => format!("heddlectl show --session {session}"),
                    (None, None) => about.command(&["thread", "list"]),
                }])
        }
        repo::Error::WorktreeNotFound { path } => {
            let error = format!("{} is no worktree of this repository", repo::shown(path));
            WireError::new(Kind::WorktreeNotFound, error, "name one of the repository's own worktrees", &NoDetails {})
                .with_commands(vec!["git worktree list".to_owned()])
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
        repo::Error::CheckedOut { worktree } => {
            let worktree = repo::shown(worktree).to_string();
            let error = format!("the branch is checked out at {worktree}");
            let command = format!("git -C {} switch --detach", shell_words::quote(&worktree));
            let details = ThreadCheckedOutDetails { worktree };
            let hint = "work there, or check something else out there first";
            WireError::new(Kind::ThreadCheckedOut, error.clone(), hint, &details)
                .because(error, "files there would no longer match their branch", UNTOUCHED)
                .with_commands(vec![command])
        }
        repo::Error::Owned { state_dir } => {
            let owner = repo::shown(state_dir).to_string();
            let error = format!("the repository belongs to the registry in {owner}");
            let hint = "use that daemon, or take the repository over once it is stopped";
            let details = RepositoryDetails {
                operation: "claim the repository".to_owned(),
                cause: error.clone(),
                registry: Some(owner),
            };
            WireError::new(Kind::RepositoryUnavailable, error.clone(), hint, &details)
                .because(error, "two daemons could grant one thread twice", UNTOUCHED)
                .with_commands(vec![about.command(&["repo", "adopt", "--reason", "<why>"])])
        }
        repo::Error::Unavailable { operation, .. } => {
            let cause = error.to_string();
            let details =
                RepositoryDetails { operation: (*operation).to_owned(), cause: cause.clone(), registry: None };
            WireError::new(Kind::RepositoryUnavailable, cause, "mend what Git complains of, then call again", &details)
                .with_commands(vec!["git fsck --connectivity-only".to_owned()])
        }
        repo::Error::NotFound { .. }
        | repo::Error::AnchorNotFound { .. }
        | repo::Error::NoHead
        | repo::Error::NameConflict { .. }
        | repo::Error::SymbolicThread
        | repo::Error::Capture(_) => super::internal(),
    }
}
