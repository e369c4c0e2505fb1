//! `agent.*`: reserve a thread, keep it, give it back, look at who holds what.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Attribution, NativeKey, PathText, ProbeSource, Reason, RequestId, Reservation, ReservationToken, Revision,
    SessionId, SessionStatus, Shown, Task, Usage, Verification,
};

/// Asks for a linked worktree of the thread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorktreeRequest {
    /// Where; default `<main worktree>.worktrees/<thread>`. Elsewhere it must lie below a configured `worktree_roots` entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathText>,
}

/// The process that a probe found to be the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeProcess {
    /// Its pid, in the caller's pid namespace.
    pub pid: i32,
    /// Its name.
    pub name: Attribution,
}

/// Where the caller learned who the agent is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Where from.
    pub source: ProbeSource,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// The process, where one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProbeProcess>,
}

/// Parameters of `agent.reserve`.
///
/// ```
/// # use proto_schema::ReserveParams;
/// let params: ReserveParams = serde_json::from_str(r#"{"repo": "/home/me/work", "thread": "feature/login"}"#).unwrap();
/// assert_eq!(params.ttl_ms, None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveParams {
    /// An absolute path inside a worktree, or a Git directory.
    pub repo: PathText,
    /// The thread's name. Refused names are answered with `thread_name_invalid`, so this is free text here.
    pub thread: Arc<str>,
    /// The state to reserve at: any Git revision. Default: HEAD of the worktree that `repo` lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Revision>,
    /// Reserve at the thread's tip if the thread exists, else at HEAD. Not together with `anchor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_tip: Option<bool>,
    /// The thread that this one is meant for. Default: the branch checked out in that worktree, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_thread: Option<Arc<str>>,
    /// Make or find a linked worktree of the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<WorktreeRequest>,
    /// What the session is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// The worktree the agent works in: a registered worktree of the repository. Default: the one that `repo` lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathText>,
    /// How long the session lives after a heartbeat, in milliseconds: 1,000 to 86,400,000. Default 300,000; with another
    /// hold, heartbeats count only if this is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Hold the session for this process, in the caller's pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_for_pid: Option<i32>,
    /// Hold the session for this connection, not over plain HTTP. When it is lost, or the daemon was started again, there are
    /// 10 s to call `agent.resume` on another one; then the session ends as `connection_lost`. The same request sent again
    /// on another connection has that one hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_connection: Option<bool>,
    /// Wait in the thread's queue for this long, in milliseconds, if it is held or others wait for it: first come, first
    /// served. The wait ends with the grant, `wait_timeout`, or the connection. Without `anchor` the thread is taken over
    /// at its tip, wherever its holder has brought it; with one that the thread has left by then, the wait ends with
    /// `anchor_drift`. 0 does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Makes repeating the call safe. Needs `reservation_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The caller's own secret, instead of one drawn by the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_token: Option<ReservationToken>,
    /// Who makes the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Attribution>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Attribution>,
    /// The harness that runs the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harness: Option<Attribution>,
    /// How hard the model thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<Attribution>,
    /// The harness's policy, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Attribution>,
    /// Where the caller learned these facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The session that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_session_id: Option<SessionId>,
    /// The instance of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_instance_id: Option<NativeKey>,
    /// The harness's own id of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_actor_key: Option<NativeKey>,
    /// The harness's own id of the agent's parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_parent_actor_key: Option<NativeKey>,
    /// The harness's own id of its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_instance_key: Option<NativeKey>,
}

impl ReserveParams {
    /// The least that a reserve needs.
    #[must_use]
    pub fn new(repo: PathText, thread: &str) -> Self {
        Self {
            repo,
            thread: thread.into(),
            anchor: None,
            at_tip: None,
            target_thread: None,
            worktree: None,
            task: None,
            path: None,
            ttl_ms: None,
            hold_for_pid: None,
            hold_connection: None,
            wait_ms: None,
            request_id: None,
            reservation_token: None,
            provider: None,
            model: None,
            harness: None,
            thinking_level: None,
            policy: None,
            probe: None,
            parent_session_id: None,
            client_instance_id: None,
            native_actor_key: None,
            native_parent_actor_key: None,
            native_instance_key: None,
        }
    }
}

/// Result of `agent.reserve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReserveResult {
    /// The reservation, with its token.
    pub reservation: Reservation,
    /// Whether this reserve made the branch.
    pub thread_created: bool,
    /// Whether an earlier call with this request_id did the work.
    pub replayed: bool,
}

/// Parameters of `agent.heartbeat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatParams {
    /// The session.
    pub session_id: Shown<SessionId>,
    /// Its secret.
    pub reservation_token: Shown<ReservationToken>,
    /// Whether the agent has made progress since it last said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<bool>,
    /// What it has used so far: totals. What is left out stays as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Move the process hold to this process, in the caller's pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_for_pid: Option<i32>,
}

/// Parameters of `agent.resume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeParams {
    /// The session.
    pub session_id: Shown<SessionId>,
    /// Its secret.
    pub reservation_token: Shown<ReservationToken>,
    /// The secret is a new one that the caller has drawn, for the session's own is lost to it: it is taken as a further secret
    /// of the session if the caller is, or descends from, the process that holds it. One further secret is kept, the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_process: Option<bool>,
}

/// How an agent gives its session back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStatus {
    /// Its work is done.
    #[default]
    Complete,
    /// Its work is given up.
    Abandoned,
}

/// Parameters of `agent.release`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseParams {
    /// The session.
    pub session_id: Shown<SessionId>,
    /// Its secret.
    pub reservation_token: Shown<ReservationToken>,
    /// How it ends. Default: complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ReleaseStatus>,
}

/// Parameters of `agent.evict`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvictParams {
    /// The session to end.
    pub session_id: Shown<SessionId>,
    /// Why; recorded in the operation log. Not blank.
    pub reason: Reason,
}

/// Result of the calls that answer with the session's reservation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationResult {
    /// The reservation as it is now.
    pub reservation: Reservation,
}

/// Parameters of `agent.show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowParams {
    /// The session.
    pub session_id: Shown<SessionId>,
}

/// Result of `agent.show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chain {
    /// The session.
    pub reservation: Reservation,
    /// Its ancestors, root first, as far as they are still known.
    pub chain: Vec<Reservation>,
}

/// Parameters of `agent.validate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateParams {
    /// The session.
    pub session_id: Shown<SessionId>,
    /// Its secret.
    pub reservation_token: Shown<ReservationToken>,
    /// The thread that is about to be written; another than the session's is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Arc<str>>,
}

/// Result of `agent.validate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ValidateResult {
    /// Whether the session still has the right to write.
    pub valid: bool,
    /// The reservation; null when the session is unknown or the token is not its own.
    pub reservation: Option<Reservation>,
    /// The kind of error that a writing call would get; null when valid.
    pub reason: Option<crate::Kind>,
}

/// Parameters of `agent.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Only this repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<PathText>,
    /// Only this thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Arc<str>>,
    /// End dead sessions first, and list only the active ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive_only: Option<bool>,
    /// Only sessions of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SessionStatus>,
    /// Add the repository's health as `verification`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// The most to answer: 1 to 1,000, default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Arc<str>>,
}

/// Result of `agent.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListResult {
    /// The sessions, newest first.
    pub reservations: Vec<Reservation>,
    /// As asked.
    pub alive_only: bool,
    /// As asked.
    pub thread: Option<Arc<str>>,
    /// The repository's health where it was asked for, else null.
    pub verification: Option<Verification>,
    /// The revision of the registry that this shows.
    pub revision: u64,
    /// Ask with this as `cursor` for the next page; null at the end.
    pub next_cursor: Option<Arc<str>>,
}
