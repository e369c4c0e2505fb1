//! The operation log: what an applied entry means to those who read what happened.

use std::sync::Arc;

use proto_schema::{
    EndReason, FencingToken, ObjectId, OperationKind, Reason, SessionId, SessionStatus, ThreadName, Timestamp,
    WaitOutcome,
};
use serde::{Deserialize, Serialize};

use super::change::{Actor, Change, Entry};
use super::record::{RepoId, ThreadKey};
use super::state::Registry;

/// The values before and after, and what else a kind has to tell. Never a token.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/design/events.md explains each")]
pub struct Detail {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<FencingToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ObjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ObjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SessionStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<proto_schema::Task>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harness: Option<proto_schema::Attribution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<WaitOutcome>,
}

/// One entry of the operation log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its place in the order of all.
    pub revision: u64,
    /// When it happened, by the wall clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: OperationKind,
    /// The repository.
    pub repo: Option<RepoId>,
    /// The thread.
    pub thread: Option<ThreadName>,
    /// The session.
    pub session: Option<SessionId>,
    /// The rest.
    pub detail: Detail,
}

impl Registry {
    /// What an entry means, seen from the state after it; none for mere bookkeeping.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one arm for each change")]
    pub fn operation(&self, entry: &Entry) -> Option<OperationRecord> {
        let session = entry.change.session().and_then(|id| self.session(id));
        let (kind, detail) = match &entry.change {
            Change::Reserved { session, .. } => (
                OperationKind::Reserved,
                Detail {
                    fencing_token: Some(session.fencing_token),
                    after: Some(session.anchor_state),
                    task: session.agent.task.clone(),
                    harness: session.agent.harness.clone(),
                    ..Detail::default()
                },
            ),
            Change::Settled { created: true, .. } => (
                OperationKind::ThreadCreated,
                Detail { after: session.map(|session| session.anchor_state), ..Detail::default() },
            ),
            Change::Ended(ending) => {
                let kind = match ending.reason {
                    EndReason::Released => OperationKind::Released,
                    EndReason::Evicted => OperationKind::Evicted,
                    EndReason::Merged => OperationKind::Merged,
                    EndReason::ProcessExited
                    | EndReason::BootChanged
                    | EndReason::HeartbeatExpired
                    | EndReason::ConnectionLost
                    | EndReason::ReserveFailed
                    | EndReason::HolderUnknown => OperationKind::Abandoned,
                };
                let detail = Detail {
                    status: Some(ending.status),
                    end_reason: Some(ending.reason),
                    reason: ending.note.clone(),
                    by: ending.by.clone(),
                    ..Detail::default()
                };
                (kind, detail)
            }
            Change::Moved { before, after, .. } => (OperationKind::ThreadMoved, moved(*before, Some(*after))),
            Change::Captured { before, after, changed_count, .. } => (
                OperationKind::Captured,
                Detail { changed_count: Some(*changed_count), ..moved(Some(*before), Some(*after)) },
            ),
            Change::Checked { ready, checked, .. } => {
                let kind = if *ready { OperationKind::Ready } else { OperationKind::Blocked };
                (kind, Detail { after: Some(checked.tip), ..Detail::default() })
            }
            Change::Merged { tip, merged_state, .. } => (OperationKind::Merged, moved(Some(*tip), Some(*merged_state))),
            Change::Observed { before, after, .. } => (OperationKind::ThreadMoved, moved(*before, *after)),
            Change::Waiting { position, .. } => {
                (OperationKind::Waiting, Detail { position: Some(*position), ..Detail::default() })
            }
            Change::WaitEnded { outcome, .. } => {
                (OperationKind::WaitEnded, Detail { outcome: Some(*outcome), ..Detail::default() })
            }
            Change::DaemonStarted { version, pid } => {
                let detail = Detail { version: Some(Arc::clone(version)), pid: Some(*pid), ..Detail::default() };
                (OperationKind::DaemonStarted, detail)
            }
            Change::DaemonStopped { by } => {
                (OperationKind::DaemonStopped, Detail { by: by.clone(), ..Detail::default() })
            }
            Change::Settled { created: false, .. }
            | Change::MoveIntended { .. }
            | Change::MoveDropped { .. }
            | Change::Held { .. }
            | Change::Pulses(_)
            | Change::FencingRaised { .. }
            | Change::MarkKeyDrawn(_)
            | Change::Pruned { .. }
            | Change::RepoSeen(_) => return None,
        };
        let (named, waiter) = named(&entry.change);
        let thread = session.map(|session| session.thread_key()).or(named);
        Some(OperationRecord {
            revision: entry.revision,
            at: entry.at,
            kind,
            repo: thread.as_ref().map(|(repo, _)| *repo),
            session: session.map(|session| session.id).or(waiter),
            thread: thread.map(|(_, thread)| thread),
            detail,
        })
    }
}

/// What has no session names its thread itself; and a wait the session that may come of it.
fn named(change: &Change) -> (Option<ThreadKey>, Option<SessionId>) {
    if let Change::Observed { repo, thread, .. } | Change::Merged { repo, thread, .. } = change {
        (Some((*repo, thread.clone())), None)
    } else if let Change::Waiting { repo, thread, waiter, .. } | Change::WaitEnded { repo, thread, waiter, .. } = change
    {
        (Some((*repo, thread.clone())), Some(*waiter))
    } else {
        (None, None)
    }
}

fn moved(before: Option<ObjectId>, after: Option<ObjectId>) -> Detail {
    Detail { before, after, ..Detail::default() }
}
