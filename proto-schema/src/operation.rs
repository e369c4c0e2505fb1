//! The operation log on the wire: one entry for every change of the registry.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{SessionId, ThreadName, Timestamp};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A session was granted a thread.
    Reserved,
    /// A session was given back by its agent.
    Released,
    /// A session ended without being given back: expired, its holder died, its reserve failed, its connection was lost.
    Abandoned,
    /// An operator ended a session.
    Evicted,
    /// A branch was made for a thread.
    ThreadCreated,
    /// A thread's branch moved.
    ThreadMoved,
    /// A worktree's content was committed onto a thread.
    Captured,
    /// A thread was found ready.
    Ready,
    /// A thread was found blocked.
    Blocked,
    /// A thread's work reached its target.
    Merged,
    /// A caller took a place in the queue of a thread: `detail.position`, where 1 is the next. `session_id` is the id that
    /// its session gets if it is granted.
    Waiting,
    /// A caller's wait ended, and how: `detail.outcome`, a [`WaitOutcome`]. `daemon_stopped` and `daemon_started` end every
    /// wait, too.
    WaitEnded,
    /// The daemon started.
    DaemonStarted,
    /// The daemon stopped on request.
    DaemonStopped,
}

impl OperationKind {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Released => "released",
            Self::Abandoned => "abandoned",
            Self::Evicted => "evicted",
            Self::ThreadCreated => "thread_created",
            Self::ThreadMoved => "thread_moved",
            Self::Captured => "captured",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Merged => "merged",
            Self::Waiting => "waiting",
            Self::WaitEnded => "wait_ended",
            Self::DaemonStarted => "daemon_started",
            Self::DaemonStopped => "daemon_stopped",
        }
    }
}

/// How a wait for a thread ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitOutcome {
    /// The caller was given the thread; the next operation is its `reserved`.
    Granted,
    /// Its time was up.
    TimedOut,
    /// It went away: its connection was lost.
    Left,
    /// At its turn it could not be given the thread: `anchor_drift`, or what else it was answered.
    Refused,
    /// The daemon is stopping.
    ShuttingDown,
}

/// One change of the registry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Its place in the order of all changes; rises by one from each to the next.
    pub revision: u64,
    /// When it happened, by the wall clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: OperationKind,
    /// The repository, as in a Reservation.
    pub repo: Option<Arc<str>>,
    /// The thread.
    pub thread: Option<ThreadName>,
    /// The session; of a wait the id that its session gets if it is granted.
    pub session_id: Option<SessionId>,
    /// The values before and after, by kind.
    pub detail: Value,
}
