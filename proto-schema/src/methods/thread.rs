//! `thread.*`: the lines of work of one repository.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ObjectId, PathText, ReservationToken, SessionId, Shown, Thread, ThreadName, ThreadState};

/// Parameters of `thread.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThreadListParams {
    /// An absolute path inside a worktree, or a Git directory.
    pub repo: PathText,
    /// Only threads in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ThreadState>,
    /// The most to answer: 1 to 1,000, default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Arc<str>>,
}

/// Result of `thread.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadListResult {
    /// The threads that were ever reserved, by name.
    pub threads: Vec<Thread>,
    /// The revision of the registry that this shows.
    pub revision: u64,
    /// Ask with this as `cursor` for the next page; null at the end.
    pub next_cursor: Option<Arc<str>>,
}

/// Parameters of `thread.show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThreadParams {
    /// An absolute path inside a worktree, or a Git directory.
    pub repo: PathText,
    /// The thread.
    pub thread: Arc<str>,
}

/// Result of `thread.show` and `thread.update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadResult {
    /// The thread.
    pub thread: Thread,
}

/// Parameters of `thread.update`: compare-and-swap of the thread's branch by its holder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThreadUpdateParams {
    /// The session that holds the thread.
    pub session_id: Shown<SessionId>,
    /// Its secret.
    pub reservation_token: Shown<ReservationToken>,
    /// The state that the branch must have; null when there must be no such branch.
    #[serde(deserialize_with = "crate::methods::thread::required")]
    pub expected: Option<ObjectId>,
    /// The state to move it to: a commit of the repository.
    pub new: ObjectId,
}

/// Parameters of `thread.clean`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CleanParams {
    /// An absolute path inside a worktree, or a Git directory.
    pub repo: PathText,
    /// Only say what would be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A worktree that was removed, or would be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CleanedWorktree {
    /// The thread that it had checked out.
    pub thread: ThreadName,
    /// Where it was.
    pub worktree: Arc<str>,
}

/// A worktree that stays.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeptWorktree {
    /// The thread that it has checked out.
    pub thread: ThreadName,
    /// Where it is.
    pub worktree: Arc<str>,
    /// Why it stays, in a sentence.
    pub reason: Arc<str>,
}

/// Result of `thread.clean`. Branches stay; only linked worktrees of merged threads that hold no work are removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CleanResult {
    /// What was removed; with `dry_run`, what would be.
    pub removed: Vec<CleanedWorktree>,
    /// What stays, and why.
    pub kept: Vec<KeptWorktree>,
}

/// Reads an optional value that must be said: null is an answer, silence is not.
pub(crate) fn required<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<ObjectId>, D::Error> {
    Option::deserialize(deserializer)
}
