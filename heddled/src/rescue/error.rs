//! Why a backup, a verification or a restore was not done, and which command helps.

use std::io;
use std::path::PathBuf;

use proto_schema::SessionId;
use serde_json::json;

use crate::lifecycle::{LockError, exit};
use crate::paths::PathError;
use crate::store;

/// Why it was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The state or the backup cannot be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A directory is not what it must be.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The lock cannot be had.
    #[error(transparent)]
    Lock(LockError),
    /// A daemon is running.
    #[error(
        "a daemon is running with {}{}, and a restore would take its registry away from it",
        state_dir.display(),
        told_pid(*.pid)
    )]
    Running {
        /// The state directory.
        state_dir: PathBuf,
        /// The backup that was to be restored.
        file: PathBuf,
        /// The daemon, as far as it said.
        pid: Option<u32>,
    },
    /// The file is there already.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The state directory has another registry.
    #[error("the backup is of registry {backup}, and {} has registry {present}", state_dir.display())]
    OtherRegistry {
        /// The state directory.
        state_dir: PathBuf,
        /// The backup file.
        file: PathBuf,
        /// The registry in the backup.
        backup: String,
        /// The one that is there.
        present: String,
    },
    /// A change of Git was under way when the daemon ended.
    #[error("a change of Git was under way in {} when its daemon ended, and only its next start brings it to its end",
        state_dir.display())]
    Unsettled {
        /// The state directory.
        state_dir: PathBuf,
        /// The backup that was to be restored.
        file: PathBuf,
    },
    /// Sessions that began after the backup are active.
    #[error("{} in {} began after the backup was made; it would lose their threads: {}", told_count(sessions.len()),
        state_dir.display(), told_ids(sessions))]
    Unknown {
        /// The state directory.
        state_dir: PathBuf,
        /// The backup that was to be restored.
        file: PathBuf,
        /// They.
        sessions: Vec<SessionId>,
    },
    /// The backup would be within what it is a backup of.
    #[error("{} is in the state directory, where a backup would be taken for a part of the state", path.display())]
    Inside {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no room for the copy that is examined.
    #[error("cannot make a directory for copies in {}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn told_pid(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn told_count(count: usize) -> String {
    if count == 1 { "an active session".to_owned() } else { format!("{count} active sessions") }
}

/// Some of them: the rest is in `heddlectl list`.
fn told_ids(sessions: &[SessionId]) -> String {
    let some: Vec<_> = sessions.iter().take(5).map(ToString::to_string).collect();
    let more = if sessions.len() > some.len() { ", ..." } else { "" };
    some.join(", ") + more
}

impl From<LockError> for RescueError {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl RescueError {
    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(_) | Self::Io { .. } | Self::Scratch { .. } => exit::STORE,
            Self::Path(error) => error.exit_code(),
            Self::Lock(error) => error.exit_code(),
            Self::Running { .. }
            | Self::Exists { .. }
            | Self::OtherRegistry { .. }
            | Self::Unsettled { .. }
            | Self::Unknown { .. }
            | Self::Inside { .. } => exit::REFUSED,
        }
    }

    /// What to do, and the commands that do it.
    fn advice(&self) -> (String, Vec<String>) {
        let command = |words: &[&str]| shell_words::join(words);
        match self {
            Self::Running { file, .. } => {
                let restore = command(&["heddlectl", "daemon", "restore", &file.to_string_lossy()]);
                let hint = "stop it first; a `heddlectl run` that is running starts it again within a second, so do both in one go";
                (hint.to_owned(), vec![format!("heddlectl daemon stop && {restore}")])
            }
            Self::Exists { path } => {
                let path = path.to_string_lossy();
                let hint = "give the backup another name, or have the file replaced".to_owned();
                (hint, vec![command(&["heddlectl", "daemon", "backup", "--force", &path])])
            }
            Self::OtherRegistry { file, .. } => {
                let file = file.to_string_lossy();
                let hint =
                    "look whether it is the right backup; with --force the registry that is there is moved aside";
                let (verify, restore) = (
                    command(&["heddlectl", "daemon", "verify", &file]),
                    command(&["heddlectl", "daemon", "restore", "--force", &file]),
                );
                (hint.to_owned(), vec![verify, restore])
            }
            Self::Unsettled { file, .. } => {
                let restore = command(&["heddlectl", "daemon", "restore", &file.to_string_lossy()]);
                let hint = "start the daemon once, which settles it, then restore".to_owned();
                (hint, vec![format!("heddlectl daemon start && heddlectl daemon stop && {restore}")])
            }
            Self::Unknown { file, .. } => {
                let forced = command(&["heddlectl", "daemon", "restore", "--force", &file.to_string_lossy()]);
                let hint = "release or evict them first, or stop their agents and force the restore".to_owned();
                (hint, vec!["heddlectl list --all-repos --alive-only".to_owned(), forced])
            }
            Self::Inside { path } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let elsewhere = command(&["heddlectl", "daemon", "backup", &format!("./{name}")]);
                ("put the backup elsewhere, best on another disk".to_owned(), vec![elsewhere])
            }
            Self::Scratch { .. } => ("set TMPDIR to a directory of yours that has room".to_owned(), Vec::new()),
            Self::Store(store::Error::Restless { .. }) => ("try again in a moment".to_owned(), Vec::new()),
            Self::Store(_) | Self::Path(_) | Self::Lock(_) | Self::Io { .. } => (String::new(), Vec::new()),
        }
    }

    /// The message with what caused it.
    pub(super) fn message(&self) -> String {
        told(self)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let (hint, commands) = self.advice();
        let mut said = vec![format!("error: {}\n", self.message())];
        said.extend(Some(hint).filter(|hint| !hint.is_empty()).map(|hint| format!("hint: {hint}\n")));
        let commands = ["next:", "  or:"].iter().zip(&commands);
        said.extend(commands.map(|(word, command)| format!("{word} {command}\n")));
        said.concat()
    }

    /// For programs: the shape of the wire's errors, with the exit code as its code, as `heddlectl` tells its own.
    pub(super) fn json(&self) -> String {
        let (hint, commands) = self.advice();
        let (code, message) = (self.exit_code(), self.message());
        let kind = match code {
            exit::REFUSED => "refused",
            exit::UNAVAILABLE => "daemon_unreachable",
            exit::PERMISSION => "not_allowed",
            exit::CONFIG => "bad_configuration",
            exit::STORE => "io",
            _ => "unexpected",
        };
        let retryable = matches!(self, Self::Store(store::Error::Restless { .. }));
        let object = json!({"code": code, "message": message, "data": {
            "kind": kind, "error": message, "hint": hint, "unsafe_condition": null, "would_change": null,
            "preserved": null, "primary_command": commands.first(), "recovery_commands": commands,
            "retryable": retryable, "retry_after_ms": null, "details": {"facts": []}, "request": null,
        }});
        format!("{object}\n")
    }
}

/// What is wrong with a state or a backup, and no more: what to do about it depends on who asks.
pub(super) fn problem(error: &store::Error) -> String {
    if let store::Error::Damaged { path, why, .. } = error {
        format!("{}: {}", path.display(), told(&**why))
    } else {
        told(error)
    }
}

/// An error with its causes, each said once.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.extend([": ", &more]);
        }
        cause = error.source();
    }
    text
}
