//! `agent.ready`: checking a thread and marking it ready for integration.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Freshness, Message, ObjectId, PathText, Reservation, ReservationToken, SessionId, Shown, Thread, ThreadName,
    VerificationSummary,
};

/// Parameters of `agent.ready`. Repeating it checks again; it captures nothing twice.
///
/// ```
/// let params: proto_schema::ReadyParams = serde_json::from_value(serde_json::json!({
///     "session_id": "agent-abcdefghij234567abcd",
///     "reservation_token": "hrt_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
///     "message": "Let users stay logged in",
///     "verification": {"tests_passed": 120, "tests_failed": 0}
/// })).unwrap();
/// assert_eq!(params.verification.unwrap().tests_passed, Some(120));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadyParams {
    /// The session that holds the thread.
    pub session_id: Shown<SessionId>,
    /// Its secret.
    pub reservation_token: Shown<ReservationToken>,
    /// One of the repository's worktrees; default the session's `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<PathText>,
    /// Captures what the worktree has first, with this message. Without it a worktree with changes is a blocker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// How sure the agent is of its work: 0 to 1. Kept with the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: Option<f64>,
    /// What the agent's own checks said. Kept with the thread; the daemon runs none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationSummary>,
}

/// Whether a thread can be integrated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyStatus {
    /// Nothing stands in the way: the thread is `ready`.
    Completed,
    /// Something does, and the thread is `blocked`.
    Blocked,
}

/// What `agent.ready` found in the way, or worth knowing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The worktree has changes that are not captured. A blocker.
    WorktreeDirty,
    /// The worktree's index has conflicts that nobody has solved. A blocker.
    IndexConflicted,
    /// A merge, rebase, cherry-pick, revert or bisect is under way in the worktree. A blocker.
    OperationInProgress,
    /// Merging the thread into its target would conflict. A blocker.
    Conflicts,
    /// The thread and its target have no commit in common. A blocker.
    UnrelatedHistories,
    /// The thread's target has no branch. A blocker.
    TargetMissing,
    /// The thread has no commit that its target lacks. A warning.
    NothingToIntegrate,
    /// The target has commits that the thread lacks. A warning.
    Stale,
    /// No target is known, so nothing was compared. A warning.
    NoTarget,
    /// The agent reports tests that failed. A warning.
    TestsFailed,
    /// The agent is not sure of its work: its confidence is under 0.5. A warning.
    LowConfidence,
}

/// One thing in the way, or worth knowing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What it is; the stable name.
    pub kind: FindingKind,
    /// What is the case, in a sentence.
    pub summary: Arc<str>,
    /// The paths it is about: at most 1,000 of them, C-quoted where they are not UTF-8.
    pub paths: Vec<Arc<str>>,
    /// The command that gets rid of it; null where there is none.
    pub command: Option<Arc<str>>,
}

/// How a thread stands to its target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadyReport {
    /// The thread that it is meant for.
    pub target_thread: Option<ThreadName>,
    /// How many commits it has that its target lacks; of one without a target, those since its base.
    pub ahead: u64,
    /// How many commits its target has that it lacks.
    pub behind: u64,
    /// Whether it has all of its target's commits.
    pub freshness: Freshness,
    /// The paths at which merging it into its target conflicts: the first 1,000.
    pub conflicts: Vec<Arc<str>>,
    /// How many paths conflict in all.
    pub conflict_count: u64,
    /// The paths that it changes: the first 100.
    pub changed_paths: Vec<Arc<str>>,
    /// How many paths it changes in all.
    pub changed_count: u64,
    /// What stands in the way.
    pub blockers: Vec<Finding>,
    /// What does not, and is worth knowing.
    pub warnings: Vec<Finding>,
}

/// Result of `agent.ready`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReadyResult {
    /// The reservation as it is now.
    pub reservation: Reservation,
    /// The thread as it is now.
    pub thread: Thread,
    /// Whether it is ready.
    pub status: ReadyStatus,
    /// Whether this call made a commit of what the worktree had.
    pub captured: bool,
    /// That commit.
    pub captured_state: Option<ObjectId>,
    /// What was found.
    pub report: ReadyReport,
    /// The command to run next, quoted for a shell.
    pub recommended_action: Arc<str>,
}
