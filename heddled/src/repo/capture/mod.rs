//! Capturing: committing what a worktree has, as `git add -A` and a commit would, without trusting the worktree.
//!
//! A capture is made in steps, because its caller records an intent between them and has the last word before the ref
//! moves: [`prepare`](super::Repo::prepare_capture) makes the commit and puts the index that goes with it into Git's own
//! `index.lock`; the caller records the [`PreparedCapture`] and moves the ref by compare-and-swap, which is the commit
//! point; [`finish`](super::Repo::finish_capture) renames the lock over the index, or
//! [`undo`](super::Repo::undo_capture) removes it. After a crash the ref says which of the two is due
//! ([`recover`](super::Repo::recover_capture)).

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use proto_schema::{ObjectId, ThreadName};

mod add;
mod adopt;
mod changed;
mod commit;
mod found;
mod head;
mod lock;
mod message;
mod prepare;
mod proof;
mod refused;
mod tree;
mod within;

pub(super) use head::under_way;
pub(super) use prepare::Captures;
pub use refused::{CaptureRefused, GitOperation};

/// What is to be captured, and how.
#[derive(Clone, Copy, Debug)]
pub struct CaptureRequest<'a> {
    /// The repository: [`Located::git_dir`](super::Located::git_dir).
    pub git_dir: &'a Path,
    /// One of the repository's own worktrees, canonical.
    pub worktree: &'a Path,
    /// The thread that the worktree's HEAD must be attached to.
    pub thread: &'a ThreadName,
    /// The state that the session recorded last. The thread may also be where the worktree's own HEAD reflog ends.
    pub recorded_state: ObjectId,
    /// The message of the commit, without the trailers.
    pub message: &'a str,
    /// The trailers that end the message, in order: names and values, of one line each.
    pub trailers: &'a [(&'a str, String)],
    /// The content filters that may run beside `lfs`, as far as the user's or the system's configuration defines them.
    pub allowed_filters: &'a [String],
    /// Set to true, it ends the capture within a moment, as [`CaptureRefused::Cancelled`].
    pub cancelled: &'a AtomicBool,
}

/// What a capture came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// The worktree has just what the thread's tip has: nothing is to be committed, nothing is held, and the index says
    /// what the worktree has.
    Nothing {
        /// The thread's tip.
        state: ObjectId,
        /// Its tree.
        root: ObjectId,
    },
    /// The commit is made and durable, no ref leads to it yet, and the worktree's `index.lock` is held.
    Prepared {
        /// What finishes or undoes it.
        prepared: PreparedCapture,
        /// The new commit's tree.
        root: ObjectId,
        /// Which paths differ from the parent, the first 100 of them, as the wire shows them.
        changed_paths: Vec<String>,
        /// How many do.
        changed_count: u64,
    },
}

/// A capture between the commit that was made and the index that is in place. An intent has all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedCapture {
    /// The worktree's own Git directory, from the repository's records, where its `index.lock` is.
    pub worktree_git_dir: PathBuf,
    /// Where the thread was: what the compare-and-swap expects.
    pub parent: ObjectId,
    /// The new commit, to which the thread is moved.
    pub new: ObjectId,
}
