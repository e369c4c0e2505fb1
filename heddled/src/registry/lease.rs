//! A session's time to live, and the deadlines of all of them. Pure: lease time is passed in.
//!
//! Lease time is monotonic time that stops while the machine or the daemon does; see `lease_clock`. A heartbeat moves one
//! [`Lease`] and nothing else: [`Deadlines`] only holds lower bounds, and looks at the lease when one of them comes up.
//!
//! Which connection holds a session is nothing that lasts, so it is here and not in the record, which only says that one
//! does. A connection that is lost is a deadline like a heartbeat that does not come: the session has [`GRACE_MS`] to be taken
//! over by another. A lease begins with its connection lost, and whoever was granted it takes it at once: so what nobody
//! takes, at a grant as after a restart, is free in the end.

use std::collections::BTreeSet;

use proto_schema::{EndReason, FencingToken, Timestamp, Usage};

use super::record::{Pulse, SessionRecord};

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beat {
    /// Lease time, in milliseconds.
    pub now: u64,
    /// Wall time, for the record.
    pub at: Timestamp,
    /// Whether there was progress.
    pub progress: bool,
    /// What has been used so far.
    pub usage: Option<Usage>,
}

/// The lease is closed: its session has ended or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// How long a session whose connection is lost may be resumed, in milliseconds of lease time.
pub const GRACE_MS: u64 = 10_000;

/// How long a session whose holder process cannot be looked at lives after each sign of life, where it has no time to live of
/// its own, in milliseconds.
const UNKNOWN_HOLDER_TTL_MS: u64 = 300_000;

/// Numbers a connection within the life of one daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// The connection of a session that one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// It is open.
    Open(ConnectionId),
    /// It is lost, or none has been there yet; the session may be resumed until then.
    Lost { until: u64 },
}

/// What a live session has that changes with every heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    ttl_ms: Option<u64>,
    deadline: u64,
    /// The process that holds it is in another pid namespace: only signs of life count.
    has_unknown_holder: bool,
    /// None where no connection holds it.
    connection: Option<Connection>,
    pulse: Pulse,
    unsaved: bool,
    /// A call that carries its token came since this daemon has it: somebody has read its grant.
    used: bool,
    closed: bool,
}

impl Lease {
    /// The lease of a session that is granted, or found at the start, at `now`: with its full time to live, and the full time
    /// for a connection to take it.
    #[must_use]
    pub fn new(session: &SessionRecord, now: u64) -> Self {
        let ttl_ms = session.hold.ttl_ms;
        let deadline = now.saturating_add(ttl_ms.unwrap_or(0));
        let connection = session.hold.connection.then(|| Connection::lost(now));
        Self {
            ttl_ms,
            deadline,
            has_unknown_holder: false,
            connection,
            pulse: session.pulse,
            unsaved: false,
            used: false,
            closed: false,
        }
    }

    /// The same of a session whose holder process is in another pid namespace: its token has to renew it in time.
    #[must_use]
    pub fn with_unknown_holder(session: &SessionRecord, now: u64) -> Self {
        let ttl_ms = session.hold.ttl_ms.unwrap_or(UNKNOWN_HOLDER_TTL_MS);
        let deadline = now.saturating_add(ttl_ms);
        Self { ttl_ms: Some(ttl_ms), deadline, has_unknown_holder: true, ..Self::new(session, now) }
    }

    /// Takes a sign of life. Answers whether it is the first since the last that was written behind.
    ///
    /// # Errors
    /// [`Closed`]: never a resurrection.
    pub fn renew(&mut self, beat: Beat) -> Result<bool, Closed> {
        if self.closed {
            return Err(Closed);
        }
        self.deadline = self.deadline.max(beat.now.saturating_add(self.ttl_ms.unwrap_or(0)));
        self.pulse.heartbeat_at = beat.at;
        if beat.progress {
            self.pulse.last_progress_at = beat.at;
        }
        if let Some(usage) = beat.usage {
            self.pulse.usage = Some(usage.over(self.pulse.usage));
        }
        let first = !self.unsaved;
        self.unsaved = true;
        self.used = true;
        Ok(first)
    }

    /// Whether the process that holds it cannot be looked at.
    #[must_use]
    pub fn has_unknown_holder(&self) -> bool {
        self.has_unknown_holder
    }

    /// How long it lives after each sign of life, in milliseconds; none where they do not count.
    #[must_use]
    pub fn ttl_ms(&self) -> Option<u64> {
        self.ttl_ms
    }

    /// Whether it was renewed since it began.
    #[must_use]
    pub fn was_used(&self) -> bool {
        self.used
    }

    /// Has a connection hold it from now on, whichever did before. One that no connection holds stays as it is.
    ///
    /// # Errors
    /// [`Closed`]: never a resurrection.
    pub fn take(&mut self, by: ConnectionId) -> Result<(), Closed> {
        if self.closed {
            return Err(Closed);
        }
        self.connection = self.connection.map(|_| Connection::Open(by));
        Ok(())
    }

    /// A connection is lost at `now`. Answers until when the session may be resumed, if it was held by this one.
    pub fn lose(&mut self, connection: ConnectionId, now: u64) -> Option<u64> {
        if self.connection != Some(Connection::Open(connection)) {
            return None;
        }
        self.connection = Some(Connection::lost(now));
        self.lost_until()
    }

    /// Whether this connection holds it.
    #[must_use]
    pub fn is_held_by(&self, connection: ConnectionId) -> bool {
        !self.closed && self.connection == Some(Connection::Open(connection))
    }

    /// When its heartbeats run out, in lease time; none where they do not count.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.ttl_ms.map(|_| self.deadline)
    }

    /// Until when it may be resumed, in lease time; none where no connection holds it, and while that is open.
    #[must_use]
    pub fn lost_until(&self) -> Option<u64> {
        match self.connection {
            Some(Connection::Lost { until }) => Some(until),
            Some(Connection::Open(_)) | None => None,
        }
    }

    /// When it runs out, for whatever reason comes first; none while nothing of it is a matter of time.
    #[must_use]
    pub fn runs_out(&self) -> Option<u64> {
        [self.deadline(), self.lost_until()].into_iter().flatten().min()
    }

    /// Why it has run out, if it has. That its connection is lost for good comes first: nothing delays that.
    #[must_use]
    pub fn overdue(&self, now: u64) -> Option<EndReason> {
        let is_over = |end: Option<u64>| !self.closed && end.is_some_and(|end| end <= now);
        if is_over(self.lost_until()) {
            return Some(EndReason::ConnectionLost);
        }
        let silent = if self.has_unknown_holder { EndReason::HolderUnknown } else { EndReason::HeartbeatExpired };
        is_over(self.deadline()).then_some(silent)
    }

    /// The signs of life.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse
    }

    /// The signs of life that have not been written behind; they count as written from now on.
    pub fn take_unsaved(&mut self) -> Option<Pulse> {
        std::mem::take(&mut self.unsaved).then_some(self.pulse)
    }

    /// Lets no further heartbeat in.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Lets heartbeats in again: the end of its session did not come to be.
    pub fn reopen(&mut self) {
        self.closed = false;
    }
}

impl Connection {
    fn lost(now: u64) -> Self {
        Self::Lost { until: now.saturating_add(GRACE_MS) }
    }
}

/// When each session must be looked at, at the latest.
#[derive(Clone, Debug, Default)]
pub struct Deadlines(BTreeSet<(u64, FencingToken)>);

impl Deadlines {
    /// Looks at the session again at `deadline`.
    pub fn insert(&mut self, deadline: u64, session: FencingToken) {
        self.0.insert((deadline, session));
    }

    /// When to look next.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.0.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out those to look at by `now`. `deadline_of` says when a session's lease runs out by now, none once it has
    /// no lease any more; those that have been renewed are put back and not answered.
    pub fn due(&mut self, now: u64, deadline_of: impl Fn(FencingToken) -> Option<u64>) -> Vec<FencingToken> {
        let mut due = Vec::new();
        while self.next().is_some_and(|deadline| deadline <= now) {
            let Some((_, session)) = self.0.pop_first() else { break };
            match deadline_of(session) {
                Some(deadline) if deadline > now => self.insert(deadline, session),
                Some(_) => due.push(session),
                None => {}
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use proto_schema::UsageSummary;

    use super::*;

    #[test]
    fn a_renewed_session_is_looked_at_again_and_not_ended() {
        let mut deadlines = Deadlines::default();
        deadlines.insert(10, FencingToken(1));
        deadlines.insert(10, FencingToken(2));
        let deadline_of = |token| if token == FencingToken(1) { Some(20) } else { Some(10) };
        assert_eq!(deadlines.due(9, deadline_of), []);
        assert_eq!(deadlines.due(10, deadline_of), [FencingToken(2)]);
        assert_eq!(deadlines.next(), Some(20));
        assert_eq!(deadlines.due(20, |_| None), [], "a session without a lease has ended otherwise");
        assert_eq!(deadlines.next(), None);
    }

    fn lease(ttl_ms: Option<u64>, now: u64) -> Lease {
        let mut registry = crate::registry::Registry::default();
        let mut reserve = crate::registry::tests::reserve(1, "a");
        reserve.hold.ttl_ms = ttl_ms;
        Lease::new(&crate::registry::tests::grant(&mut registry, reserve), now)
    }

    fn beat(now: u64) -> Beat {
        Beat { now, at: Timestamp::from_unix_ms(5000), progress: false, usage: None }
    }

    #[test]
    fn a_lease_runs_out_its_ttl_after_the_last_sign_of_life() {
        let mut lease = lease(Some(1000), 50);
        assert_eq!(lease.overdue(1049), None);
        assert_eq!(lease.overdue(1050), Some(EndReason::HeartbeatExpired));
        assert_eq!(lease.renew(beat(500)), Ok(true), "the first since the last that was written behind");
        assert_eq!(lease.renew(beat(400)), Ok(false), "a late one");
        assert_eq!(lease.deadline(), Some(1500), "and it does not shorten the lease");
    }

    #[test]
    fn a_session_that_lives_by_other_means_has_no_deadline() {
        let mut lease = lease(None, 50);
        assert_eq!(lease.renew(beat(60)), Ok(true));
        assert_eq!((lease.deadline(), lease.overdue(u64::MAX)), (None, None));
    }

    fn held(ttl_ms: Option<u64>, now: u64) -> Lease {
        let mut registry = crate::registry::Registry::default();
        let mut reserve = crate::registry::tests::reserve(1, "a");
        reserve.hold = crate::registry::HoldRecord { ttl_ms, process: None, connection: true, further_token: None };
        Lease::new(&crate::registry::tests::grant(&mut registry, reserve), now)
    }

    #[test]
    fn a_session_whose_connection_is_lost_has_its_grace_and_the_latest_connection_wins() {
        let (first, second) = (ConnectionId(1), ConnectionId(2));
        let mut lease = held(None, 50);
        assert_eq!(lease.runs_out(), Some(50 + GRACE_MS), "what nobody takes is free in the end");
        assert_eq!(lease.take(first), Ok(()));
        assert_eq!((lease.runs_out(), lease.overdue(u64::MAX)), (None, None), "it is open");
        assert_eq!(lease.take(second), Ok(()));
        assert_eq!(
            (lease.lose(first, 60), lease.lost_until()),
            (None, None),
            "the drop of the earlier one ends nothing"
        );
        assert_eq!(lease.lose(second, 1000), Some(1000 + GRACE_MS));
        assert_eq!(lease.lose(second, 2000), None, "it is lost once");
        assert_eq!(lease.renew(beat(5000)), Ok(true));
        assert_eq!(lease.overdue(999 + GRACE_MS), None);
        assert_eq!(lease.overdue(1000 + GRACE_MS), Some(EndReason::ConnectionLost), "a heartbeat is no resumption");
        assert_eq!(lease.take(first), Ok(()));
        assert_eq!(lease.overdue(u64::MAX), None);
    }

    #[test]
    fn it_is_dead_as_soon_as_one_of_its_holds_says_so() {
        let mut lease = held(Some(1000), 0);
        assert_eq!(lease.overdue(1000), Some(EndReason::HeartbeatExpired), "before its grace is over");
        lease.renew(beat(15_000)).unwrap();
        assert_eq!(lease.overdue(GRACE_MS), Some(EndReason::ConnectionLost));
        lease.take(ConnectionId(1)).unwrap();
        assert_eq!((lease.overdue(15_999), lease.overdue(16_000)), (None, Some(EndReason::HeartbeatExpired)));
        lease.close();
        assert_eq!(lease.take(ConnectionId(2)), Err(Closed), "R4: never a resurrection");
    }

    #[test]
    fn a_session_whose_holder_is_unknown_lives_by_its_token() {
        let of = |ttl_ms| {
            let mut registry = crate::registry::Registry::default();
            let mut reserve = crate::registry::tests::reserve(1, "a");
            reserve.hold.ttl_ms = ttl_ms;
            Lease::with_unknown_holder(&crate::registry::tests::grant(&mut registry, reserve), 0)
        };
        let mut lease = of(None);
        assert_eq!((lease.runs_out(), lease.overdue(UNKNOWN_HOLDER_TTL_MS - 1)), (Some(UNKNOWN_HOLDER_TTL_MS), None));
        assert_eq!(lease.overdue(UNKNOWN_HOLDER_TTL_MS), Some(EndReason::HolderUnknown));
        lease.renew(beat(UNKNOWN_HOLDER_TTL_MS)).unwrap();
        assert_eq!(lease.runs_out(), Some(2 * UNKNOWN_HOLDER_TTL_MS));
        assert_eq!(of(Some(5000)).overdue(5000), Some(EndReason::HolderUnknown), "its own time to live counts");
    }

    #[test]
    fn a_session_that_no_connection_holds_is_not_held_by_one_that_resumes_it() {
        let mut lease = lease(Some(1000), 0);
        assert_eq!(lease.take(ConnectionId(1)), Ok(()));
        assert_eq!((lease.lose(ConnectionId(1), 5), lease.runs_out()), (None, Some(1000)));
    }

    #[test]
    fn a_closed_lease_takes_nothing_until_it_is_opened_again() {
        let mut lease = lease(Some(1000), 0);
        lease.close();
        let before = lease.pulse();
        assert_eq!(lease.renew(beat(1)), Err(Closed), "R4: never a resurrection");
        assert_eq!((lease.pulse(), lease.overdue(5000)), (before, None));
        lease.reopen();
        assert_eq!(lease.renew(beat(1)), Ok(true));
    }

    #[test]
    fn only_progress_is_progress_and_usage_stays_until_it_is_told_anew() {
        let mut lease = lease(Some(1000), 0);
        let progress_at = lease.pulse().last_progress_at;
        let said = |input_tokens, tool_calls| Some(Usage { input_tokens, tool_calls, ..Usage::default() });
        lease.renew(Beat { usage: said(Some(7), Some(1)), ..beat(1) }).unwrap();
        assert_eq!(lease.pulse().last_progress_at, progress_at);
        lease.renew(Beat { progress: true, ..beat(2) }).unwrap();
        lease.renew(Beat { usage: said(None, Some(2)), ..beat(2) }).unwrap();
        let usage = UsageSummary { input_tokens: 7, tool_calls: 2, ..UsageSummary::default() };
        assert_eq!(lease.pulse().usage, Some(usage), "what was left out stays as it was");
        assert_eq!(lease.pulse().last_progress_at, Timestamp::from_unix_ms(5000));
        assert!(lease.take_unsaved().is_some());
        assert!(lease.take_unsaved().is_none(), "written once");
    }
}
