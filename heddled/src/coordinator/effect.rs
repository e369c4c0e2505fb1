//! What a batch brings about beside the state: nothing of it happens before the batch is durable.

use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::FencingToken;
use tokio::sync::mpsc;

use super::shared::Shared;
use super::waiting::Word;
use crate::registry::{ConnectionId, HolderProcess, Lease, RepoId, SessionRecord};

/// What is to be done once the batch is durable.
pub(super) enum Effect {
    Watch(HolderProcess),
    Unwatch(HolderProcess),
    Deadline(u64, FencingToken),
    /// A session has ended: its record after its end.
    Ended(Arc<SessionRecord>),
    /// A connection holds a session, by its lease.
    Hold(ConnectionId, FencingToken, Arc<Mutex<Lease>>),
    /// A repository is settled.
    Recovered(RepoId),
    /// Somebody who waits is told that it is its turn.
    Call(mpsc::UnboundedSender<Word>),
}

impl Effect {
    /// Has it happen. Waits for nothing.
    pub(super) fn have(self, shared: &Shared) {
        match self {
            Self::Watch(process) => shared.liveness.watch(&process),
            Self::Unwatch(process) => shared.liveness.unwatch(&process),
            Self::Deadline(deadline, session) => shared.look_at(deadline, session),
            Self::Ended(session) => shared.ended(session),
            Self::Hold(connection, session, lease) => drop(shared.connections.hold(connection, session, &lease)),
            Self::Recovered(repo) => shared.recovery.end(repo),
            // Nobody is told who is gone.
            Self::Call(words) => drop(words.send(Word::Turn)),
        }
    }
}
