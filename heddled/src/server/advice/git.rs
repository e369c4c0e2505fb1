//! What an error of Git's edge says.

use std::path::Path;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use proto_schema::{
    AnchorDetails, CasConflictDetails, Kind, NameConflictDetails, NoDetails, ObjectId, RepositoryDetails,
    RepositoryNotFoundDetails, RepositoryProblem, ThreadName,
};

use super::capture::capture;
use super::mark::mark;
use super::worktree::worktree;
use super::{About, UNTOUCHED, name_invalid};
use crate::lifecycle::LockRecord;
use crate::registry::Folding;
use crate::repo::{self, Cause};
use crate::server::error::WireError;

/// There is no repository that may be served.
pub(super) fn not_found(path: &str, problem: RepositoryProblem) -> WireError {
    let quoted = shell_words::quote(path).into_owned();
    let (error, hint, command) = match problem {
        RepositoryProblem::NotARepository => (
            format!("there is no Git repository at {path}"),
            "work inside one, or name one with --repo",
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
            "add it to `repos` in heddled.toml, then run `heddlectl daemon reload`",
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
            let commit = format!("{named}^{{commit}}");
            let command = about.git(&["rev-parse", "--verify", "--end-of-options", &commit]);
            let error = format!("'{named}' is no commit of this repository");
            WireError::new(Kind::AnchorNotFound, error, "name a commit that is there", &details)
                .with_commands(vec![command])
        }
        repo::Error::NoHead => {
            let hint = "make the first commit, or name an anchor";
            WireError::new(Kind::NoHeadState, "the worktree has no commit yet", hint, &NoDetails {})
                .with_commands(vec![about.git(&["commit", "--allow-empty", "-m", "begin"])])
        }
        repo::Error::NameConflict { existing } => name_conflict(existing, about),
        repo::Error::SymbolicThread => {
            let error = format!("'{thread}' is a symbolic ref: reserving it would move another branch");
            name_invalid(error, "reserve the branch it points to".to_owned(), beside(thread), about)
        }
        repo::Error::LinkedThread { folder } => {
            let link = repo::shown(folder);
            let error = format!("the way to the branch '{thread}' leads through the symbolic link {link}");
            let hint = "reserve the branch by the name that it has without the link".to_owned();
            name_invalid(error, hint, beside(&thread.replace('/', "-")), about)
        }
        repo::Error::NewName { problem, suggestion } => {
            let error = format!("no branch '{thread}' exists, and a new one cannot have this name: {problem}");
            let hint = format!("name a branch that exists, or use a plain name, such as `{suggestion}`");
            name_invalid(error, hint, suggestion.clone(), about)
        }
        repo::Error::WorktreeNotFound { .. }
        | repo::Error::PathNotAllowed { .. }
        | repo::Error::ReadOnly { .. }
        | repo::Error::LacksObjects { .. }
        | repo::Error::Occupied { .. }
        | repo::Error::WorktreeGone { .. }
        | repo::Error::CheckedOut { .. } => worktree(error, about, thread),
        repo::Error::OwnerHidden { .. }
        | repo::Error::Replaced { .. }
        | repo::Error::MayBeCopy { .. }
        | repo::Error::Unavailable { cause: Cause::UntrustedMark { .. }, .. } => mark(error, about),
        repo::Error::Conflict { .. } | repo::Error::Owned { .. } | repo::Error::Unavailable { .. } => {
            state(error, about)
        }
        repo::Error::Capture(refused) => capture(refused, about),
    }
}

/// Git cannot hold the thread beside another.
pub(super) fn name_conflict(existing: &ThreadName, about: &About) -> WireError {
    let thread = about.thread.as_deref().unwrap_or("<thread>");
    let is_same = Folding::Case.same(thread, existing.as_str());
    let (error, hint, command) = if is_same {
        let error = format!("the repository's file system takes '{thread}' and '{existing}' for one name");
        (error, "reserve it as it is spelled there, or choose another name", about.reserve_at_tip(existing.as_str()))
    } else {
        let error = format!("Git cannot hold '{thread}' beside the branch '{existing}'");
        let other = beside(&thread.replace('/', "-"));
        let hint = "choose a name that is no part of the other's path";
        (error, hint, about.command(&["reserve", "--thread", &other]))
    };
    WireError::new(Kind::ThreadNameConflict, error, hint, &NameConflictDetails { existing: existing.clone() })
        .with_commands(vec![command])
}

/// A name like this one, that a new branch can have.
fn beside(thread: &str) -> String {
    let name = format!("{thread}-work");
    name.parse::<ThreadName>().map_or_else(|refused| refused.suggestion, |name| name.suggest_new())
}

/// How old a lock file must be for a Git process to have left it: those that live hold one for moments.
pub(in crate::server) const LEFT_BEHIND_MS: u64 = 60_000;

/// Another process has a ref locked, or had.
fn locked(operation: &str, error: &repo::Error, path: &str, age_ms: Option<u64>) -> WireError {
    let (file, age) = (shell_words::quote(path), age_ms.unwrap_or(0));
    let cause = format!("{error}, since {}", rough(age));
    let details = RepositoryDetails { operation: operation.to_owned(), cause: cause.clone(), registry: None };
    let (hint, commands) = if age < LEFT_BEHIND_MS {
        ("another Git process is at work on this branch: call again", vec![format!("ls -l -- {file}")])
    } else {
        ("a Git process that was killed left it: if none is running, remove it", vec![format!("rm -- {file}")])
    };
    WireError::new(Kind::RepositoryUnavailable, cause, hint, &details)
        .because("the branch is locked", "what the other process writes would be lost", "the branch was not moved")
        .with_commands(commands)
        .retry_after(1000)
}

/// A length of time in one number, rounded down.
fn rough(ms: u64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let (unit_ms, unit) = units.into_iter().find(|(unit_ms, _)| ms >= 2 * unit_ms).unwrap_or((1, "ms"));
    format!("{} {unit}", ms / unit_ms)
}

/// The daemon of a state directory, as far as its record says and a process of that number is there: for a hint only.
pub(in crate::server) fn running(state_dir: &Path) -> Option<LockRecord> {
    let record = LockRecord::read(state_dir)?;
    let pid = Pid::from_raw(i32::try_from(record.pid).ok()?);
    kill(pid, None).is_ok().then_some(record)
}

/// What stands in the way of a change that could be named.
fn state(error: &repo::Error, about: &About) -> WireError {
    match error {
        repo::Error::Conflict { expected, actual } => {
            let say =
                |state: &Option<ObjectId>| state.map_or_else(|| "no branch".to_owned(), |state| state.to_string());
            let condition = format!("the branch is at {}, not at {}", say(actual), say(expected));
            let hint = "look at what others put there, then ask again";
            let details = CasConflictDetails { expected: *expected, actual: *actual };
            WireError::new(Kind::CasConflict, "the branch is not where it was expected", hint, &details)
                .because(condition, "what others put there would be undone", UNTOUCHED)
                .with_commands(vec![match (&about.thread, about.session) {
                    (Some(thread), _) => about.show_thread(thread),
                    (None, Some(session)) => format!("heddlectl show --session {session}"),
                    (None, None) => about.command(&["thread", "list"]),
                }])
        }
        repo::Error::Owned { state_dir } => {
            let owner = repo::shown(state_dir).to_string();
            let error = format!("the repository belongs to the registry in {owner}");
            let condition = "another registry has granted threads of this repository";
            let adopt = about.command(&["repo", "adopt", "--reason", "<why>"]);
            // Adopting is refused in these same words while the other daemon runs, so that one is to be stopped first.
            let (hint, commands) = match running(state_dir) {
                Some(daemon) => {
                    let socket = daemon.socket.display().to_string();
                    let stop = shell_words::join(["heddlectl", "--socket", &socket, "daemon", "stop"]);
                    let hint = "its daemon is running: use that one, or stop it and take the repository over";
                    (hint, vec![stop, adopt])
                }
                None => ("use that daemon, or take the repository over once it is stopped", vec![adopt]),
            };
            let details = RepositoryDetails {
                operation: "claim the repository".to_owned(),
                cause: error.clone(),
                registry: Some(owner),
            };
            WireError::new(Kind::RepositoryUnavailable, error, hint, &details)
                .because(condition, "two daemons could grant one thread twice", UNTOUCHED)
                .with_commands(commands)
        }
        repo::Error::Unavailable { operation, cause: Cause::Locked { path, age_ms } } => {
            locked(operation, error, &repo::shown(path), *age_ms)
        }
        repo::Error::Unavailable { operation, cause: Cause::NoAnswer { .. } } => {
            let cause = error.to_string();
            let details =
                RepositoryDetails { operation: (*operation).to_owned(), cause: cause.clone(), registry: None };
            let hint = "its file system may hang: call again once it answers; other repositories are served";
            WireError::new(Kind::RepositoryUnavailable, cause, hint, &details)
                .with_commands(vec!["heddlectl doctor".to_owned()])
                .retry_after(5000)
        }
        repo::Error::Unavailable { operation, .. } => {
            let cause = error.to_string();
            let details =
                RepositoryDetails { operation: (*operation).to_owned(), cause: cause.clone(), registry: None };
            WireError::new(Kind::RepositoryUnavailable, cause, "mend what Git complains of, then call again", &details)
                .with_commands(vec![about.git(&["fsck", "--connectivity-only"])])
        }
        repo::Error::NotFound { .. }
        | repo::Error::AnchorNotFound { .. }
        | repo::Error::NoHead
        | repo::Error::NameConflict { .. }
        | repo::Error::SymbolicThread
        | repo::Error::OwnerHidden { .. }
        | repo::Error::Replaced { .. }
        | repo::Error::MayBeCopy { .. }
        | repo::Error::LinkedThread { .. }
        | repo::Error::NewName { .. }
        | repo::Error::Capture(_)
        | repo::Error::WorktreeNotFound { .. }
        | repo::Error::PathNotAllowed { .. }
        | repo::Error::ReadOnly { .. }
        | repo::Error::LacksObjects { .. }
        | repo::Error::Occupied { .. }
        | repo::Error::WorktreeGone { .. }
        | repo::Error::CheckedOut { .. } => super::internal(error),
    }
}
