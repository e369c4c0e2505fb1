//! A reservation as everybody may see it: never with its token, except in the answer of `agent.reserve`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Attribution, FencingToken, NativeKey, ObjectId, ReservationToken, SessionId, Task, ThreadName, Timestamp};

/// How far a session is. Nothing ever returns to `active`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It holds its thread.
    Active,
    /// It was released as done.
    Complete,
    /// It ended in any other way.
    Abandoned,
    /// It was complete, and its work has reached the target thread.
    Merged,
}

impl SessionStatus {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Complete => "complete",
            Self::Abandoned => "abandoned",
            Self::Merged => "merged",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its agent gave it back.
    Released,
    /// The process that held it is gone.
    ProcessExited,
    /// The machine was restarted, and with it the process that held it.
    BootChanged,
    /// No heartbeat came within its time to live.
    HeartbeatExpired,
    /// The connection that held it, or that had not yet read its grant, was lost.
    ConnectionLost,
    /// An operator ended it.
    Evicted,
    /// Its branch could not be made after it was recorded.
    ReserveFailed,
    /// Its work reached the target thread.
    Merged,
    /// A process that cannot be looked at held it, and its token renewed nothing in time.
    HolderUnknown,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Released,
        Self::ProcessExited,
        Self::BootChanged,
        Self::HeartbeatExpired,
        Self::ConnectionLost,
        Self::Evicted,
        Self::ReserveFailed,
        Self::Merged,
        Self::HolderUnknown,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::ProcessExited => "process_exited",
            Self::BootChanged => "boot_changed",
            Self::HeartbeatExpired => "heartbeat_expired",
            Self::ConnectionLost => "connection_lost",
            Self::Evicted => "evicted",
            Self::ReserveFailed => "reserve_failed",
            Self::Merged => "merged",
            Self::HolderUnknown => "holder_unknown",
        }
    }
}

/// Whether the session's holder lives, as far as the daemon can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Alive {
    /// It is active and every hold it has stands.
    Alive,
    /// It has ended.
    Dead,
    /// It is active, and its process cannot be looked at from here, or the connection that holds it is lost and it may still
    /// be resumed; that counts as alive.
    Unknown,
}

/// Where the daemon or the client learned who the agent is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeSource {
    /// The call said so.
    ExplicitPayload,
    /// A hook of the harness said so.
    HookPayload,
    /// The caller's environment or command line.
    ArgvEnv,
    /// The caller's ancestors.
    ProcessTree,
    /// Nothing told; the agent is unknown, not guessed.
    None,
}

/// A hold by heartbeat: the session ends when none arrives in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatHold {
    /// How long the session lives after a heartbeat, in milliseconds (1,000 to 86,400,000).
    pub ttl_ms: u64,
    /// When it will end without another heartbeat. Decided in monotonic time; this is its projection to the wall clock.
    pub expires_at: Timestamp,
}

/// A hold by a process: the session ends when the process does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProcessHold {
    /// The process, in the daemon's pid namespace.
    pub pid: i32,
    /// The boot in which the process was seen.
    pub boot_id: Arc<str>,
}

/// What keeps a session alive. It is dead as soon as one of the holds it has says so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Heartbeats, with their time to live.
    pub heartbeat: Option<HeartbeatHold>,
    /// A process.
    pub process: Option<ProcessHold>,
    /// The connection that reserved or last resumed it. Lost, it may be resumed for 10 s.
    pub connection: bool,
}

/// What an agent says it has used so far: totals, not increments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageSummary {
    /// Tokens read by the model.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens written by the model.
    #[serde(default)]
    pub output_tokens: u64,
    /// Tokens spent thinking.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// Calls of tools.
    #[serde(default)]
    pub tool_calls: u64,
    /// Cost in millionths of a US dollar.
    #[serde(default)]
    pub cost_micros_usd: u64,
}

/// What an agent says it has used so far, in one call: totals. What it leaves out stays as it was.
///
/// ```
/// use proto_schema::{Usage, UsageSummary};
/// let said: Usage = serde_json::from_str(r#"{"tool_calls": 3}"#).unwrap();
/// let before = UsageSummary { input_tokens: 1200, tool_calls: 2, ..UsageSummary::default() };
/// assert_eq!(said.over(Some(before)), UsageSummary { tool_calls: 3, ..before });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens read by the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens written by the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens spent thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Calls of tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Cost in millionths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros_usd: Option<u64>,
}

impl Usage {
    /// The totals that follow from those before.
    #[must_use]
    pub fn over(self, before: Option<UsageSummary>) -> UsageSummary {
        let before = before.unwrap_or_default();
        UsageSummary {
            input_tokens: self.input_tokens.unwrap_or(before.input_tokens),
            output_tokens: self.output_tokens.unwrap_or(before.output_tokens),
            reasoning_tokens: self.reasoning_tokens.unwrap_or(before.reasoning_tokens),
            tool_calls: self.tool_calls.unwrap_or(before.tool_calls),
            cost_micros_usd: self.cost_micros_usd.unwrap_or(before.cost_micros_usd),
        }
    }
}

/// One agent's reservation of one thread, from reserve to its end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// Names the session.
    pub session_id: SessionId,
    /// The secret that authorizes its calls: only in the answer of agent.reserve, else null.
    pub reservation_token: Option<ReservationToken>,
    /// The public number that rises with every grant.
    pub fencing_token: FencingToken,
    /// The main worktree of the repository, or the Git directory of one that has none; an absolute path.
    pub repo: Arc<str>,
    /// The thread it is about.
    pub thread: ThreadName,
    /// The state at which it reserved the thread.
    pub anchor_state: ObjectId,
    /// The tree of that state.
    pub anchor_root: ObjectId,
    /// How far it is.
    pub status: SessionStatus,
    /// Why it ended, once it has.
    pub end_reason: Option<EndReason>,
    /// What keeps it alive.
    pub hold: Hold,
    /// Whether its holder lives.
    pub alive: Alive,
    /// The worktree it works in, where known.
    pub path: Option<Arc<str>>,
    /// What it is for.
    pub task: Option<Task>,
    /// Who makes the model.
    pub provider: Option<Attribution>,
    /// The model.
    pub model: Option<Attribution>,
    /// The harness that runs the agent.
    pub harness: Option<Attribution>,
    /// How hard the model thinks.
    pub thinking_level: Option<Attribution>,
    /// The harness's policy, in its own words.
    pub policy: Option<Attribution>,
    /// Where these facts came from.
    pub probe_source: ProbeSource,
    /// How sure they are: 1 when explicit, 0 when there are none.
    pub probe_confidence: f64,
    /// The session that started this one.
    pub parent_session_id: Option<SessionId>,
    /// The instance of the client.
    pub client_instance_id: Option<NativeKey>,
    /// The harness's own id of the agent.
    pub native_actor_key: Option<NativeKey>,
    /// The harness's own id of the agent's parent.
    pub native_parent_actor_key: Option<NativeKey>,
    /// What it has used so far.
    pub usage_summary: Option<UsageSummary>,
    /// When it was granted.
    pub started_at: Timestamp,
    /// When it last gave a sign of life.
    pub heartbeat_at: Timestamp,
    /// When it last made progress.
    pub last_progress_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}
