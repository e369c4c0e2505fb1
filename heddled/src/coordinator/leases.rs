//! The leases of active sessions: the writer begins and closes them, records their signs of life, and ends the sessions of
//! those that ran out.

use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::{EndReason, FencingToken, SessionId};

use super::effect::Effect;
use super::writer::Writer;
use crate::registry::{Change, Lease, SessionRecord};

/// How much later a session that cannot be ended now is looked at again, in milliseconds of lease time.
const LOOK_AGAIN_MS: u64 = 1000;

impl Writer {
    /// Gives an active session its lease and has its process watched.
    pub(super) fn begin(&mut self, session: &Arc<SessionRecord>) {
        self.begin_with(session, Lease::new(session, self.shared.lease_now()));
    }

    fn begin_with(&mut self, session: &Arc<SessionRecord>, lease: Lease) {
        if let Some(deadline) = lease.runs_out() {
            self.effects.push(Effect::Deadline(deadline, session.fencing_token));
        }
        if let Some(process) = &session.hold.process {
            self.effects.push(Effect::Watch(process.clone()));
        }
        self.candidate.leases.insert(session.fencing_token, Arc::new(Mutex::new(lease)));
    }

    /// Gives a session whose holder process cannot be looked at a lease that its token has to renew.
    pub(super) fn begin_with_unknown_holder(&mut self, session: &Arc<SessionRecord>) {
        self.begin_with(session, Lease::with_unknown_holder(session, self.shared.lease_now()));
    }

    pub(super) fn has_unknown_holder(&self, session: SessionId) -> bool {
        let session = self.candidate.registry.session(session);
        let lease = session.and_then(|session| self.candidate.leases.get(&session.fencing_token));
        lease.is_some_and(|lease| lease.lock().has_unknown_holder())
    }

    /// Lets no further heartbeat in, and keeps the last ones.
    pub(super) fn close_lease(&mut self, session: &SessionRecord) {
        let Some(lease) = self.candidate.leases.remove(&session.fencing_token) else { return };
        let unsaved = {
            let mut lease = lease.lock();
            lease.close();
            lease.take_unsaved()
        };
        self.closed.push(lease);
        if let Some(pulse) = unsaved {
            self.change(Change::Pulses(vec![(session.id, pulse)]));
        }
    }

    /// Ends the sessions whose leases have run out, those that may end now.
    pub(super) fn overdue(&mut self, sessions: &[FencingToken]) {
        let now = self.shared.lease_now();
        for token in sessions {
            let Some(lease) = self.candidate.leases.get(token).cloned() else { continue };
            let session = self.candidate.registry.granted(*token).filter(|session| session.is_active()).cloned();
            let Some(session) = session else { continue };
            let is_captured = self.shared.captures.delay_expiry(session.id, now);
            let (overdue, may_end, runs_out) = {
                let mut lease = lease.lock();
                let overdue = lease.overdue(now);
                // Nothing expires while nothing can be recorded, and no session in the middle of a change of its branch. Only
                // silence waits for a capture: a holder that is gone is gone.
                let is_busy = session.intent.is_some() || (is_captured && overdue != Some(EndReason::ConnectionLost));
                let may_end = !self.failed && !is_busy;
                if overdue.is_some() && may_end {
                    // In the same breath: a heartbeat between the look and the end would be taken, and then forgotten.
                    lease.close();
                }
                (overdue, may_end, lease.runs_out())
            };
            match (overdue, runs_out) {
                (Some(reason), _) if may_end => self.end(session.id, reason),
                (Some(_), _) => self.shared.look_at(now + LOOK_AGAIN_MS, *token),
                (None, Some(runs_out)) => self.shared.look_at(runs_out, *token),
                (None, None) => {}
            }
        }
    }

    /// Records the signs of life that are not written yet.
    pub(super) fn save(&mut self, sessions: &[FencingToken]) {
        if self.failed {
            return;
        }
        let mut pulses = Vec::with_capacity(sessions.len());
        for token in sessions {
            let Some(lease) = self.candidate.leases.get(token) else { continue };
            let Some(session) = self.candidate.registry.granted(*token) else { continue };
            if let Some(pulse) = lease.lock().take_unsaved() {
                pulses.push((session.id, pulse));
            }
        }
        if !pulses.is_empty() {
            self.change(Change::Pulses(pulses));
        }
    }
}
