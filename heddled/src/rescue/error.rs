//! Why a backup, a verification or a restore was not done, and which command helps.

use std::io;
use std::path::PathBuf;

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
            Self::Running { .. } | Self::Exists { .. } | Self::OtherRegistry { .. } => exit::REFUSED,
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
