//! The leases of active sessions, as the writer begins and closes them.

use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::SessionId;

use super::effect::Effect;
use super::writer::Writer;
use crate::registry::{Change, Lease, SessionRecord};

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
}
