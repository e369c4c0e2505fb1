//! A session's time to live, and the deadlines of all of them. Pure: lease time is passed in.
//!
//! Lease time is monotonic time that stops while the machine or the daemon does; see `lease_clock`. A heartbeat moves one
//! [`Lease`] and nothing else: [`Deadlines`] only holds lower bounds, and looks at the lease when one of them comes up.

use std::collections::BTreeSet;

use proto_schema::{FencingToken, Timestamp, Usage};

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

/// What a live session has that changes with every heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    ttl_ms: Option<u64>,
    deadline: u64,
    pulse: Pulse,
    unsaved: bool,
    closed: bool,
}

impl Lease {
    /// The lease of a session that is granted, or found at the start, at `now`: with its full time to live.
    #[must_use]
    pub fn new(session: &SessionRecord, now: u64) -> Self {
        let ttl_ms = session.hold.ttl_ms;
        let deadline = now.saturating_add(ttl_ms.unwrap_or(0));
        Self { ttl_ms, deadline, pulse: session.pulse, unsaved: false, closed: false }
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
        Ok(first)
    }

    /// When it runs out, in lease time; none where heartbeats do not count.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.ttl_ms.map(|_| self.deadline)
    }

    /// Whether it has run out.
    #[must_use]
    pub fn is_overdue(&self, now: u64) -> bool {
        !self.closed && self.deadline().is_some_and(|deadline| deadline <= now)
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
        assert!(!lease.is_overdue(1049));
        assert!(lease.is_overdue(1050));
        assert_eq!(lease.renew(beat(500)), Ok(true), "the first since the last that was written behind");
        assert_eq!(lease.renew(beat(400)), Ok(false), "a late one");
        assert_eq!(lease.deadline(), Some(1500), "and it does not shorten the lease");
    }

    #[test]
    fn a_session_that_lives_by_other_means_has_no_deadline() {
        let mut lease = lease(None, 50);
        assert_eq!(lease.renew(beat(60)), Ok(true));
        assert_eq!((lease.deadline(), lease.is_overdue(u64::MAX)), (None, false));
    }

    #[test]
    fn a_closed_lease_takes_nothing_until_it_is_opened_again() {
        let mut lease = lease(Some(1000), 0);
        lease.close();
        let before = lease.pulse();
        assert_eq!(lease.renew(beat(1)), Err(Closed), "R4: never a resurrection");
        assert_eq!((lease.pulse(), lease.is_overdue(5000)), (before, false));
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
