//! Everything that can happen to the registry. The persisted form is this: the journal holds [`Entry`]s.
//!
//! Each change sets absolute values, so that applying an entry again to a state that already has it, and then all later
//! ones, ends in the same state (R5): a checkpoint cut off half way is healed by the replay.

use std::sync::Arc;

use proto_schema::{
    EndReason, FencingToken, ObjectId, Reason, SessionId, SessionStatus, ThreadName, ThreadState, Timestamp,
    WaitOutcome,
};
use serde::{Deserialize, Serialize};

use super::record::{CaptureIntent, Checked, HoldRecord, Intent, MarkKey, Pulse, RepoId, RepoRecord, SessionRecord};

/// A process of this user that did something as the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Actor {
    /// Its pid, by the socket's peer credentials.
    pub pid: Option<i32>,
    /// Its executable, as far as it could be seen.
    pub executable: Option<Arc<str>>,
}

/// How a session ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// The session.
    pub session: SessionId,
    /// What it became.
    pub status: SessionStatus,
    /// Why.
    pub reason: EndReason,
    /// Who ended it, when an operator did.
    pub by: Option<Actor>,
    /// The operator's words.
    pub note: Option<Reason>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// A session was granted its thread. Carries the repository when it is new or was seen elsewhere than before.
    Reserved {
        /// The new session.
        session: Arc<SessionRecord>,
        /// The repository, where its record is new or changed.
        repo: Option<Arc<RepoRecord>>,
    },
    /// The Git work of a reserve is done; the intent is closed.
    Settled {
        /// The session.
        session: SessionId,
        /// Whether the branch was made.
        created: bool,
        /// The worktree, where one was asked for.
        path: Option<Arc<str>>,
    },
    /// A session ended.
    Ended(Box<Ending>),
    /// A session is about to move its thread's branch.
    MoveIntended {
        /// The session.
        session: SessionId,
        /// The move.
        intent: Intent,
    },
    /// The branch did not move; the intent is closed.
    MoveDropped {
        /// The session.
        session: SessionId,
    },
    /// A thread's branch moved.
    Moved {
        /// The session that moved it.
        session: SessionId,
        /// The state it had.
        before: Option<ObjectId>,
        /// The state it has.
        after: ObjectId,
    },
    /// A worktree's content was committed onto its thread's branch.
    Captured {
        /// The session that captured it.
        session: SessionId,
        /// The state that the branch had.
        before: ObjectId,
        /// The new commit.
        after: ObjectId,
        /// How many paths it changes.
        changed_count: u64,
    },
    /// A session had its thread checked.
    Checked {
        /// The session.
        session: SessionId,
        /// Whether nothing stands in the way of integrating it.
        ready: bool,
        /// Which state was checked, and what the agent said of it.
        checked: Checked,
    },
    /// A thread's work was found in its target. Its complete sessions are merged with it.
    Merged {
        /// The repository.
        repo: RepoId,
        /// The thread.
        thread: ThreadName,
        /// The thread's tip.
        tip: ObjectId,
        /// The target's commit that has its work.
        merged_state: ObjectId,
        /// The last session that was granted the thread: those that were granted later are not meant, whatever they are when
        /// this is applied again.
        through: FencingToken,
    },
    /// A thread's branch was found at another state than the one known: plain Git moved, made or deleted it.
    Observed {
        /// The repository.
        repo: RepoId,
        /// The thread.
        thread: ThreadName,
        /// The state it was known to have; none for no branch.
        before: Option<ObjectId>,
        /// The state it has; none for no branch.
        after: Option<ObjectId>,
        /// What the thread is from then on.
        state: ThreadState,
    },
    /// A caller took a place in the queue of a thread. The queue itself is nothing that lasts: those who wait are on
    /// connections.
    Waiting {
        /// The repository.
        repo: RepoId,
        /// The thread.
        thread: ThreadName,
        /// The id that its session gets if it is granted.
        waiter: SessionId,
        /// Its place; 1 is the next.
        position: u64,
    },
    /// A wait ended.
    WaitEnded {
        /// The repository.
        repo: RepoId,
        /// The thread.
        thread: ThreadName,
        /// Whose, as it began.
        waiter: SessionId,
        /// How.
        outcome: WaitOutcome,
    },
    /// A session is held by other means than before.
    Held {
        /// The session.
        session: SessionId,
        /// By these.
        hold: HoldRecord,
    },
    /// Signs of life, written behind.
    Pulses(Vec<(SessionId, Pulse)>),
    /// A repository was found at another place.
    RepoSeen(Arc<RepoRecord>),
    /// The registry has a key for its marks from then on. One that it has already stays.
    MarkKeyDrawn(MarkKey),
    /// Fencing tokens go on after this one: another registry granted up to it in a repository that this one takes over.
    FencingRaised {
        /// The token.
        to: FencingToken,
    },
    /// What is too old to be kept at that time goes. No other change forgets anything for its age: the wall clock may be wrong,
    /// and this time is one that was confirmed.
    Pruned {
        /// The time.
        as_of: Timestamp,
    },
    /// The daemon started.
    DaemonStarted {
        /// Its version.
        version: Arc<str>,
        /// Its pid.
        pid: u32,
    },
    /// The daemon stopped on request.
    DaemonStopped {
        /// Who asked it to, where that was a call.
        by: Option<Actor>,
    },
}

impl Change {
    /// Whether it is an operation: it gets a revision and an entry in the operation log. The others are bookkeeping that
    /// no event tells of.
    #[must_use]
    pub fn is_operation(&self) -> bool {
        match self {
            Self::Reserved { .. }
            | Self::Ended(_)
            | Self::Moved { .. }
            | Self::Captured { .. }
            | Self::Checked { .. }
            | Self::Merged { .. }
            | Self::Observed { .. }
            | Self::Waiting { .. }
            | Self::WaitEnded { .. }
            | Self::DaemonStarted { .. }
            | Self::DaemonStopped { .. } => true,
            Self::Settled { created, .. } => *created,
            Self::MoveIntended { .. }
            | Self::MoveDropped { .. }
            | Self::Held { .. }
            | Self::Pulses(_)
            | Self::FencingRaised { .. }
            | Self::MarkKeyDrawn(_)
            | Self::Pruned { .. }
            | Self::RepoSeen(_) => false,
        }
    }

    /// The session it is about.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Reserved { session, .. } => Some(session.id),
            Self::Settled { session, .. }
            | Self::MoveIntended { session, .. }
            | Self::MoveDropped { session }
            | Self::Moved { session, .. }
            | Self::Captured { session, .. }
            | Self::Checked { session, .. }
            | Self::Held { session, .. } => Some(*session),
            Self::Ended(ending) => Some(ending.session),
            Self::Observed { .. }
            | Self::Merged { .. }
            | Self::Waiting { .. }
            | Self::WaitEnded { .. }
            | Self::Pulses(_)
            | Self::RepoSeen(_)
            | Self::FencingRaised { .. }
            | Self::MarkKeyDrawn(_)
            | Self::Pruned { .. }
            | Self::DaemonStarted { .. }
            | Self::DaemonStopped { .. } => None,
        }
    }
}

impl CaptureIntent {
    /// What it becomes once the branch was moved.
    #[must_use]
    pub fn change(&self, session: SessionId) -> Change {
        let Self { parent: before, new: after, changed_count, .. } = *self;
        Change::Captured { session, before, after, changed_count }
    }
}

/// A change with its place in the order of all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The registry's revision after it: one more than before for an operation, else the same.
    pub revision: u64,
    /// When it was decided, by the wall clock.
    pub at: Timestamp,
    /// What happened.
    pub change: Change,
}
