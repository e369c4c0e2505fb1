//! `agent.capture`: committing what a worktree has.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Message, ObjectId, PathText, Reservation, ReservationToken, SessionId, Shown};

/// Parameters of `agent.capture`. Repeated after a lost answer it commits nothing twice: what was captured is not there to
/// be captured again, and `created` is false.
///
/// ```
/// let params: proto_schema::CaptureParams = serde_json::from_value(serde_json::json!({
///     "session_id": "agent-abcdefghij234567abcd",
///     "reservation_token": "hrt_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
///     "message": "Let users stay logged in",
///     "confidence": 0.9
/// })).unwrap();
/// assert_eq!(params.confidence, Some(0.9));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureParams {
    /// The session that holds the thread.
    pub session_id: Shown<SessionId>,
    /// Its secret.
    pub reservation_token: Shown<ReservationToken>,
    /// One of the repository's worktrees; default the session's `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<PathText>,
    /// The message of the commit, without `Heddle-` trailers; default `capture of <thread>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// How sure the agent is of its work: 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: Option<f64>,
}

/// What a capture came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureSummary {
    /// Whether there was anything to commit.
    pub created: bool,
    /// The thread's tip: the new commit, or the one that has all of it already.
    pub state: ObjectId,
    /// The state that the new commit follows; null when none was made.
    pub parent: Option<ObjectId>,
    /// The tip's tree.
    pub root: ObjectId,
    /// Which paths the new commit changes: the first 100, C-quoted where they are not UTF-8.
    pub changed_paths: Vec<Arc<str>>,
    /// How many paths it changes in all.
    pub changed_count: u64,
}

/// Result of `agent.capture`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureResult {
    /// The reservation as it is now.
    pub reservation: Reservation,
    /// What was captured.
    pub capture: CaptureSummary,
}
