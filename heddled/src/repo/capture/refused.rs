//! Why a capture is refused. Nothing was changed when one of these is said.

use std::path::PathBuf;

/// What a worktree can be in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitOperation {
    /// `git merge`.
    Merge,
    /// `git rebase`, or `git am`.
    Rebase,
    /// `git cherry-pick`.
    CherryPick,
    /// `git revert`.
    Revert,
    /// `git bisect`.
    Bisect,
}

/// Why a capture is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureRefused {
    /// HEAD of the worktree is not attached to the thread.
    #[error("the worktree is on {current:?}")]
    OtherThread {
        /// The branch that it is attached to, without `refs/heads/`; `None` when it is detached.
        current: Option<String>,
    },
    /// The worktree is in the middle of an operation, which is to be completed or given up by who began it.
    #[error("the worktree is in the middle of an operation: {operation:?}")]
    OperationInProgress {
        /// Which one.
        operation: GitOperation,
    },
    /// The index has conflicts: to add the files would mark them as resolved.
    #[error("the index has {} conflicts", paths.len())]
    IndexConflicted {
        /// The files with conflicts, relative to the worktree.
        paths: Vec<PathBuf>,
    },
    /// Another process, or another capture, is writing the worktree's index.
    #[error("the lock file {} exists", lock.display())]
    WorktreeBusy {
        /// The lock file.
        lock: PathBuf,
    },
    /// A file's content is to go through a filter that is not allowed, or that neither user nor system defines.
    #[error("the content filter '{filter}' of {} may not run", path.display())]
    FilterNotAllowed {
        /// The filter driver's name.
        filter: String,
        /// The first file that needs it, relative to the worktree.
        path: PathBuf,
    },
    /// A filter that may run does not make the same of a file twice, so that nobody could tell what it stored.
    #[error("the content filter '{filter}' does not make the same of {} twice", path.display())]
    FilterUnsteady {
        /// The filter driver's name.
        filter: String,
        /// The file, relative to the worktree.
        path: PathBuf,
    },
    /// Nobody said who the author is, and Git cannot guess it.
    #[error("Git knows no name or email address to commit with")]
    IdentityMissing,
    /// Commits are to be signed, and could not be.
    #[error("the commit could not be signed: {reason}")]
    SigningRefused {
        /// What the signing program or Git said.
        reason: String,
    },
    /// The caller set [`CaptureRequest::cancelled`](super::CaptureRequest::cancelled).
    #[error("the capture was cancelled")]
    Cancelled,
}
