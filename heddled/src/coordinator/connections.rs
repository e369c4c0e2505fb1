//! The connections that are open, and the sessions that each of them holds: liveness like that of a process, but seen by the
//! server, which says when a connection comes and when it goes.
//!
//! A connection that goes ends nothing. Each session that it still holds has its grace (`registry::GRACE_MS`), in which another
//! connection may resume it; whoever resumed it before is the one that counts. What is held is memory: at a start every session
//! that a connection held has its grace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::{FencingToken, SessionId};
use tokio::sync::Notify;

use super::effect::Effect;
use super::failure::Failure;
use super::session::Heartbeat;
use super::shared::Shared;
use super::snapshot::View;
use super::writer::Writer;
use super::{Coordinator, blocking};
use crate::registry::{Command, ConnectionId, GRACE_MS, Lease, Refusal, TokenHash, active, find};

/// The open connections.
#[derive(Default)]
pub(super) struct Connections(Mutex<Open>);

#[derive(Default)]
struct Open {
    last: u64,
    connections: HashMap<ConnectionId, OpenConnection>,
    /// The connection that holds each session, so that the end of a session costs the same however many are held.
    holders: HashMap<FencingToken, ConnectionId>,
}

#[derive(Default)]
struct OpenConnection {
    sessions: HashSet<FencingToken>,
    /// Notified when the last of them is no longer held by this connection.
    released: Arc<Notify>,
}

impl Connections {
    fn open(&self) -> (ConnectionId, Arc<Notify>) {
        let mut open = self.0.lock();
        open.last += 1;
        let id = ConnectionId(open.last);
        let connection = open.connections.entry(id).or_default();
        (id, Arc::clone(&connection.released))
    }

    /// Has a connection hold a session from now on, if it is still there: else the session keeps its grace. False where the
    /// lease is closed.
    pub(super) fn hold(&self, connection: ConnectionId, session: FencingToken, lease: &Mutex<Lease>) -> bool {
        // Locked until it is noted: a connection that goes meanwhile must find it, and so must the end of the session.
        let mut open = self.0.lock();
        if !open.connections.contains_key(&connection) {
            return true;
        }
        if lease.lock().take(connection).is_err() {
            return false;
        }
        open.note(connection, session);
        true
    }

    /// Forgets a session that has ended.
    pub(super) fn ended(&self, session: FencingToken) {
        self.0.lock().forget(session);
    }

    fn holds_any(&self, connection: ConnectionId) -> bool {
        self.0.lock().connections.get(&connection).is_some_and(|open| !open.sessions.is_empty())
    }

    /// Returns how many sessions are remembered: those of a connection, and those of all.
    #[cfg(test)]
    pub(super) fn remembered(&self, connection: ConnectionId) -> (usize, usize) {
        let open = self.0.lock();
        (open.connections.get(&connection).map_or(0, |open| open.sessions.len()), open.holders.len())
    }

    fn close(&self, connection: ConnectionId) -> HashSet<FencingToken> {
        let mut open = self.0.lock();
        let sessions = open.connections.remove(&connection).map(|closed| closed.sessions).unwrap_or_default();
        for session in &sessions {
            open.holders.remove(session);
        }
        sessions
    }
}

impl Open {
    fn note(&mut self, connection: ConnectionId, session: FencingToken) {
        if self.holders.get(&session) == Some(&connection) {
            return;
        }
        self.forget(session);
        if let Some(open) = self.connections.get_mut(&connection) {
            open.sessions.insert(session);
            self.holders.insert(session, connection);
        }
    }

    fn forget(&mut self, session: FencingToken) {
        let Some(connection) = self.holders.remove(&session) else { return };
        let Some(open) = self.connections.get_mut(&connection) else { return };
        if open.sessions.remove(&session) && open.sessions.is_empty() {
            open.released.notify_one();
        }
    }
}

impl Shared {
    /// A connection is lost: the sessions that it holds have their grace from now on.
    fn lost(&self, connection: ConnectionId) {
        let now = self.lease_now();
        let sessions = self.connections.close(connection);
        // After the close: what it held was committed before it was held.
        let committed = self.committed.load();
        for session in sessions {
            let lease = committed.leases.get(&session);
            let until = lease.and_then(|lease| lease.lock().lose(connection, now));
            if let Some(until) = until {
                tracing::debug!(token = session.0, "the connection that holds a session is lost");
                self.look_at(until, session);
            }
        }
    }
}

/// A connection that is open. It is lost when this is dropped.
pub struct Connected {
    shared: Arc<Shared>,
    id: ConnectionId,
    released: Arc<Notify>,
}

impl Connected {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether it holds any session.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.shared.connections.holds_any(self.id)
    }

    /// Waits until the last session that it holds has ended or is held by another connection. May return early: ask
    /// [`Connected::holds_any`] afterwards.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// It is closed because the daemon stops: what it holds is not lost by that. The next start gives it its grace.
    pub fn stop(self) {
        self.shared.connections.close(self.id);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.shared.lost(self.id);
    }
}

impl Coordinator {
    /// A connection has come.
    #[must_use]
    pub fn connected(&self) -> Connected {
        let (id, released) = self.shared.connections.open();
        Connected { shared: Arc::clone(&self.shared), id, released }
    }

    /// Renews a session. One that a connection holds is held by this one from now on: the latest wins.
    ///
    /// # Errors
    /// `Refused`: not found, token, inactive.
    pub async fn resume(&self, id: SessionId, token: TokenHash, by: ConnectionId) -> Result<View, Failure> {
        let beat = Heartbeat { progress: false, usage: None, hold_for_pid: None, peer: None };
        self.keep(id, token, |committed, session| {
            let lease = committed.leases.get(&session.fencing_token).filter(|_| session.hold.connection);
            // First: once it is held, it is not ended for want of a connection.
            let is_held = lease.is_none_or(|lease| self.shared.connections.hold(by, session.fencing_token, lease));
            if is_held { self.beat(committed, session, beat) } else { Ok(false) }
        })
        .await
    }

    /// Adds a further secret to a session, for a caller that is, or descends from, the process that holds it. `since_ms` is when
    /// its connection came, by the monotonic clock. Changes nothing if the secret is one of the session's already.
    ///
    /// # Errors
    /// `Refused`: not found, inactive; token, if there is no such process or the caller does not descend from it. `Store`.
    pub async fn add_token(
        &self,
        id: SessionId,
        token: TokenHash,
        peer: Option<i32>,
        since_ms: u64,
    ) -> Result<(), Failure> {
        let committed = self.snapshot();
        let session = active(find(&committed.registry, id)?)?;
        if session.accepts(token) {
            return Ok(());
        }
        let (Some(process), Some(peer)) = (session.hold.process.clone(), peer) else {
            return Err(Refusal::TokenMismatch.into());
        };
        let connected_ms = self.shared.clock.monotonic_ms().saturating_sub(since_ms);
        let (liveness, holder) = (Arc::clone(&self.shared.liveness), process.clone());
        let descends = blocking("looking at the ancestors of a process", move || {
            Ok(liveness.descends(peer, connected_ms, &holder))
        });
        if !descends.await? {
            return Err(Refusal::TokenMismatch.into());
        }
        tracing::info!(session = %id, peer, holder = process.pid, "a descendant of the holder has brought a further secret");
        self.shared.done(Command::AddToken { session: id, process, token_hash: token }).await.map(drop)
    }

    /// How long ago the connection of a session was lost, and how long it may still be resumed, in milliseconds.
    #[must_use]
    pub fn since_lost(&self, view: &View) -> Option<(u64, u64)> {
        let left = self.until(view.lost_until?);
        Some((GRACE_MS.saturating_sub(left), left))
    }
}

impl Writer {
    /// Has the connection that asked for a session hold it from its grant on.
    pub(super) fn held_by_its_caller(&mut self, command: &Command) {
        let Command::Reserve(reserve) = command else { return };
        let Some(connection) = reserve.connection else { return };
        let granted = self.candidate.registry.session(reserve.id).map(|session| session.fencing_token);
        let lease = granted.and_then(|token| self.candidate.leases.get(&token));
        if let (Some(token), Some(lease)) = (granted, lease) {
            // Where the connection is gone by then, the session keeps its grace.
            self.effects.push(Effect::Hold(connection, token, Arc::clone(lease)));
        }
    }
}
