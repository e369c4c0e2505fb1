//! What an agent does with its session: keep it alive, give it back, ask whether it still has it; and what an operator does.

use std::sync::Arc;

use proto_schema::{EndReason, Reason, SessionId, SessionStatus, Usage};
use tokio::sync::oneshot;

use super::failure::Failure;
use super::message::Message;
use super::snapshot::{Snapshot, View};
use super::{Coordinator, blocking, worktrees};
use crate::registry::{
    Actor, Beat, Command, HoldRecord, Refusal, RequestRecord, SessionRecord, TokenHash, active, authorized, find,
    replay,
};

/// A heartbeat as the server took it from the wire.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    /// Whether there was progress.
    pub progress: bool,
    /// What has been used so far.
    pub usage: Option<Usage>,
    /// The process that holds the session from now on.
    pub hold_for_pid: Option<i32>,
    /// The caller's own pid, by the socket's peer credentials.
    pub peer: Option<i32>,
}

impl Coordinator {
    /// Keeps a session alive. Touches neither the writer nor the disk, unless the hold moves to another process.
    ///
    /// # Errors
    /// `Refused`: not found, token, inactive. `Holder`: the process cannot hold it.
    pub async fn heartbeat(&self, id: SessionId, token: TokenHash, heartbeat: Heartbeat) -> Result<View, Failure> {
        if let Some(pid) = heartbeat.hold_for_pid {
            self.move_hold(id, token, heartbeat.peer, pid).await?;
        }
        self.keep(id, token, |committed, session| self.beat(committed, session, heartbeat)).await
    }

    /// Does something with the lease of an active session: `touch` answers false where that is closed.
    pub(super) async fn keep(
        &self,
        id: SessionId,
        token: TokenHash,
        touch: impl Fn(&Snapshot, &Arc<SessionRecord>) -> Result<bool, Failure>,
    ) -> Result<View, Failure> {
        let committed = self.shared.committed.load();
        let session = active(authorized(&committed.registry, id, token)?)?;
        if touch(&committed, session)? {
            return Ok(committed.view(session));
        }
        // The session is being ended: wait for what becomes of it.
        drop(committed);
        self.barrier().await?;
        let committed = self.snapshot();
        let session = active(authorized(&committed.registry, id, token)?)?;
        if touch(&committed, session)? {
            return Ok(committed.view(session));
        }
        Err(Failure::Broken("the lease of an active session is closed"))
    }

    /// Renews the lease of an active session; false when it is closed.
    pub(super) fn beat(
        &self,
        committed: &Snapshot,
        session: &Arc<SessionRecord>,
        heartbeat: Heartbeat,
    ) -> Result<bool, Failure> {
        active(session)?;
        let Some(lease) = committed.leases.get(&session.fencing_token) else { return Ok(false) };
        let beat = Beat {
            now: self.shared.lease_now(),
            at: self.shared.clock.wall(),
            progress: heartbeat.progress,
            usage: heartbeat.usage,
        };
        let renewed = lease.lock().renew(beat);
        if renewed == Ok(true) {
            self.shared.unsaved.lock().push(session.fencing_token);
        }
        Ok(renewed.is_ok())
    }

    /// Counts a call that writes as progress. Whether the session is being ended meanwhile, the write itself finds out.
    pub(super) fn progressed(&self, committed: &Snapshot, session: &Arc<SessionRecord>) {
        let progress = Heartbeat { progress: true, usage: None, hold_for_pid: None, peer: None };
        drop(self.beat(committed, session, progress));
    }

    async fn move_hold(&self, id: SessionId, token: TokenHash, peer: Option<i32>, pid: i32) -> Result<(), Failure> {
        let committed = self.snapshot();
        let session = Arc::clone(active(authorized(&committed.registry, id, token)?)?);
        let liveness = Arc::clone(&self.shared.liveness);
        let process = blocking("looking at the process", move || {
            liveness.identify(peer, pid).map_err(|why| Failure::unidentified(pid, why))
        })
        .await?;
        let hold = HoldRecord { process: Some(process), ..session.hold.clone() };
        self.shared.done(Command::Hold { session: id, token_hash: token, hold }).await.map(drop)
    }

    /// Waits until everything asked before is committed.
    pub(super) async fn barrier(&self) -> Result<(), Failure> {
        let (done, passed) = oneshot::channel();
        self.shared.post(Message::Barrier(done))?;
        passed.await.map_err(|_| Failure::ShuttingDown)
    }

    /// Comes back with true once the writer has taken a question from its queue and got to the end of the batch: it goes on.
    /// Where it does not, neither does this.
    pub async fn progress(&self) -> bool {
        let (done, passed) = oneshot::channel();
        self.shared.inbox.send(Message::Barrier(done)).is_ok() && passed.await.is_ok()
    }

    /// Gives a session back. Again with the same status: a success that changes nothing.
    ///
    /// # Errors
    /// `Refused`: not found, token, inactive. `Store`.
    pub async fn release(&self, id: SessionId, token: TokenHash, status: SessionStatus) -> Result<View, Failure> {
        self.end(Command::Release { session: id, token_hash: token, status }).await
    }

    /// Ends another's session, as the operator.
    ///
    /// # Errors
    /// `Refused`: not found, inactive. `Store`.
    pub async fn evict(&self, id: SessionId, by: Actor, note: Reason) -> Result<View, Failure> {
        self.end(Command::Evict { session: id, by, note }).await
    }

    /// Ends a session by a command that a call asked for. On return its worktree is unlocked, also where the session had ended
    /// before.
    async fn end(&self, command: Command) -> Result<View, Failure> {
        let ended = self.shared.done(command).await.map(|done| done.session);
        worktrees::unlocked(&self.shared, &ended).await;
        Ok(self.shared.committed.load().view(&ended?))
    }

    /// Ends a session whose caller was lost before it had read its grant, as far as can be known: whoever has used its token
    /// since has read it.
    pub async fn connection_lost(&self, id: SessionId) {
        let committed = self.snapshot();
        let lease = committed.registry.session(id).and_then(|session| committed.leases.get(&session.fencing_token));
        if lease.is_some_and(|lease| lease.lock().was_used()) {
            return;
        }
        drop(committed);
        let command = Command::End { session: id, reason: EndReason::ConnectionLost };
        if let Err(error) = self.shared.finish(command).await {
            tracing::warn!(session = %id, ?error, "a session nobody has the token of could not be ended");
        }
    }

    /// Whether a request is one that is not known, or repeats exactly what was asked and still stands.
    ///
    /// # Errors
    /// `IdempotencyConflict`, `Inactive`.
    pub fn replay(&self, request: &RequestRecord, token: TokenHash) -> Result<(), Refusal> {
        replay(&self.shared.committed.load().registry, request, token).map(drop)
    }

    /// Says whether a session still has the right to write `thread`. Changes and renews nothing.
    ///
    /// # Errors
    /// The refusal that a writing call would get.
    pub fn validate(&self, id: SessionId, token: TokenHash) -> Result<View, Refusal> {
        let committed = self.shared.committed.load();
        let session = authorized(&committed.registry, id, token)?;
        Ok(committed.view(session))
    }

    /// One session, and its ancestors as far as they are known, root first.
    ///
    /// # Errors
    /// `Refused`: not found.
    pub fn show(&self, id: SessionId) -> Result<(View, Vec<View>), Failure> {
        /// A chain longer than this is a mistake, or a ring.
        const LONGEST: usize = 64;
        let committed = self.snapshot();
        let session = find(&committed.registry, id)?;
        let mut chain: Vec<View> = Vec::new();
        let mut next = session.agent.parent_session_id;
        while let Some(parent) = next.and_then(|id| committed.registry.session(id)) {
            if chain.len() == LONGEST || parent.id == id || chain.iter().any(|view| view.session.id == parent.id) {
                break;
            }
            chain.push(committed.view(parent));
            next = parent.agent.parent_session_id;
        }
        chain.reverse();
        Ok((committed.view(session), chain))
    }
}
