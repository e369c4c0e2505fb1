//! What a refusal says that is about the capture of a worktree. Its `About` names that worktree as the repository.

use proto_schema::{
    ActiveOperation, FilterDetails, IndexConflictedDetails, Kind, NoDetails, OperationDetails, SigningDetails,
    ThreadMismatchDetails, WorktreeBusyDetails,
};

use super::About;
use crate::repo::{CaptureRefused, GitOperation, shown};
use crate::server::error::WireError;

const NOTHING_CAPTURED: &str = "no capture, ref or worktree was changed";

/// The most paths that are named in an answer, and in a command.
const NAMED: (usize, usize) = (1000, 20);

/// Why a worktree cannot be captured as it is.
pub(super) fn capture(refused: &CaptureRefused, about: &About) -> WireError {
    match refused {
        CaptureRefused::OtherThread { current } => other_thread(current.as_deref(), about),
        CaptureRefused::OperationInProgress { operation } => in_progress(*operation, about),
        CaptureRefused::IndexConflicted { paths } => conflicted(paths, about),
        CaptureRefused::WorktreeBusy { lock } => busy(&shown(lock)),
        CaptureRefused::FilterNotAllowed { filter, path } => {
            let path = shown(path).to_string();
            let error = format!("the content filter '{filter}' of {path} may not run");
            let hint = "add it to `allowed_filters` in heddled.toml and run `heddlectl daemon reload`, if you trust the \
                        command that your own Git configuration has for it";
            let commands = vec![about.git(&["check-attr", "filter", "--", &path])];
            WireError::new(Kind::FilterNotAllowed, error, hint, &FilterDetails { filter: filter.clone(), path })
                .because(
                    "the repository's attributes ask for a program that nobody allowed",
                    "the file would be stored without its filter, or a program would run that you did not choose",
                    NOTHING_CAPTURED,
                )
                .with_commands(commands)
        }
        CaptureRefused::FilterUnsteady { filter, path } => {
            let path = shown(path).to_string();
            let error = format!("the content filter '{filter}' does not make the same of {path} twice");
            let hint = "mend the filter, or take it off the file in the attributes";
            let commands = vec![about.git(&["check-attr", "filter", "--", &path])];
            WireError::new(Kind::FilterNotAllowed, error, hint, &FilterDetails { filter: filter.clone(), path })
                .because(
                    "of the same content the filter makes something else each time",
                    "nobody could tell whether what is stored is what the file has",
                    NOTHING_CAPTURED,
                )
                .with_commands(commands)
        }
        CaptureRefused::IdentityMissing => {
            let hint = "tell Git who you are, then call again";
            WireError::new(Kind::GitIdentityMissing, "Git does not know who commits", hint, &NoDetails {})
                .because("no user.name or user.email is configured", "the commit would be nobody's", NOTHING_CAPTURED)
                .with_commands(vec![
                    "git config --global user.name '<name>'".to_owned(),
                    "git config --global user.email '<email>'".to_owned(),
                ])
        }
        CaptureRefused::SigningRefused { reason } => {
            let hint = "the daemon has no terminal to ask for a passphrase: unlock the key first, or commit by hand";
            let commit = about.git(&["commit", "-S", "--allow-empty", "-m", "<message>"]);
            let details = SigningDetails { reason: reason.clone() };
            WireError::new(Kind::SigningRefused, "the commit could not be signed", hint, &details)
                .because("commit.gpgSign is set", "an unsigned commit would be made", NOTHING_CAPTURED)
                .with_commands(vec![commit])
        }
        // The session's end cancels it, and that is what its caller is told.
        CaptureRefused::Cancelled => super::internal("a capture was cancelled while its session was active"),
    }
}

fn other_thread(current: Option<&str>, about: &About) -> WireError {
    let Some(thread) = about.thread.as_deref().and_then(|thread| thread.parse().ok()) else {
        return super::internal("a capture without a thread");
    };
    let on = current.map_or_else(|| "no branch".to_owned(), |current| format!("'{current}'"));
    let error = format!("the session reserved '{thread}', the worktree is on {on}");
    let command = about.git(&["switch", about.thread.as_deref().unwrap_or_default()]);
    let current_thread = current.and_then(|current| current.parse().ok());
    let details = ThreadMismatchDetails { reserved_thread: thread, current_thread };
    WireError::new(Kind::AgentSessionThreadMismatch, error, "switch the worktree to the thread first", &details)
        .because(
            format!("HEAD of the worktree is on {on}"),
            "work would be attributed to a reservation that does not own this checkout",
            NOTHING_CAPTURED,
        )
        .with_commands(vec![command])
}

/// What an operation is called, and the commands that complete it or give it up.
pub(super) fn ways_out(operation: GitOperation, git: impl Fn(&[&str]) -> String) -> (&'static str, Vec<String>) {
    let (operation, word) = active_operation(operation);
    let commands = match operation {
        ActiveOperation::Bisect => vec![git(&["bisect", "reset"])],
        // Without a terminal nobody could close an editor.
        ActiveOperation::Merge | ActiveOperation::Rebase | ActiveOperation::CherryPick | ActiveOperation::Revert => {
            vec![git(&["-c", "core.editor=true", word, "--continue"]), git(&[word, "--abort"])]
        }
    };
    (word, commands)
}

/// An operation under way as the wire has it, and Git's command for it.
pub(in crate::server) fn active_operation(operation: GitOperation) -> (ActiveOperation, &'static str) {
    match operation {
        GitOperation::Merge => (ActiveOperation::Merge, "merge"),
        GitOperation::Rebase => (ActiveOperation::Rebase, "rebase"),
        GitOperation::CherryPick => (ActiveOperation::CherryPick, "cherry-pick"),
        GitOperation::Revert => (ActiveOperation::Revert, "revert"),
        GitOperation::Bisect => (ActiveOperation::Bisect, "bisect"),
    }
}

fn in_progress(operation: GitOperation, about: &About) -> WireError {
    let (word, commands) = ways_out(operation, |words| about.git(words));
    let (operation, _) = active_operation(operation);
    let error = format!("a {word} is under way in the worktree");
    WireError::new(
        Kind::OperationInProgress,
        error,
        "complete it or give it up, then call again",
        &OperationDetails { operation },
    )
    .because(
        format!("the worktree is in the middle of a {word}"),
        "half of it would be committed, without its other parent or author",
        NOTHING_CAPTURED,
    )
    .with_commands(commands)
}

fn conflicted(paths: &[std::path::PathBuf], about: &About) -> WireError {
    let all: Vec<String> = paths.iter().take(NAMED.0).map(|path| shown(path).to_string()).collect();
    let named = all.iter().take(NAMED.1).map(String::as_str);
    let add: Vec<&str> = ["add", "--"].into_iter().chain(named).collect();
    let error = format!("the index has conflicts in {} files", paths.len());
    let hint = "solve them and add the files, then call again";
    let commands = vec![about.git(&["status", "--short"]), about.git(&add)];
    WireError::new(Kind::IndexConflicted, error, hint, &IndexConflictedDetails { paths: all })
        .because(
            "files have conflicts that nobody has solved",
            "they would be committed as if they were solved, conflict markers and all",
            NOTHING_CAPTURED,
        )
        .with_commands(commands)
}

fn busy(lock: &str) -> WireError {
    let error = "another process is writing the index of the worktree";
    let hint = "call again; if no Git process is running there, one that was killed left the lock: remove it";
    let file = shell_words::quote(lock).into_owned();
    WireError::new(Kind::WorktreeBusy, error, hint, &WorktreeBusyDetails { lock: lock.to_owned() })
        .because(format!("{lock} exists"), "what the other process stages would be lost", NOTHING_CAPTURED)
        .with_commands(vec![format!("ls -l -- {file}"), format!("rm -- {file}")])
        .retry_after(1000)
}
