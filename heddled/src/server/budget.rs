//! One bound for the answers of all connections that wait for their peers to read: what a peer does not read stays in memory.
//!
//! A call that changes something is answered in any case, and so is what is small: both are bounded by the calls in flight. The
//! large answer of a call that only reads is refused where there is no room. A connection whose peer has answers waiting takes
//! no more calls while there is no room, and is closed if its peer then reads nothing for some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes of answers that may wait, all connections together.
pub(super) const MAX_WAITING_ANSWERS: usize = 64 * 1024 * 1024;

/// An answer that is no longer than this is never refused.
const SMALL: usize = 16 * 1024;

/// How much of the bound is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// Answers that are counted, for as long as this lives.
#[derive(Debug, Default)]
pub(super) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Whether more waits than may.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MAX_WAITING_ANSWERS
    }

    /// Whether an answer of that length may be made.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        bytes <= SMALL || self.0.load(Ordering::Relaxed).saturating_add(bytes) <= MAX_WAITING_ANSWERS
    }

    /// Counts nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Counts this many bytes from now on.
    pub(super) fn set(&mut self, bytes: usize) {
        self.budget.0.fetch_add(bytes, Ordering::Relaxed);
        self.budget.0.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_until_it_is_gone() {
        let budget = Budget::default();
        let (mut one, mut other) = (budget.share(), budget.share());
        one.set(MAX_WAITING_ANSWERS - SMALL);
        assert!(!budget.is_spent() && budget.has_room(SMALL) && !budget.has_room(SMALL + 1));
        other.set(SMALL);
        assert!(budget.is_spent() && budget.has_room(SMALL), "what is small is answered in any case");
        one.set(1);
        assert!(!budget.is_spent() && budget.has_room(SMALL + 1));
        drop((one, other));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
