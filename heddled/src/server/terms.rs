//! What the edge serves under: its limits and the default time to live. They may change while it serves.
//!
//! Invariant T1: a connection keeps the terms that it began with, for what it has sent was cut into messages by them; what is
//! shared by all connections (their number, subscriptions, the default time to live) follows the terms in force at each call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::limits::Limits;

/// The terms of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The limits.
    pub limits: Limits,
    /// How long a session lives without a heartbeat, unless it says otherwise.
    pub default_ttl_ms: u64,
}

/// The terms in force. Clones share them.
#[derive(Clone, Debug)]
pub struct InForce(Arc<ArcSwap<Terms>>);

impl InForce {
    /// Begins with these.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(terms)))
    }

    /// Those of now.
    #[must_use]
    pub fn now(&self) -> Terms {
        **self.0.load()
    }

    /// Puts others in force.
    pub fn change(&self, terms: Terms) {
        self.0.store(Arc::new(terms));
    }
}

/// How many of something there are, where at most so many may be. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Count {
    /// Counts one more, if there are fewer than that. A limit that was lowered ends nobody: there is none to be had until
    /// enough have gone.
    pub(crate) fn one_more(&self, max: usize) -> Option<Counted> {
        let below = |now| if now < max { Some(now + 1) } else { None };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        Some(Counted(Arc::clone(&self.0)))
    }

    /// How many there are.
    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_limit_is_reached_by_those_who_go() {
        let count = Count::default();
        let mut counted: Vec<Counted> = (0..3).filter_map(|_| count.one_more(3)).collect();
        assert!(counted.len() == 3 && count.one_more(3).is_none());
        assert!(count.one_more(2).is_none(), "it was lowered");
        counted.truncate(2);
        assert!(count.one_more(2).is_none());
        counted.truncate(1);
        let _again = count.one_more(2).unwrap();
        assert_eq!(count.now(), 2);
    }
}
